"""Facts about chains of sigmoid neurons, numbers throughout: the scalar models of S4."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import close

import fnn

N = 6
X, Y = np.asarray(noise(N)), np.asarray(noise(N, seed=2))
W, B = [1.4, -0.9, 1.7, 0.8], [0.3, 0.5, -0.6, 0.1]
run, fold = jax.jit(fnn.value_and_grad), jax.jit(fnn.fold)


def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def activations(depth):
    """a(0) = x, a(1), ..., a(L)."""
    a = [X]
    for w, b in zip(W[:depth], B[:depth], strict=True):
        a.append(np.array([1 / (1 + np.exp(-(a[-1][i] * w + b))) for i in range(N)]))
    return a


def slope(a):
    """s′ = a (1 − a)."""
    return a * (1 - a)


def signals(depth):
    """q(l) = ∂C/∂a(l) for l = 1, ..., L by the recursion; q(0) is ∂C/∂x."""
    a, q = activations(depth), [None] * (depth + 1)
    q[depth] = 2 / N * (a[depth] - Y)
    for l in range(depth, 0, -1):
        q[l - 1] = q[l] * slope(a[l]) * W[l - 1]
    return q


def cost(w, b, offsets, depth):
    """C = (1/n) Σ (a(L) − y)² in jax.numpy, with an offset added to every a(l)."""
    a = jnp.asarray(X)
    for l in range(depth):
        a = sigmoid(a * w[l] + b[l]) + offsets[l]
    return ((a - Y) ** 2).sum() / N


@functools.cache
def by_autodiff(depth):
    """∂C/∂w, ∂C/∂b and ∂C/∂a, layer by layer."""
    offsets = [np.zeros(N)] * depth
    grad = jax.jit(jax.grad(cost, argnums=(0, 1, 2)), static_argnums=3)
    return jax.tree.map(np.asarray, grad(W[:depth], B[:depth], offsets, depth))


def by_fnn(depth, rule=fnn.rules.backprop):
    """C and what the rule makes of a chain of fnn's layers."""
    net = fnn.mlp([1] * (depth + 1), fnn.Sigmoid(), fnn.Sigmoid())
    dense = [fnn.DenseParams(np.array([[W[l]]]), np.array([B[l]])) for l in range(depth)]
    params = tuple(p for layer in dense for p in (layer, ()))
    done = fold(net, fnn.SquaredError(), params, X[:, None], Y[:, None], rule=rule)
    return done.loss, done.result


def test_a_line_through_the_origin_its_cost_and_slope():
    w = 0.7
    c = sum((X[i] * w - Y[i]) ** 2 for i in range(N)) / N
    slope_of_c = sum(2 * (X[i] * w - Y[i]) * X[i] for i in range(N)) / N
    reference = jax.jit(jax.value_and_grad(lambda w: ((X * w - Y) ** 2).sum() / N))
    close((c, slope_of_c), tuple(map(float, reference(w))))
    params = fnn.DenseParams(np.array([[w]]), np.zeros(1))
    value, grads = run(fnn.Dense(1, 1), fnn.SquaredError(), params, X[:, None], Y[:, None])
    close((float(value), float(grads.w[0, 0])), (c, slope_of_c))
    at_rest = sum(X * Y) / sum(X**2)
    assert reference(at_rest)[1] == pytest.approx(0, abs=1e-14)
    up, down = (float(reference(w + e)[0]) for e in (1e-6, -1e-6))
    assert (up - down) / 2e-6 == pytest.approx(slope_of_c, rel=1e-7)


def test_a_neuron_of_two_inputs_its_cost_and_gradients():
    x, w, b = np.asarray(noise(N, 2)), np.array([0.9, -1.3]), 0.4

    def c(w, b):
        return ((sigmoid(x[:, 0] * w[0] + x[:, 1] * w[1] + b) - Y) ** 2).sum() / N

    value, (dw, db) = jax.jit(jax.value_and_grad(c, (0, 1)))(w, b)
    a = 1 / (1 + np.exp(-(x @ w + b)))
    shared = 2 * (a - Y) * a * (1 - a)
    by_sums = [sum(shared * factor) / N for factor in (x[:, 0], x[:, 1], 1.0)]
    close(by_sums, [float(dw[0]), float(dw[1]), float(db)])
    assert float(value) == pytest.approx(sum((a - Y) ** 2) / N, rel=1e-12)
    net, params = fnn.mlp([2, 1], output=fnn.Sigmoid()), fnn.DenseParams(w[:, None], np.array([b]))
    ours, grads = run(net, fnn.SquaredError(), (params, ()), x, Y[:, None])
    close([*map(float, grads[0].w[:, 0]), float(grads[0].b[0])], by_sums)
    close(float(ours), float(value))


@pytest.mark.parametrize("depth", [2, 4])
def test_a_chain_forward_and_its_cost(depth):
    c = sum((activations(depth)[depth][i] - Y[i]) ** 2 for i in range(N)) / N
    close(c, float(jax.jit(cost, static_argnums=3)(W, B, [np.zeros(N)] * depth, depth)))
    close(float(by_fnn(depth)[0]), c)


