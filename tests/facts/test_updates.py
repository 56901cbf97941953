"""Facts about steps of descent."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import close, drawn

import fnn

NET, LOSS = fnn.mlp([3, 4, 2], fnn.Tanh()), fnn.SquaredError()


def moved(optimizer, gradients):
    """Updates of a scalar parameter for these gradients, one after another."""

    def step(state, g):
        update, state = optimizer.update({"w": g}, state)
        return state, update["w"]

    state = optimizer.init({"w": jnp.zeros(())})
    return np.asarray(jax.lax.scan(step, state, jnp.asarray(gradients))[1])


def test_descent_on_a_parabola_is_stable_below_two_over_its_curvature():
    curvature, rates = 4.0, np.array([0.1, 0.49, 0.51])

    def run(rate):
        def step(p, _):
            update, _ = fnn.optim.SGD(rate).update({"w": curvature * p["w"]}, ())
            p = fnn.optim.apply_updates(p, update)
            return p, p["w"]

        return jax.lax.scan(step, {"w": jnp.array(3.0)}, None, 200)[1]

    paths = np.asarray(jax.jit(jax.vmap(run))(rates))
    for rate, path in zip(rates, paths, strict=True):
        np.testing.assert_allclose(path, 3 * (1 - rate * curvature) ** np.arange(1, 201), rtol=1e-9)
    assert (abs(paths[:, -1]) < 0.1).tolist() == [True, True, False]  # 2/λ = ½
    assert abs(paths[2, -1]) > 100


def per_example_gradients(n):
    """Gradients of n examples alone, one flat row each, and that of their mean."""
    params, x, t = drawn(3, 4, 2)[:-1], np.asarray(noise(n, 3)), np.asarray(noise(n, 2, seed=2))

    def gradient(x, t):
        return fnn.value_and_grad(NET, LOSS, params, x, t)[1]

    def flat(tree):
        return np.concatenate([np.asarray(g).reshape(len(g), -1) for g in jax.tree.leaves(tree)], 1)

    rows = jax.jit(jax.vmap(gradient))(x[:, None], t[:, None])
    whole = jax.jit(gradient)(x, t)
    return flat(rows), flat(jax.tree.map(lambda g: np.asarray(g)[None], whole))[0]


def test_gradients_of_equal_parts_average_to_the_whole_and_vary_like_one_over_b():
    n, (rows, whole) = 6, per_example_gradients(6)
    for size in (1, 2, 3):
        parts = rows.reshape(n // size, size, -1).mean(1)
        np.testing.assert_allclose(parts.mean(0), whole, rtol=1e-10, atol=1e-13)
    spread = ((rows - whole) ** 2).sum(1).mean()
    for size in (1, 2, 3):  # every batch there is, so that nothing is left to chance
        drawn_again = np.array(list(itertools.product(range(n), repeat=size)))
        noise_of = rows[drawn_again].mean(1) - whole
        np.testing.assert_allclose(noise_of.mean(0), 0 * whole, atol=1e-13)  # E ξ = 0
        assert (noise_of**2).sum(1).mean() == pytest.approx(spread / size, rel=1e-10)
        apart = np.array(list(itertools.combinations(range(n), size)))
        noise_of = rows[apart].mean(1) - whole
        np.testing.assert_allclose(noise_of.mean(0), 0 * whole, atol=1e-13)
        expected = spread / size * (n - size) / (n - 1)
        assert (noise_of**2).sum(1).mean() == pytest.approx(expected, rel=1e-10)


def test_a_moving_average_smooths_noise_and_momentum_amplifies_what_persists():
    impulse = np.eye(1, 400)[0]
    for memory in (0.5, 0.9):
        weights = -moved(fnn.optim.Momentum(1.0, memory, average=True), impulse)
        np.testing.assert_allclose(weights, (1 - memory) * memory ** np.arange(400), atol=1e-15)
        # white noise of variance 1 comes out with the sum of their squares
        assert (weights**2).sum() == pytest.approx((1 - memory) / (1 + memory), rel=1e-12)
        steady = -moved(fnn.optim.Momentum(1.0, memory), np.ones(400))
        assert steady[-1] == pytest.approx(1 / (1 - memory), rel=1e-12)


def test_the_moments_of_adam_are_weighted_means():
    g, (b1, b2, eps) = np.asarray(noise(6)), (0.8, 0.95, 1e-3)
    updates = moved(fnn.optim.Adam(0.1, b1, b2, eps), g)
    for t in range(1, 7):
        age = np.arange(t)[::-1]  # of the gradients seen so far
        m = (b1**age * g[:t]).sum() / (b1**age).sum()
        v = (b2**age * g[:t] ** 2).sum() / (b2**age).sum()
        assert updates[t - 1] == pytest.approx(-0.1 * m / (np.sqrt(v) + eps), rel=1e-12)


def quadratic():
    """Mean half squared error of a linear model: J, its gradient, and its curvatures."""
    x, y = np.asarray(noise(8, 3)), np.asarray(noise(8, seed=2))

    def j(w):
        return ((x @ w - y) ** 2).sum() / 2 / 8

    hessian = np.asarray(jax.jit(jax.hessian(j))(np.zeros(3)))
    run = jax.jit(fnn.value_and_grad)

    def value_and_gradient(w):
        params = fnn.DenseParams(np.reshape(w, (3, 1)), np.zeros(1))
        value, grads = run(fnn.Dense(3, 1), fnn.SquaredError(0.5), params, x, y[:, None])
        return float(value), np.asarray(grads.w)[:, 0]

    return value_and_gradient, np.linalg.eigh(hessian), np.linalg.lstsq(x, y)[0]


def test_a_step_descends_by_half_its_rate_times_the_squared_gradient():
    j, (curvatures, directions), best = quadratic()
    beta, start = curvatures[-1], best + np.array([2.0, -1, 3])
    for rate in (0.2 / beta, 1 / beta):
        w = start
        for t in range(1, 13):
            value, g = j(w)
            w = w - rate * g
            assert j(w)[0] <= value - rate / 2 * (g @ g) + 1e-14
            assert j(w)[0] - j(best)[0] <= ((start - best) ** 2).sum() / (2 * rate * t)
    w = best + directions[:, -1]  # along the steepest direction the first bound is attained
    value, g = j(w)
    assert j(w - g / beta)[0] == pytest.approx(value - g @ g / (2 * beta), rel=1e-12)
    assert j(w - 2.1 * g / beta)[0] > value  # and beyond 2/β the step climbs
    close(j(best)[1], np.zeros(3), atol=1e-13)
