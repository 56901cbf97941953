"""Tests of fnn.losses.likelihood."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.losses.likelihood import GaussianNLL, PoissonNLL
from fnn.losses.regression import SquaredError

GAUSS, POISSON = GaussianNLL(), PoissonNLL()


def test_contract_of_the_gaussian():
    check_loss(GAUSS, noise(2, 3, 10), noise(2, 3, 5, seed=2))


def test_contract_of_poisson():
    check_loss(POISSON, noise(5, 3), jnp.floor(3 * noise(5, 3, seed=2) ** 2))


def test_the_gaussian_by_hand():
    y = jnp.array([[3.0, 1.0, 0.0, math.log(4)]])  # means 3 and 1, variances 1 and 4
    losses, cache = GAUSS.forward(y, jnp.array([[1.0, 2.0]]))  # residuals 2 and −1
    np.testing.assert_allclose(losses, [(4 + math.log(4) + 1 / 4) / 2], rtol=1e-15)
    dy = GAUSS.backward(cache, jnp.array([8.0]))
    np.testing.assert_allclose(dy, [[16, -2, 4 * (1 - 4), 4 * (1 - 1 / 4)]], rtol=1e-15)


def test_poisson_by_hand():
    losses, cache = POISSON.forward(jnp.log(jnp.array([[2.0, 0.5]])), jnp.array([[3.0, 0.0]]))
    np.testing.assert_allclose(losses, [2 - 3 * math.log(2) + 0.5], rtol=1e-15)
    np.testing.assert_allclose(POISSON.backward(cache, jnp.array([10.0])), [[-10, 5]], rtol=1e-14)


def test_they_are_logarithms_of_densities_less_what_y_does_not_move():
    y, t = noise(5, 6), noise(5, 3, seed=2)
    m, s = y[:, :3], y[:, 3:]
    log_p = jax.scipy.stats.norm.logpdf(t, m, jnp.exp(s / 2)).sum(-1)
    ours = GAUSS.forward(y, t)[0]
    np.testing.assert_allclose(ours + 1.5 * math.log(2 * math.pi), -log_p, rtol=1e-12)
    y, t = noise(5, 3), jnp.array([[0.0, 1, 2], [3, 4, 5], [7, 0, 0], [1, 1, 1], [9, 2, 0]])
    log_p = jax.scipy.stats.poisson.logpmf(t, jnp.exp(y)).sum(-1)
    of_t = jax.lax.lgamma(t + 1).sum(-1)
    np.testing.assert_allclose(POISSON.forward(y, t)[0] + of_t, -log_p, rtol=1e-12)


def test_with_variance_one_the_gaussian_is_half_the_squared_error():
    m, t, dl = noise(5, 3), noise(5, 3, seed=2), noise(5, seed=3)
    y = jnp.concatenate([m, jnp.zeros((5, 3))], 1)
    losses, dy = GAUSS.value_and_backward(y, t, dl)
    half, dm = SquaredError(0.5).value_and_backward(m, t, dl)
    np.testing.assert_allclose(losses, half, rtol=1e-14)
    np.testing.assert_allclose(dy[:, :3], dm, rtol=1e-14)


def test_the_likeliest_gaussian_and_rate_of_data_are_their_moments():
    t = jnp.array([1.0, 2, 2, 7])
    moments = jnp.array([[t.mean(), jnp.log(t.var())]])
    dy = GAUSS.value_and_backward(jnp.repeat(moments, 4, 0), t[:, None], jnp.ones(4))[1]
    np.testing.assert_allclose(dy.sum(0), [0, 0], atol=1e-14)
    rate = jnp.full(4, jnp.log(t.mean()))
    assert abs(POISSON.value_and_backward(rate, t, jnp.ones(4))[1].sum()) < 1e-14


def test_tails_of_the_gaussian_neither_overflow_on_the_way_nor_meet_zero_times_infinity():
    y = jnp.array([[1e30, 200.0], [2.0, -300.0], [1e38, 3e38], [5.0, 80.0]], "float32")
    t = jnp.array([[0.0], [2.0], [0.0], [1.0]], "float32")
    losses, dy = GAUSS.value_and_backward(y, t, jnp.ones(4, "float32"))
    tail = math.exp(-80)
    np.testing.assert_allclose(losses, np.float32([100, -150, 1.5e38, 40]), rtol=1e-6)
    np.testing.assert_allclose(dy, [[0, 0.5], [0, 0.5], [0, 0.5], [4 * tail, 0.5]], rtol=1e-5)


@pytest.mark.parametrize(("m", "s"), [(1e-30, -200.0), (1e-25, -250.0), (1e38, 190.0)])
def test_a_variance_out_of_range_keeps_all_that_is_in_range(m, s):
    y, t, dl = jnp.array([[m, s]]).astype("float32"), jnp.zeros((1, 1)), jnp.ones(1)
    want_losses, want = GAUSS.value_and_backward(y.astype("float64"), t, dl)
    losses, dy = GAUSS.value_and_backward(y, t.astype("float32"), dl.astype("float32"))
    np.testing.assert_allclose(losses, want_losses.astype("float32"), rtol=2e-5)
    np.testing.assert_allclose(dy, want.astype("float32"), rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("y", [-80.0, -20.0, -1e-6, 0.0, 1e-6, 0.5, 3.0, 80.0])
@pytest.mark.parametrize("t", [0.0, 1.0, 5.0])
def test_poisson_keeps_all_digits(y, t):
    losses, cache = POISSON.forward(jnp.array([[y]], "float32"), jnp.array([[t]], "float32"))
    dy = POISSON.backward(cache, jnp.ones(1, "float32"))
    exact = np.longdouble(np.float32(y))
    np.testing.assert_allclose(losses[0], np.exp(exact) - t * exact, rtol=1e-5)
    np.testing.assert_allclose(dy[0, 0], np.exp(exact) - t, rtol=1e-5)


def test_no_rate_is_certain_of_no_count():
    losses, dy = POISSON.value_and_backward(
        jnp.array([-jnp.inf, -jnp.inf]), jnp.array([0.0, 2]), jnp.ones(2)
    )
    np.testing.assert_array_equal(losses, [0, np.inf])
    np.testing.assert_array_equal(dy, [0, -2])


BAD = [
    ([0.5, 1.0], [1.0, -1.0], r"be finite and at least 0, got -1\.0 at index 1 \(1 of 2 are wrong"),
    ([0.5, 1.0], [np.nan, 0.0], r"be finite and at least 0, got nan at index 0"),
    ([0.5, 1.0], [0.0, np.inf], r"be finite and at least 0, got inf at index 1"),
]


@pytest.mark.parametrize(("y", "target", "message"), BAD)
def test_what_is_no_count_is_refused_and_poisons_its_row_under_jit(y, target, message):
    with pytest.raises(ValueError, match=rf"^PoissonNLL\(\): target must {message}"):
        POISSON.forward(jnp.array(y), jnp.array(target))
    losses, dy = jax.jit(POISSON.value_and_backward)(jnp.array(y), jnp.array(target), jnp.ones(2))
    bad = ~(np.isfinite(target) & (np.array(target) >= 0))
    np.testing.assert_array_equal(np.isnan(losses), bad)
    np.testing.assert_array_equal(np.isnan(dy), bad)


@pytest.mark.parametrize(
    ("y", "target", "message"),
    [
        (
            (4, 3),
            (4, 3),
            r"y must have shape \[B, \.\.\., 2 n\], n means .*, got \[4, 3\]",
        ),
        ((4,), (4,), r"y must have shape \[B, \.\.\., 2 n\]"),
        ((4, 0), (4, 0), r"y must have shape \[B, \.\.\., 2 n\]"),
        ((4, 2), (4,), r"target must have shape \[4, 1\], got \[4\]; write target\[:, None\]"),
        ((4, 6), (4, 6), r"target must have shape \[4, 3\], got \[4, 6\]"),
        ((2, 4, 6), (4, 3), r"target must have shape \[2, 4, 3\], got \[4, 3\]"),
    ],
    ids=str,
)
def test_moments_that_do_not_fit_are_refused(y, target, message):
    with pytest.raises(ValueError, match=rf"^GaussianNLL\(\): {message}"):
        GAUSS.forward(jnp.zeros(y), jnp.zeros(target))
