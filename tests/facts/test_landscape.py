"""Facts about generalization and the loss landscape, exact on finite cases."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import drawn

import fnn

run = jax.jit(fnn.value_and_grad)


def ridge_hat(x, strength):
    """The matrix H with ŷ = H y for ridge regression on x."""
    n, k = x.shape
    return x @ np.linalg.solve(x.T @ x / n + strength * np.eye(k), x.T / n)


def test_error_is_bias_squared_variance_and_noise():
    x, truth, at = np.asarray(noise(5, 2)), np.array([1.0, -2]), np.array([0.5, 1.5])
    signs = np.array(list(itertools.product((-1.0, 1), repeat=5)))  # every noise there is
    spread, f = 0.7, truth @ at
    predictions = []
    for sign in signs:
        y = x @ truth + spread * sign
        predictions.append(at @ np.linalg.solve(x.T @ x + 0.8 * np.eye(2), x.T @ y))
    predictions = np.array(predictions)
    errors = [(f + spread * s - p) ** 2 for s in (-1, 1) for p in predictions]
    bias, variance = predictions.mean() - f, ((predictions - predictions.mean()) ** 2).mean()
    assert np.mean(errors) == pytest.approx(bias**2 + variance + spread**2, rel=1e-12)
    assert min(bias**2, variance, spread**2) > 1e-3  # no term is idle


def test_ridge_has_fewer_effective_degrees_of_freedom_than_parameters():
    x = np.asarray(noise(7, 4))
    squares = np.linalg.svd(x)[1] ** 2 / 7
    degrees = []
    for strength in (0.0, 0.1, 1.0, 10.0):
        degrees.append((squares / (squares + strength)).sum())
        assert np.trace(ridge_hat(x, strength)) == pytest.approx(degrees[-1], rel=1e-10)
    assert degrees[0] == pytest.approx(4)
    assert (np.diff(degrees) < 0).all()


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_the_gap_of_ridge_is_its_degrees_of_freedom_times_the_noise(strength):
    x, truth, spread = np.asarray(noise(5, 2)), np.array([1.0, -2]), 0.7
    hat, signs = ridge_hat(x, strength), np.array(list(itertools.product((-1.0, 1), repeat=5)))
    y = x @ truth + spread * signs  # every training set; tested on new noise at the same x
    fitted = y @ hat.T
    training = ((y - fitted) ** 2).mean()
    test = ((x @ truth - fitted) ** 2).mean() + spread**2
    assert test - training == pytest.approx(2 * spread**2 * np.trace(hat) / 5, rel=1e-10)
    assert test - training <= 2 * spread**2 * 2 / 5 + 1e-12  # two parameters


NET, LOSS = fnn.mlp([2, 3, 1], fnn.Tanh()), fnn.SquaredError()
X = np.asarray(noise(6, 2))
Y = np.tanh(X[:, :1] - X[:, 1:])


def permuted(params, order):
    """The same net with its hidden units in another order."""
    first, _, second = params
    return (
        fnn.DenseParams(first.w[:, order], first.b[order]),
        (),
        second._replace(w=second.w[order]),
    )


def test_permuted_units_are_as_good_and_the_midpoint_is_worse():
    plan = fnn.Plan(NET, LOSS, fnn.optim.Adam(0.05))
    start = fnn.start(plan, None, jax.tree.map(jnp.asarray, drawn(2, 3, 1)[:-1]))
    state, _ = fnn.fit(plan, start, (X, Y), epochs=300, batch_size=6)
    params = jax.tree.map(np.asarray, state.params)
    least = float(run(NET, LOSS, params, X, Y)[0])
    different = []
    for order in itertools.permutations(range(3)):
        other = permuted(params, list(order))
        value, grads = run(NET, LOSS, other, X, Y)
        assert float(value) == pytest.approx(least, rel=1e-9)
        mine = permuted(jax.tree.map(np.asarray, run(NET, LOSS, params, X, Y)[1]), list(order))
        np.testing.assert_allclose(grads[0].w, mine[0].w, atol=1e-12)  # as flat as there
        different.append(other[0].w.tobytes())
        if list(order) != [0, 1, 2]:
            middle = jax.tree.map(lambda a, b: (a + b) / 2, params, other)
            assert float(run(NET, LOSS, middle, X, Y)[0]) > 2 * least
    assert len(set(different)) == math.factorial(3)


def test_the_symmetric_point_is_a_saddle():
    zero = jax.tree.map(np.zeros_like, drawn(2, 3, 1)[:-1])
    target = Y - Y.mean()
    _, grads = run(NET, LOSS, zero, X, target)
    assert max(np.abs(np.asarray(g)).max() for g in jax.tree.leaves(grads)) < 1e-15

    def j(flat):
        w, b, v, c = flat[:6].reshape(2, 3), flat[6:9], flat[9:12, None], flat[12]
        return ((jnp.tanh(X @ w + b) @ v + c - target) ** 2).sum() / 6

    curvatures = np.linalg.eigvalsh(jax.jit(jax.hessian(j))(np.zeros(13)))
    assert curvatures[0] < -0.1
    assert curvatures[-1] > 0.1


def test_more_hidden_units_than_samples_fit_any_targets():
    sizes, target = (2, 8, 3), np.asarray(noise(6, 3, seed=9))
    w, b = drawn(*sizes)[0]
    hidden = np.tanh(X @ w + b)
    assert np.linalg.matrix_rank(hidden) == 6
    fitted = fnn.DenseParams(np.linalg.pinv(hidden) @ target, np.zeros(3))
    params = (fnn.DenseParams(w, b), (), fitted)
    assert sum(p.size for p in jax.tree.leaves(params)) > 6 * 3  # more than N n_L numbers
    value, _ = run(fnn.mlp(sizes, fnn.Tanh()), LOSS, params, X, target)
    assert float(value) < 1e-20
    narrow = np.linalg.lstsq(hidden[:, :3], target)[0]  # three units do not
    assert ((hidden[:, :3] @ narrow - target) ** 2).sum() > 1e-2


def test_descent_from_zero_finds_the_interpolator_of_least_norm():
    x, y = np.asarray(noise(3, 5)), np.asarray(noise(3, 1, seed=2))
    frozen = fnn.Dense(5, 1)

    def descend(w):
        def step(w, _):
            params = fnn.DenseParams(w, jnp.zeros(1))
            grads = fnn.value_and_grad(frozen, fnn.SquaredError(0.5), params, x, y)[1]
            return fnn.optim.apply_updates(w, fnn.optim.SGD(0.2).update(grads.w, ())[0]), None

        return jax.lax.scan(step, w, None, 3000)[0]

    least = np.linalg.pinv(x) @ y
    starts = np.stack([np.zeros((5, 1)), np.ones((5, 1))])
    from_zero, from_one = np.asarray(jax.jit(jax.vmap(descend))(starts))
    np.testing.assert_allclose(from_zero, least, atol=1e-10)
    kept = (np.eye(5) - np.linalg.pinv(x) @ x) @ np.ones((5, 1))  # outside of the row space
    np.testing.assert_allclose(from_one, least + kept, atol=1e-10)
    assert np.linalg.norm(from_one) > np.linalg.norm(from_zero) + 0.1
