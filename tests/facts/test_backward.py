"""Facts about the backward pass, in the row form of the formulas."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import close, drawn

import fnn
from fnn.layers.dense import DenseCache

N, SIZES = 7, (5, 4, 3, 2)
X, Y = np.asarray(noise(N, 5)), np.asarray(noise(N, 2, seed=2))
NET = fnn.Serial(
    fnn.Dense(5, 4), fnn.Tanh(), fnn.Dense(4, 3), fnn.Sigmoid(), fnn.Dense(3, 2), fnn.Tanh()
)
PARAMS = drawn(*SIZES)
W, B = [p.w for p in PARAMS if p], [p.b for p in PARAMS if p]
run, fold = jax.jit(fnn.value_and_grad), jax.jit(fnn.fold)


def sigmoid(z):
    return 1 / (1 + jnp.exp(-z))


def tape():
    """Every A and every σ′(Z) of NET, in numpy."""
    a, slopes = [X], []
    for w, b, f, df in zip(W, B, *FUNCTIONS, strict=True):
        a.append(f(a[-1] @ w + b))
        slopes.append(df(a[-1]))
    return a, slopes


def tanh_slope(a):
    return 1 - a**2


def sigmoid_slope(a):
    return a * (1 - a)


def of_numpy(z):
    return 1 / (1 + np.exp(-z))


FUNCTIONS = (np.tanh, of_numpy, np.tanh), (tanh_slope, sigmoid_slope, tanh_slope)


def recursion():
    """D_1, D_2, D_3 of the mean squared error, by the formulas."""
    a, slopes = tape()
    deltas = [2 / N * (a[3] - Y) * slopes[2]]  # (∂L/∂A_L) ⊙ σ_L′
    for l in (1, 0):
        deltas.insert(0, (deltas[0] @ W[l + 1].T) * slopes[l])
    return deltas


def cost(w, b, offsets):
    """The same mean squared error in jax.numpy, with an offset added to every Z."""
    a = jnp.asarray(X)
    for wl, bl, e, f in zip(w, b, offsets, (jnp.tanh, sigmoid, jnp.tanh), strict=True):
        a = f(a @ wl + bl + e)
    return ((a - Y) ** 2).sum() / N


ZEROS = [np.zeros((N, n)) for n in SIZES[1:]]


@functools.cache
def by_autodiff():
    """∂L/∂W and ∂L/∂b of every layer."""
    return jax.tree.map(np.asarray, jax.jit(jax.grad(cost, argnums=(0, 1)))(W, B, ZEROS))


def test_deltas_of_every_layer_are_those_of_the_recursion():
    reference = jax.jit(jax.grad(cost, argnums=2))(W, B, ZEROS)
    ours = fold(NET, fnn.SquaredError(), PARAMS, X, Y, rule=fnn.rules.deltas).result
    close(recursion(), reference)
    close([ours[0], ours[2], ours[4]], reference)


def test_gradients_of_weights_and_biases_come_from_the_deltas():
    reference = by_autodiff()
    (a, _), d = tape(), recursion()
    dw, db = [a[l].T @ d[l] for l in range(3)], [d[l].sum(0) for l in range(3)]
    close((dw, db), reference)
    _, grads = run(NET, fnn.SquaredError(), PARAMS, X, Y)
    close(([g.w for g in grads if g], [g.b for g in grads if g]), reference)


def test_every_weight_has_its_derivative_entry_by_entry():
    _, grads = run(NET, fnn.SquaredError(), PARAMS, X, Y)
    value = jax.jit(cost)
    for l, i, j in ((0, 4, 1), (1, 0, 2), (2, 2, 0)):
        sides = []
        for step in (1e-5, -1e-5):
            w = [np.array(a) for a in W]
            w[l][i, j] += step
            sides.append(float(value(w, B, ZEROS)))
        quotient = (sides[0] - sides[1]) / 2e-5
        assert grads[2 * l].w[i, j] == pytest.approx(quotient, rel=1e-6)


@pytest.mark.parametrize("loss", [fnn.CrossEntropy(), fnn.SquaredError()], ids=repr)
def test_the_output_delta_of_a_softmax_needs_its_whole_row(loss):
    z, y = np.asarray(noise(N, 4)), np.eye(4)[np.arange(N) % 4]
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    categorical = loss == fnn.CrossEntropy()
    g = (-y / p if categorical else 2 * (p - y)) / N

    def mean(z):
        p = jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True)
        return (-(y * jnp.log(p)) if categorical else (p - y) ** 2).sum() / N

    reference = jax.jit(jax.grad(mean))(z)
    close(p * (g - (g * p).sum(1, keepdims=True)), reference)
    identity = fnn.DenseParams(np.eye(4), np.zeros(4))
    net = fnn.Serial(fnn.Dense(4, 4), fnn.Softmax())
    deltas = fold(net, loss, (identity, ()), z, y, rule=fnn.rules.deltas).result
    close(deltas[0], reference)
    assert np.abs(g * p * (1 - p) - reference).max() > 1e-2  # the diagonal alone is not it


def test_the_output_delta_of_a_squared_error():
    w, b = W[2], B[2]
    a2, z = tape()[0][2], tape()[0][2] @ W[2] + B[2]
    outputs = {
        "sigmoid": (fnn.Serial(fnn.Dense(3, 2), fnn.Sigmoid()), fnn.SquaredError(), sigmoid, 1.0),
        "linear": (fnn.Serial(fnn.Dense(3, 2), fnn.Identity()), fnn.SquaredError(0.5), None, 0.5),
    }
    for net, loss, f, c in outputs.values():
        a = of_numpy(z) if f else z
        formula = 2 / N * (a - Y) * sigmoid_slope(a) if f else (a - Y) / N
        mean = jax.jit(jax.grad(lambda z, f=f, c=c: c * (((f(z) if f else z) - Y) ** 2).sum() / N))
        reference = mean(z)
        params = fnn.DenseParams(w, b), ()
        deltas = fold(net, loss, params, a2, Y, rule=fnn.rules.deltas).result
        close(formula, reference)
        close(deltas[0], reference)


def test_an_affine_map_sends_back_three_products():
    a, w, b, d = (np.asarray(noise(*s)) for s in ((N, 3), (3, 4), (4,), (N, 4)))
    vjp = jax.jit(lambda *v: jax.vjp(lambda a, w, b: a @ w + b, *v)[1](d))
    formula = d @ w.T, a.T @ d, d.sum(0)
    close(formula, vjp(a, w, b))
    params = fnn.DenseParams(w, b)
    grads, dx = jax.jit(fnn.Dense(3, 4).backward)(params, DenseCache(a), d)
    close((dx, grads.w, grads.b), formula)


def test_a_minibatch_averages_the_gradients_of_its_samples():
    _, whole = run(NET, fnn.SquaredError(), PARAMS, X, Y)
    alone = [run(NET, fnn.SquaredError(), PARAMS, X[[i]], Y[[i]])[1] for i in range(N)]
    close(jax.tree.map(lambda *g: sum(map(np.asarray, g)) / N, *alone), whole)


def test_one_training_step_in_its_order():
    rate, (a, slopes) = 0.3, tape()  # forward, every A kept
    d = [None, None, 2 / N * (a[3] - Y) * slopes[2]]  # loss, output
    for l in (1, 0):
        d[l] = (d[l + 1] @ W[l + 1].T) * slopes[l]
    moved = tuple(
        fnn.DenseParams(W[l] - rate * a[l].T @ d[l], B[l] - rate * d[l].sum(0)) for l in range(3)
    )
    dw, db = by_autodiff()
    for l in range(3):
        close(moved[l], fnn.DenseParams(W[l] - rate * dw[l], B[l] - rate * db[l]))
    plan = fnn.Plan(NET, fnn.SquaredError(), fnn.optim.SGD(rate))
    state, row = fnn.step(plan, fnn.start(plan, None, PARAMS), (X, Y))
    close(state.params[::2], moved)
    assert float(row["loss"]) == pytest.approx(((a[3] - Y) ** 2).sum() / N, rel=1e-12)
