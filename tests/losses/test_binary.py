"""Tests of fnn.losses.binary."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.losses.binary import BinaryCrossEntropy, Hinge, SigmoidBinaryCrossEntropy

ALL = [BinaryCrossEntropy(), SigmoidBinaryCrossEntropy(), Hinge()]
BCE, LOGITS, HINGE = ALL


def problem(loss, *shape):
    """Predictions and targets in the loss's domain, away from kinks."""
    y = noise(*shape)
    if loss == HINGE:
        return 3 * y, jnp.where(noise(*shape, seed=2) > 0, 1.0, -1.0)
    target = jnp.round(2 * jax.nn.sigmoid(3 * noise(*shape, seed=2))) / 2  # 0, ½ and 1
    return (jax.nn.sigmoid(y) if loss == BCE else 2 * y), target


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_contract(loss):
    check_loss(loss, *problem(loss, 5, 3))


@pytest.mark.parametrize("loss", [BCE, LOGITS], ids=repr)
@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)], ids=str)
def test_contract_of_other_ranks(loss, shape):
    check_loss(loss, *problem(loss, *shape))


@pytest.mark.parametrize(
    ("loss", "y", "target", "losses", "dy"),
    [
        (BCE, [0.25, 0.5], [1.0, 0.25], math.log(4) + math.log(2), [-4.0, 1.0]),
        (LOGITS, [0.0, math.log(3)], [0.0, 0.25], math.log(8) - math.log(3) / 4, [0.5, 0.5]),
        (HINGE, [0.5, 3.0, -2.0], [1.0, 1, 1], 0.5 + 0 + 3, [-1.0, 0, -1]),
        (HINGE, [0.5, 3.0, -2.0], [-1.0, -1, -1], 1.5 + 4 + 0, [1.0, 1, 0]),
    ],
    ids=["probabilities", "logits", "hinge", "hinge negative"],
)
def test_forward_and_backward_by_hand(loss, y, target, losses, dy):
    ours, cache = loss.forward(jnp.array([y]), jnp.array([target]))
    np.testing.assert_allclose(ours, [losses], rtol=1e-14)
    np.testing.assert_allclose(loss.backward(cache, jnp.array([10.0])), [10 * np.array(dy)])


def test_on_logits_is_on_probabilities_after_a_sigmoid():
    y, target = problem(LOGITS, 5, 3)
    losses, cache = LOGITS.forward(y, target)
    p = jax.nn.sigmoid(y)
    of_p, p_cache = BCE.forward(p, target)
    np.testing.assert_allclose(losses, of_p, rtol=1e-12)
    chained = BCE.backward(p_cache, jnp.ones(5)) * p * (1 - p)
    np.testing.assert_allclose(LOGITS.backward(cache, jnp.ones(5)), chained, rtol=1e-10)


def test_swapping_the_classes_changes_nothing():
    y, target = problem(LOGITS, 5, 3)
    one, other = LOGITS.forward(y, target)[0], LOGITS.forward(-y, 1 - target)[0]
    np.testing.assert_allclose(one, other, rtol=1e-14)


def test_least_loss_is_the_entropy_of_the_target():
    t = jnp.array([[0.25, 0.5]])
    losses, cache = BCE.forward(t, t)
    entropy = -0.25 * math.log(0.25) - 0.75 * math.log(0.75) + math.log(2)
    np.testing.assert_allclose(losses, [entropy])
    np.testing.assert_allclose(BCE.backward(cache, jnp.ones(1)), [[0, 0]], atol=1e-15)


def test_certain_probabilities():  # P05
    y, t = jnp.array([0.0, 1.0, 0.0, 1.0]), jnp.array([0.0, 1.0, 1.0, 0.0])
    losses, dy = BCE.value_and_backward(y, t, jnp.ones(4))
    np.testing.assert_array_equal(losses, [0, 0, np.inf, np.inf])
    np.testing.assert_array_equal(dy, [1, -1, -np.inf, np.inf])


