"""Tests of fnn.losses.focal."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import check_loss, noise

from fnn.losses.binary import SigmoidBinaryCrossEntropy
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.focal import SigmoidFocal, SoftmaxFocal

ALL = [SigmoidFocal(), SigmoidFocal(0.0), SigmoidFocal(1.5, 0.25)]


def problem(*shape):
    return 2 * noise(*shape), (noise(*shape, seed=2) > 0).astype(float)


def test_contract():
    check_loss(SigmoidFocal(1.5, 0.25), *problem(5, 3))


def test_forward_and_backward_by_hand():
    y, t = jnp.array([[math.log(3), 0.0]]), jnp.array([[1.0, 0.0]])  # p of what is so: ¾ and ½
    losses, cache = SigmoidFocal(2.0, 0.25).forward(y, t)
    easy, hard = math.log(4 / 3) / 16, math.log(2) / 4
    np.testing.assert_allclose(losses, [easy / 4 + hard * 3 / 4], rtol=1e-14)
    dy = SigmoidFocal(2.0, 0.25).backward(cache, jnp.array([10.0]))
    slopes = [-(1 / 4 + 1.5 * math.log(4 / 3)) / 16 / 4, (1 / 2 + math.log(2)) / 4 * 3 / 4]
    np.testing.assert_allclose(dy, [[10 * s for s in slopes]], rtol=1e-14)


def test_without_a_focus_it_is_the_binary_cross_entropy():
    (y, t), dl = problem(5, 3), noise(5, seed=3)
    ours = SigmoidFocal(0.0).value_and_backward(y, t, dl)
    for a, b in zip(ours, SigmoidBinaryCrossEntropy().value_and_backward(y, t, dl), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_it_is_optax_s():
    y, t = problem(5, 3)
    ours = SigmoidFocal(1.5, 0.25).forward(y, t)[0]
    theirs = optax.sigmoid_focal_loss(y, t, alpha=0.25, gamma=1.5).sum(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_what_is_easy_counts_a_hundredth_and_what_is_hard_stays():
    """The source, section 3.2: p = 0.9 costs a hundredth, p = 0.968 a thousandth, p ≤ ½ a fourth"""
    y = jax.scipy.special.logit(jnp.array([0.9, 0.968, 0.5]))
    share = SigmoidFocal().forward(y, jnp.ones(3))[0] / SigmoidFocal(0.0).forward(y, jnp.ones(3))[0]
    np.testing.assert_allclose(share, [1 / 100, 1 / 1000, 1 / 4], rtol=0.03)


@pytest.mark.parametrize("y", [-1e3, -80.0, -20.0, -1e-3, 0.0, 3.0, 20.0, 40.0])
@pytest.mark.parametrize("t", [0.0, 1.0])
def test_a_nearly_certain_logit_keeps_all_digits(y, t):
    loss = SigmoidFocal()
    losses, cache = loss.forward(jnp.array([[y]], "float32"), jnp.array([[t]], "float32"))
    dy = loss.backward(cache, jnp.ones(1, "float32"))
    a = np.longdouble(np.float32(y)) * (2 * t - 1)
    h, wrong = np.logaddexp(0, -a), 1 / (1 + np.exp(a))
    np.testing.assert_allclose(losses[0], wrong**2 * h, rtol=3e-5, atol=1e-36)
    d = (1 - 2 * t) * wrong**2 * (wrong + 2 * (1 - wrong) * h)
    np.testing.assert_allclose(dy[0, 0], d, rtol=3e-5, atol=1e-36)


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_infinite_logits_take_their_limits(loss):
    y, t = jnp.array([jnp.inf, -jnp.inf, -jnp.inf, jnp.nan]), jnp.array([1.0, 0, 1, 1])
    losses, dy = loss.value_and_backward(y, t, jnp.ones(4))
    w = 1.0 if loss.alpha is None else loss.alpha
    np.testing.assert_array_equal(losses, [0, 0, np.inf, np.nan])
    np.testing.assert_array_equal(dy[:2], [0, 0])
    assert loss.gamma or dy[2] == -w
    assert np.isnan(dy[3])


@pytest.mark.parametrize("bad", [0.5, 2.0, -1.0, np.nan])
def test_what_is_neither_0_nor_1_is_refused_and_poisons_its_row_under_jit(bad):
    loss, y, t = SigmoidFocal(), jnp.array([0.5, 0.5]), jnp.array([1.0, bad])
    with pytest.raises(ValueError, match=rf"target must be 0 or 1, got {bad} at index 1 .*; Sigmo"):
        loss.forward(y, t)
    losses, dy = jax.jit(loss.value_and_backward)(y, t, jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), [False, True])
    np.testing.assert_array_equal(np.isnan(dy), [False, True])


@pytest.mark.parametrize("dtype", [bool, "int32", "uint8"], ids=str)
def test_targets_of_another_dtype_are_converted(dtype):
    y, t = problem(5, 3)
    ours = SigmoidFocal().forward(y, t.astype(dtype))[0]
    np.testing.assert_array_equal(ours, SigmoidFocal().forward(y, t)[0])


@pytest.mark.parametrize(
    ("gamma", "alpha", "message"),
    [
        (-1.0, None, r"gamma must be in \[0, inf\), got -1\.0"),
        (2.0, 1.5, r"alpha must be in \[0, 1\], got 1\.5"),
        (2.0, -0.5, r"alpha must be in \[0, 1\], got -0\.5"),
    ],
)
def test_fields_out_of_range_are_refused(gamma, alpha, message):
    with pytest.raises(ValueError, match=f"^SigmoidFocal: {message}"):
        SigmoidFocal(gamma, alpha)


def test_target_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"target must have y's shape \[4, 1\], got \[4\]; write"):
        SigmoidFocal().forward(jnp.zeros((4, 1)), jnp.ones(4))


LABELS = jnp.array([3, 0, 1, 1, 2])
ROWS = jax.nn.softmax(noise(5, 4, seed=2))
SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("loss", "target"),
    [
        (SoftmaxFocal(1.5), LABELS),
        pytest.param(SoftmaxFocal(0.5, label_smoothing=0.1), LABELS, marks=SLOW),
        pytest.param(SoftmaxFocal(2.0), ROWS, marks=SLOW),
        pytest.param(SoftmaxFocal(2.0, ignore_label=-1), LABELS.at[3].set(-1), marks=SLOW),
    ],
    ids=repr,
)
def test_contract_of_several_classes(loss, target):
    check_loss(loss, 2 * noise(5, 4), target)


def test_several_classes_by_hand():
    y = jnp.array([[math.log(2), 0.0, 0.0]])  # p = ½, ¼, ¼
    losses, cache = SoftmaxFocal(2.0).forward(y, jnp.array([1]))
    np.testing.assert_allclose(losses, [9 / 16 * math.log(4)], rtol=1e-14)
    dy = SoftmaxFocal(2.0).backward(cache, jnp.array([10.0]))
    a = 9 / 16 * (1 + 2 * math.log(4) / 4 / (3 / 4))
    np.testing.assert_allclose(dy, [[10 * a / 2, -10 * a * 3 / 4, 10 * a / 4]], rtol=1e-14)


@pytest.mark.parametrize("target", [LABELS, ROWS], ids=["labels", "rows"])
def test_without_a_focus_it_is_the_cross_entropy_of_softmax(target):
    y, dl = 2 * noise(5, 4), noise(5, seed=3)
    ours = SoftmaxFocal(0.0).value_and_backward(y, target, dl)
    theirs = SoftmaxCrossEntropy().value_and_backward(y, target, dl)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_of_two_classes_it_is_the_focal_loss_of_the_difference():
    y, t = problem(5, 1)
    logits = jnp.concatenate([jnp.zeros_like(y), y], -1)
    ours = SoftmaxFocal(1.5).forward(logits, t[:, 0].astype(int))[0]
    np.testing.assert_allclose(ours, SigmoidFocal(1.5).forward(y, t)[0], rtol=1e-12)


@pytest.mark.parametrize("y", [-1e3, -80.0, -20.0, -1e-3, 0.0, 3.0, 20.0, 40.0])
def test_a_nearly_certain_class_keeps_all_digits(y):
    """A logit of y against 0, in single precision, as of two classes."""
    logits = jnp.array([[y, 0.0]], "float32")
    losses, cache = SoftmaxFocal().forward(logits, jnp.array([0]))
    dy = SoftmaxFocal().backward(cache, jnp.ones(1, "float32"))
    a = np.longdouble(np.float32(y))
    h, wrong = np.logaddexp(0, -a), 1 / (1 + np.exp(a))
    np.testing.assert_allclose(losses[0], wrong**2 * h, rtol=3e-5, atol=1e-36)
    d = wrong**2 * (wrong + 2 * (1 - wrong) * h)
    np.testing.assert_allclose(dy[0], [-d, d], rtol=3e-5, atol=1e-36)


def test_classes_that_cannot_be_cost_nothing_and_one_that_is_costs_all():
    y = jnp.array([[0.0, -jnp.inf, 1.0], [0.0, -jnp.inf, 1.0]])
    losses, cache = SoftmaxFocal().forward(y, jnp.array([0, 1]))
    dy = SoftmaxFocal().backward(cache, jnp.array([1.0, 0.0]))
    np.testing.assert_allclose(losses[0], SoftmaxFocal().forward(y[:1, ::2], jnp.array([0]))[0][0])
    assert losses[1] == np.inf
    assert np.isfinite(dy).all()
    assert dy[0, 1] == 0


def test_bad_labels_and_fields_of_several_classes():
    with pytest.raises(
        ValueError, match=r"SoftmaxFocal\(.*\): target must hold labels in \[0, 4\)"
    ):
        SoftmaxFocal().forward(noise(5, 4), LABELS + 1)
    losses, dy = jax.jit(SoftmaxFocal().value_and_backward)(noise(5, 4), LABELS + 1, jnp.ones(5))
    np.testing.assert_array_equal(np.isnan(losses), LABELS == 3)
    np.testing.assert_array_equal(np.isnan(dy).all(-1), LABELS == 3)
    with pytest.raises(ValueError, match=r"^SoftmaxFocal: gamma must be in \[0, inf\), got -1\.0"):
        SoftmaxFocal(-1.0)