def test_local_derivatives_of_every_neuron():
    a, derivatives = activations(4), jax.grad(lambda x, w, b: sigmoid(x * w + b), (0, 1, 2))
    local = jax.jit(jax.vmap(derivatives, (0, None, None)))
    unit = fnn.Serial(fnn.Dense(1, 1), fnn.Sigmoid())
    ours_of = jax.jit(lambda p, x, dy: unit.backward(p, unit.forward(p, x)[1], dy))
    for l in (1, 2, 3, 4):
        s, w, b = slope(a[l]), W[l - 1], B[l - 1]
        formula = s * w, s * a[l - 1], s  # in a(l − 1), w(l) and b(l)
        close(formula, local(a[l - 1], w, b))
        params = fnn.DenseParams(np.array([[w]]), np.array([b])), ()
        grads, dx = ours_of(params, a[l - 1][:1, None], np.ones((1, 1)))
        ours = dx[0], grads[0].w[0], grads[0].b
        close(ours, tuple(f[:1] for f in formula))


def test_gradients_of_the_second_of_two_neurons():
    a = activations(2)
    shared = 2 * (a[2] - Y) * slope(a[2])
    dw, db, _ = by_autodiff(2)
    close((sum(shared * a[1]) / N, sum(shared) / N), (float(dw[1]), float(db[1])))
    last = by_fnn(2)[1][2]
    close((float(last.w[0, 0]), float(last.b[0])), (float(dw[1]), float(db[1])))


def test_what_the_second_neuron_passes_to_the_first():
    a = activations(2)
    formula = [2 / N * (a[2][i] - Y[i]) * slope(a[2][i]) * W[1] for i in range(N)]
    close(np.array(formula), by_autodiff(2)[2][0])
    close(np.asarray(by_fnn(2, fnn.rules.deltas)[1][1])[:, 0], np.array(formula))


def test_gradients_of_the_first_of_two_neurons():
    a, q = activations(2), signals(2)
    passed = q[1] * slope(a[1])
    dw, db, _ = by_autodiff(2)
    close((sum(passed * X), sum(passed)), (float(dw[0]), float(db[0])))
    value = jax.jit(cost, static_argnums=3)
    up, down = (value([W[0] + e, W[1]], B, [0.0, 0.0], 2) for e in (1e-6, -1e-6))
    assert sum(passed * X) == pytest.approx(float(up - down) / 2e-6, rel=1e-7)


def surrogate(w, scale, held):
    """C(1) = scale · Σ (a(1) − e)² / n with e = a(1) − n q, as a function of w(1)."""
    a1 = sigmoid(X * w + B[0])
    a2 = sigmoid(a1 * W[1] + B[1])
    e = a1 - N * (2 / N * (a2 - Y) * a2 * (1 - a2) * W[1])
    e = jax.lax.stop_gradient(e) if held else e
    return scale * ((a1 - e) ** 2).sum() / N


def test_targets_of_the_hidden_neuron_give_its_gradient_while_they_are_held():
    a, q, truth = activations(2), signals(2), float(by_autodiff(2)[0][0])
    grad = jax.jit(jax.grad(surrogate), static_argnums=(1, 2))
    assert float(grad(W[0], 0.5, True)) == pytest.approx(truth, rel=1e-12)
    assert float(grad(W[0], 1.0, True)) == pytest.approx(2 * truth, rel=1e-12)  # as printed
    e = a[1] - N * q[1]
    for scale, c in ((0.5, 1), (1.0, 2)):
        formula = c / N * sum((a[1] - e) * slope(a[1]) * X)
        assert formula == pytest.approx(float(grad(W[0], scale, True)), rel=1e-12)
    for scale in (0.5, 1.0):  # differentiated through e it is neither
        assert abs(float(grad(W[0], scale, False)) / truth - 2 * scale) > 0.1


def test_derivatives_in_every_activation_follow_the_recursion():
    reference, q = by_autodiff(4)[2], signals(4)
    close(q[1:], reference)  # q(L) = (2/n) (a(L) − y) is the base
    _, deltas = by_fnn(4, fnn.rules.deltas)
    close([np.asarray(deltas[2 * l - 1])[:, 0] for l in (1, 2, 3, 4)], reference)


def test_gradients_of_every_neuron_of_a_deep_chain():
    a, q = activations(4), signals(4)
    dw, db, _ = by_autodiff(4)
    of_w = [sum(q[l] * slope(a[l]) * a[l - 1]) for l in (1, 2, 3, 4)]
    of_b = [sum(q[l] * slope(a[l])) for l in (1, 2, 3, 4)]
    close((of_w, of_b), (list(map(float, dw)), list(map(float, db))))
    grads = [g for g in by_fnn(4)[1] if g]
    close(([float(g.w[0, 0]) for g in grads], [float(g.b[0]) for g in grads]), (of_w, of_b))


def test_a_factor_two_per_layer_is_what_the_printed_surrogate_adds():
    a, e, dw = activations(4), Y, by_autodiff(4)[0]

    def c(w, b, below, e):  # C(l) = (1/n) Σ (a(l) − e(l))², e held
        return ((sigmoid(below * w + b) - e) ** 2).sum() / N

    derivatives = jax.jit(jax.grad(c, argnums=(0, 2)))
    for l in (4, 3, 2, 1):
        of_w, passed = derivatives(W[l - 1], B[l - 1], a[l - 1], e)
        assert float(of_w) == pytest.approx(2 ** (4 - l) * float(dw[l - 1]), rel=1e-10)
        e = a[l - 1] - N * np.asarray(passed)
