"""Tests of fnn.losses.divergence."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.logits import Logits
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.divergence import KLDivergence

KL = KLDivergence()
ROWS = jnp.array([[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0.25] * 4, [0, 0, 0, 1], [0.5, 0, 0, 0.5]])


def test_contract():
    check_loss(KL, noise(5, 4), ROWS)


def test_factored_logits_are_taken_whole():
    y, dl = Logits(noise(5, 3), noise(3, 4, seed=2)), noise(5, seed=3)
    losses, dy = KL.value_and_backward(y, ROWS, dl)
    want, dz = KL.value_and_backward(y.whole(), ROWS, dl)
    np.testing.assert_array_equal(losses, want)
    np.testing.assert_allclose(dy.h, dz @ y.w.T, rtol=1e-12)


def test_by_hand():
    y, t = jnp.log(jnp.array([[1.0, 2, 5]])), jnp.array([[0.25, 0.75, 0]])  # p = ⅛, ¼, ⅝
    losses, cache = KL.forward(y, t)
    np.testing.assert_allclose(losses, [math.log(2) / 4 + math.log(3) * 3 / 4], rtol=1e-14)
    np.testing.assert_allclose(KL.backward(cache, jnp.array([8.0])), [[-1, -4, 5]], rtol=1e-14)


def test_it_is_the_cross_entropy_less_the_entropy_with_the_same_gradient():
    y, t, dl = noise(5, 4), jax.nn.softmax(noise(5, 4, seed=2)), noise(5, seed=3)
    losses, dy = KL.value_and_backward(y, t, dl)
    cross, same = SoftmaxCrossEntropy().value_and_backward(y, t, dl)
    np.testing.assert_allclose(losses, cross + (t * jnp.log(t)).sum(-1), rtol=1e-12)
    np.testing.assert_allclose(dy, same, rtol=1e-12)


def test_it_is_least_and_zero_where_both_are_equal():
    y = noise(5, 4)
    losses, dy = KL.value_and_backward(y + 3, jax.nn.softmax(y), jnp.ones(5))
    np.testing.assert_allclose(losses, 0, atol=1e-15)
    np.testing.assert_allclose(dy, 0, atol=1e-15)
    assert (KL.forward(noise(5, 4, seed=2), jax.nn.softmax(y))[0] > 0).all()


def test_extreme_logits_do_not_overflow():
    y = jnp.array([[1e4, -1e4, 0], [3e38, -3e38, 0], [0, -np.inf, 0]], "float32")
    t = jnp.array([[0, 0, 1], [1, 0, 0], [0.5, 0, 0.5]], "float32")
    losses, dy = KL.value_and_backward(y, t, jnp.ones(3, "float32"))
    np.testing.assert_allclose(losses, [1e4, 0, 0], rtol=1e-6)
    np.testing.assert_array_equal(dy, [[1, 0, -1], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize("row", [[np.inf, 0, 0], [-np.inf] * 3, [np.nan, 0, 0]], ids=str)
def test_logits_without_a_softmax_make_loss_and_gradient_nan(row, jit):
    f = jax.jit(KL.value_and_backward) if jit else KL.value_and_backward
    t = jnp.array([[0, 0.5, 0.5], [1, 0, 0]])
    losses, dy = f(jnp.array([row, [1.0, 2.0, 3.0]]), t, jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).all(-1), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).any(-1), [True, False])


@pytest.mark.parametrize("gap", [1e-3, 1.0, 20.0, 40.0, 80.0])
def test_near_certainty_all_digits_are_kept(gap):
    y = jnp.array([[gap, 0.0], [0.0, gap]], "float32")
    t, dl = jnp.array([[1.0, 0], [1, 0]], "float32"), jnp.ones(2, "float32")
    losses, dy = KL.value_and_backward(y, t, dl)
    away = np.longdouble(np.float32(gap)) * np.array([-1, 1])
    np.testing.assert_allclose(losses, np.log1p(np.exp(away)), rtol=1e-6)
    other = 1 / (1 + np.exp(-away))
    np.testing.assert_allclose(dy, np.stack([-other, other], 1), rtol=1e-6)


BAD = [
    ([[0.0, 1, 0], [1, 1, 0]], r"the sum of a target row must be 1, got 2\.0 at index 1"),
    ([[-0.5, 1.5, 0], [1, 0, 0]], r"target must be in \[0, 1\], got -0\.5 at index \[0, 0\]"),
    ([[0.0, 1, 0], [np.nan, 0, 0]], r"target must be in \[0, 1\], got nan at index \[1, 0\]"),
]


@pytest.mark.parametrize(("target", "message"), BAD)
def test_rows_that_are_no_distribution_are_refused_and_poison_under_jit(target, message):
    with pytest.raises(ValueError, match=rf"^KLDivergence\(\): {message}"):
        KL.forward(noise(2, 3), jnp.array(target))
    losses, dy = jax.jit(KL.value_and_backward)(noise(2, 3), jnp.array(target), jnp.ones(2))
    bad = ~((np.array(target) >= 0).all(-1) & (np.sum(target, -1) == 1))
    np.testing.assert_array_equal(np.isnan(losses), bad)
    np.testing.assert_array_equal(np.isnan(dy), np.stack([bad] * 3, -1))


@pytest.mark.parametrize(
    ("y", "target", "error", "message"),
    [
        ((2, 3), jnp.array([0, 1]), ValueError, r"y's shape \[2, 3\], got \[2\]; SoftmaxCrossEnt"),
        (
            (2, 3),
            jnp.ones((3, 2)),
            ValueError,
            r"must have y's shape \[2, 3\], got \[3, 2\]",
        ),
        ((2, 3), jnp.eye(2, 3, dtype=int), TypeError, "must hold floating probabilities, got int"),
        ((2, 1), jnp.ones((2, 1)), ValueError, "at least 2 classes"),
    ],
    ids=["labels", "shape", "integers", "one class"],
)
def test_targets_that_do_not_fit_are_refused(y, target, error, message):
    with pytest.raises(error, match=rf"^KLDivergence\(\): .*{message}"):
        KL.forward(jnp.zeros(y), target)
