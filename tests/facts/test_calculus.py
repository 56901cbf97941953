"""Facts of calculus that the texts build on."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import drawn
from jax.flatten_util import ravel_pytree

import fnn
from fnn.losses.elementwise import ElementwiseCache

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def f(x):
    """x₁² x₂ + sin x₃."""
    return x[0] ** 2 * x[1] + jnp.sin(x[2])


def partials(x):
    return np.array([2 * x[0] * x[1], x[0] ** 2, math.cos(x[2])])


def test_a_partial_derivative_is_the_limit_of_its_quotient():
    x = np.array([1.5, -0.7, 0.4])
    np.testing.assert_allclose(jax.jit(jax.grad(f))(x), partials(x), **EXACT)
    compiled = jax.jit(f)

    def run(x):
        return float(compiled(x))

    for i in (0, 2):
        step = np.eye(3)[i]
        errors = [abs((run(x + e * step) - run(x)) / e - partials(x)[i]) for e in (1e-2, 1e-3)]
        assert errors[1] == pytest.approx(errors[0] / 10, rel=0.05)
    assert (run(x + 0.5 * np.eye(3)[1]) - run(x)) / 0.5 == pytest.approx(1.5**2)  # linear in x₂


def test_the_errors_of_both_quotients_are_those_of_taylor():
    w, unit = 0.3, np.finfo(float).eps / 2
    c = math.exp  # its own derivative of every order
    for e in (1e-2, 1e-3):
        forward, central = (c(w + e) - c(w)) / e, (c(w + e) - c(w - e)) / (2 * e)
        assert forward - c(w) == pytest.approx(e / 2 * c(w), rel=e)
        assert central - c(w) == pytest.approx(e**2 / 6 * c(w), rel=e)
    errors = [abs((c(w + e) - c(w)) / e - c(w)) for e in 10.0 ** np.arange(-13, -10)]
    floor = [unit / e for e in 10.0 ** np.arange(-13, -10)]
    assert all(error < 20 * bound for error, bound in zip(errors, floor, strict=True))
    assert errors[0] > 1e-5  # rounding: a smaller step is worse


def test_the_gradient_holds_every_partial_derivative_in_the_shape_of_x():
    net, loss = fnn.mlp([3, 4, 2], fnn.Tanh()), fnn.SquaredError()
    params, unflatten = ravel_pytree(drawn(3, 4, 2)[:-1])
    x, target = np.asarray(noise(5, 3)), np.asarray(noise(5, 2, seed=2))
    _, grads = jax.jit(fnn.value_and_grad)(net, loss, unflatten(params), x, target)
    assert jax.tree.map(jnp.shape, grads) == jax.tree.map(jnp.shape, unflatten(params))

    def cost(p):
        y, _ = net.forward(unflatten(p), x)
        return ((y - target) ** 2).sum() / 5

    steps, values = 1e-5 * np.eye(len(params)), jax.jit(jax.vmap(cost))
    up, down = (np.asarray(values(np.asarray(params) + s)) for s in (steps, -steps))
    central = (up - down) / 2e-5
    np.testing.assert_allclose(ravel_pytree(grads)[0], central, rtol=1e-7, atol=1e-9)


def test_derivatives_of_a_composition_multiply():
    x, u = 0.8, 0.8**3
    assert jax.grad(lambda x: jnp.sin(x**3))(x) == pytest.approx(math.cos(u) * 3 * x**2)
    a, b, x = noise(4, 3), noise(2, 4, seed=2), noise(3, seed=3)

    def h(x):
        return jnp.tanh(a @ x)

    def g(u):
        return jnp.sin(b @ u)

    def all_three(x):
        return jax.jacobian(g)(h(x)), jax.jacobian(h)(x), jax.jacobian(lambda x: g(h(x)))(x)

    of_g, of_h, whole = map(np.asarray, jax.jit(all_three)(x))
    assert (of_g.shape, of_h.shape) == ((2, 4), (4, 3))  # the other order does not fit
    np.testing.assert_allclose(whole, of_g @ of_h, **EXACT)


def test_reverse_mode_sends_a_cotangent_through_transposed_jacobians():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dense(4, 2), fnn.Softmax())
    params, x, dy = drawn(3, 4, 2), np.asarray(noise(1, 3)), np.asarray(noise(1, 2, seed=2))

    @jax.jit
    def both(params, x, dy):
        jacobians, a = [], x[0]
        for layer, p in zip(net.layers, params, strict=True):
            jacobians.append(jax.jacobian(lambda a, f=layer, p=p: f.forward(p, a[None])[0][0])(a))
            a = layer.forward(p, a[None])[0][0]
        return net.backward(params, net.forward(params, x)[1], dy)[1], jacobians

    dx, jacobians = both(params, x, dy)
    back = np.asarray(dy[0])
    for jacobian in reversed(jacobians):
        back = np.asarray(jacobian).T @ back
    np.testing.assert_allclose(dx[0], back, **EXACT)


def test_a_mean_of_squares_differentiates_term_by_term():
    x, t, w = np.asarray(noise(6)), np.asarray(noise(6, seed=2)), 0.7

    def u(w):
        return jnp.sin(w * x) - t

    def mean_square(w):
        return (u(w) ** 2).sum() / 6

    terms = [2 * (math.sin(w * x[i]) - t[i]) * math.cos(w * x[i]) * x[i] for i in range(6)]
    assert jax.jit(jax.grad(mean_square))(w) == pytest.approx(sum(terms) / 6, rel=1e-12)
    residuals = ElementwiseCache(np.sin(w * x) - t, np.zeros(6))
    du = jax.jit(fnn.SquaredError().backward)(residuals, np.full(6, 1 / 6))
    assert float(np.asarray(du) @ (np.cos(w * x) * x)) == pytest.approx(sum(terms) / 6, rel=1e-12)