def test_extreme_logits_do_not_overflow():  # P01 and P04
    y = jnp.array([100.0, -100, 1e4, -1e4, 3e38, -3e38, 3e38], "float32")
    t = jnp.array([0.0, 1, 0, 1, 0, 0, 1], "float32")
    losses, dy = LOGITS.value_and_backward(y, t, jnp.ones(7, "float32"))
    np.testing.assert_allclose(losses, np.float32([100, 100, 1e4, 1e4, 3e38, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(dy, [1, -1, 1, -1, 1, 0, 0], rtol=1e-6)


def test_infinite_logits_take_their_limits():  # P02
    y, t = jnp.array([jnp.inf, -jnp.inf, jnp.inf]), jnp.array([1.0, 0, 0])
    losses, dy = LOGITS.value_and_backward(y, t, jnp.ones(3))
    np.testing.assert_array_equal(losses, [0, 0, np.inf])
    np.testing.assert_array_equal(dy, [0, 0, 1])


BAD = [
    (BCE, [0.5, 0.5], [1.0, 2.0], r"target must be in \[0, 1\], got 2\.0 at index 1 \(1 of 2 "),
    (BCE, [0.5, 0.5], [-1.0, 0.0], r"target must be in \[0, 1\], got -1\.0 at index 0 "),
    (BCE, [0.5, 1.5], [1.0, 0.0], r"y must be in \[0, 1\], got 1\.5 .*; use SigmoidBinary"),
    (BCE, [-0.1, 0.5], [1.0, 0.0], r"y must be in \[0, 1\], got -0\.1 at index 0"),
    (BCE, [0.5, 0.5], [1.0, np.nan], r"target must be in \[0, 1\], got nan at index 1"),
    (LOGITS, [0.5, 0.5], [1.0, 2.0], r"target must be in \[0, 1\], got 2\.0 at index 1"),
    (LOGITS, [0.5, 0.5], [-1.0, 0.0], r"target must be in \[0, 1\], got -1\.0 at index 0"),
    (LOGITS, [0.5, 0.5], [np.nan, 0.0], r"target must be in \[0, 1\], got nan at index 0"),
    (HINGE, [0.5, 0.5], [1.0, 0.0], r"target must be -1 or 1, got 0\.0 at index 1 .*2 \* target"),
    (HINGE, [0.5, 0.5], [np.nan, 1.0], r"target must be -1 or 1, got nan at index 0"),
]


@pytest.mark.parametrize(("loss", "y", "target", "message"), BAD)
def test_values_out_of_range_are_refused_where_they_are_known(loss, y, target, message):  # L05
    with pytest.raises(ValueError, match=rf"^{type(loss).__name__}\(\): {message}"):
        loss.forward(jnp.array(y), jnp.array(target))


@pytest.mark.parametrize(("loss", "y", "target", "message"), BAD)
def test_values_out_of_range_poison_their_row_under_jit(loss, y, target, message):
    bad = 0 if "index 0" in message else 1
    losses, dy = jax.jit(loss.value_and_backward)(jnp.array(y), jnp.array(target), jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), np.arange(2) == bad)
    np.testing.assert_array_equal(np.isnan(dy), np.arange(2) == bad)


@pytest.mark.parametrize("dtype", [bool, "int32", "uint8"], ids=str)
def test_target_of_zeros_and_ones_of_another_dtype_is_converted(dtype):  # D03
    y, t = jnp.array([0.3, 0.6]), jnp.array([1.0, 0.0])
    for loss in (BCE, LOGITS):
        ours, exact = loss.forward(y, t.astype(dtype))[0], loss.forward(y, t)[0]
        np.testing.assert_array_equal(ours, exact)


def test_hinge_at_the_margin_takes_the_slope_of_the_right():
    losses, dy = HINGE.value_and_backward(jnp.array([1.0]), jnp.array([1.0]), jnp.ones(1))
    assert (losses, dy) == (0, 0)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_target_of_another_shape_is_refused(loss):  # S01
    with pytest.raises(ValueError, match=r"target must have y's shape \[4, 1\], got \[4\]; write"):
        loss.forward(jnp.full((4, 1), 0.5), jnp.ones(4))


@pytest.mark.parametrize("y", [-80.0, -20.0, -1e-3, 0.0, 3.0, 20.0, 80.0])
def test_a_nearly_certain_logit_keeps_all_digits(y):
    loss = SigmoidBinaryCrossEntropy()
    for t in (0.0, 1.0):
        losses, cache = loss.forward(jnp.array([[y]], "float32"), jnp.array([[t]], "float32"))
        dy = loss.backward(cache, jnp.ones(1, "float32"))
        away = np.longdouble(np.float32(y)) * (1 - 2 * t)  # how far on the wrong side
        np.testing.assert_allclose(losses[0], np.log1p(np.exp(away)), rtol=1e-6)
        np.testing.assert_allclose(dy[0, 0], (1 - 2 * t) / (1 + np.exp(-away)), rtol=1e-6)
