"""Tests of fnn.losses.categorical."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.driver import value_and_grad
from fnn.layers.activations import Identity
from fnn.logits import Logits
from fnn.losses.binary import SigmoidBinaryCrossEntropy
from fnn.losses.categorical import CrossEntropy, SoftmaxCrossEntropy

BOTH = pytest.mark.parametrize("kind", [CrossEntropy, SoftmaxCrossEntropy])
LABELS = jnp.array([2, 0, 1, 3, 1])
ROWS = jnp.array([[0.5, 0.25, 0.25, 0], [0, 1, 0, 0], [0.25] * 4, [0, 0, 0, 1], [0.5, 0, 0, 0.5]])
LOGITS = SoftmaxCrossEntropy()


def predictions(kind, *shape):
    """Logits, or probabilities."""
    y = noise(*shape)
    return jax.nn.softmax(y) if kind is CrossEntropy else y


@BOTH
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("target", [LABELS, ROWS], ids=["labels", "rows"])
def test_contract(kind, smoothing, target):
    check_loss(kind(smoothing), predictions(kind, 5, 4), target)


@BOTH
def test_contract_of_sequences_with_labels_to_ignore(kind):
    target = jnp.array([[1, 0, 4], [-1, 2, 3]])
    check_loss(kind(ignore_label=-1), predictions(kind, 2, 3, 5), target)


def test_contract_of_logits_in_factored_form():
    check_loss(LOGITS, Logits(noise(5, 3), noise(3, 4, seed=2)), LABELS)


def test_on_logits_by_hand():
    y = jnp.log(jnp.array([[1.0, 2, 5], [1, 1, 2]]))
    losses, cache = LOGITS.forward(y, jnp.array([2, 0]))
    np.testing.assert_allclose(losses, [math.log(8 / 5), math.log(4)])
    dy = LOGITS.backward(cache, jnp.array([8.0, 4.0]))
    np.testing.assert_allclose(dy, [[1, 2, -3], [-3, 1, 2]])


def test_on_probabilities_by_hand():
    y = jnp.array([[0.125, 0.25, 0.625], [0.25, 0.25, 0.5]])
    losses, cache = CrossEntropy().forward(y, jnp.array([2, 0]))
    np.testing.assert_allclose(losses, [math.log(8 / 5), math.log(4)])
    dy = CrossEntropy().backward(cache, jnp.array([5.0, 3.0]))
    np.testing.assert_allclose(dy, [[0, 0, -8], [-12, 0, 0]])


def test_smoothing_by_hand():
    y = jnp.log(jnp.array([[1.0, 1, 2]]))
    losses, cache = SoftmaxCrossEntropy(0.3).forward(y, jnp.array([0]))  # t = 0.8, 0.1, 0.1
    np.testing.assert_allclose(losses, [0.9 * math.log(4) + 0.1 * math.log(2)])
    dy = SoftmaxCrossEntropy(0.3).backward(cache, jnp.array([1.0]))
    np.testing.assert_allclose(dy, [[0.25 - 0.8, 0.25 - 0.1, 0.5 - 0.1]])


@BOTH
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_a_label_is_the_row_with_one_there(kind, smoothing):
    loss, y, dl = kind(smoothing), predictions(kind, 5, 4), noise(5, seed=2)
    of_labels = loss.value_and_backward(y, LABELS, dl)
    of_rows = loss.value_and_backward(y, jax.nn.one_hot(LABELS, 4), dl)
    chex.assert_trees_all_close(of_labels, of_rows, rtol=1e-12)


def test_on_logits_is_on_probabilities_after_a_softmax():
    y = noise(5, 4)
    ours, of_p = LOGITS.forward(y, ROWS)[0], CrossEntropy().forward(jax.nn.softmax(y), ROWS)[0]
    np.testing.assert_allclose(ours, of_p, rtol=1e-12)


def test_two_classes_are_the_binary_loss_of_the_difference():
    y, labels, dl = noise(5, 2), jnp.array([0, 1, 1, 0, 1]), noise(5, seed=2)
    losses, dy = LOGITS.value_and_backward(y, labels, dl)
    binary = SigmoidBinaryCrossEntropy()
    b_losses, b_dy = binary.value_and_backward(y[:, 1] - y[:, 0], labels, dl)
    np.testing.assert_allclose(losses, b_losses, rtol=1e-12)
    np.testing.assert_allclose(dy, np.stack([-b_dy, b_dy], -1), rtol=1e-12)


def test_a_shift_of_a_row_changes_nothing_and_gets_no_gradient():
    y, shift = noise(5, 4), jnp.array([[1.0], [-3], [0], [100], [-1e3]])
    losses, dy = LOGITS.value_and_backward(y, LABELS, jnp.ones(5))
    np.testing.assert_allclose(LOGITS.forward(y + shift, LABELS)[0], losses, rtol=1e-10)
    np.testing.assert_allclose(dy.sum(-1), np.zeros(5), atol=1e-15)


def test_equal_logits_cost_the_logarithm_of_the_number_of_classes():
    np.testing.assert_allclose(LOGITS.forward(jnp.zeros((5, 4)), LABELS)[0], [math.log(4)] * 5)


def test_extreme_logits_do_not_overflow():  # P01
    y = jnp.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [1e38, -1e38, 0], [3e38, -3e38, 0]], "float32")
    labels = jnp.array([0, 1, 1, 0])
    losses, dy = LOGITS.value_and_backward(y, labels, jnp.ones(4, "float32"))
    np.testing.assert_allclose(losses, np.float32([0, 2e4, 2e38, 0]), rtol=1e-6)
    np.testing.assert_array_equal(dy, [[0, 0, 0], [1, -1, 0], [1, -1, 0], [0, 0, 0]])


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(
    "row", [[np.inf, 0, 0], [-np.inf] * 3, [np.nan, 0, 0]], ids=["inf", "all -inf", "nan"]
)
def test_logits_without_a_softmax_make_loss_and_gradient_nan(row, jit):  # P02 and P06
    f = jax.jit(LOGITS.value_and_backward) if jit else LOGITS.value_and_backward
    losses, dy = f(jnp.array([row, [1.0, 2.0, 3.0]]), jnp.array([1, 1]), jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).all(-1), [True, False])
    np.testing.assert_array_equal(np.isnan(dy).any(-1), [True, False])


def test_an_impossible_label_has_an_infinite_loss():  # P02
    losses, _ = LOGITS.forward(jnp.array([[-np.inf, 0.0, 0.0]]), jnp.array([0]))
    np.testing.assert_array_equal(losses, [np.inf])


@pytest.mark.parametrize(
    "target", [jnp.array([2]), jnp.array([[0.0, 0.0, 1.0]])], ids=["label", "row"]
)
def test_a_masked_class_gets_gradient_zero(target):  # P03
    losses, dy = LOGITS.value_and_backward(jnp.array([[-np.inf, 0, 0]]), target, jnp.ones(1))
    np.testing.assert_allclose(losses, [math.log(2)])
    np.testing.assert_array_equal(dy, [[0, 0.5, -0.5]])


def test_certain_probabilities():  # P05
    y = jnp.array([[0.0, 1.0], [0.0, 1.0]])
    losses, dy = CrossEntropy().value_and_backward(y, jnp.array([1, 0]), jnp.ones(2))
    np.testing.assert_array_equal(losses, [0, np.inf])
    np.testing.assert_array_equal(dy, [[0, -1], [-np.inf, 0]])


@pytest.mark.parametrize("dtype", ["int8", "uint8", "uint32"])
@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_labels_of_few_bits_serve_more_classes_than_they_can_count(dtype, jit):
    loss = SoftmaxCrossEntropy(ignore_label=-1)
    f = jax.jit(loss.value_and_backward) if jit else loss.value_and_backward
    y = jnp.zeros((2, 300))
    losses, dy = f(y, jnp.array([0, 100], dtype), jnp.ones(2))
    expected = np.full((2, 300), 1 / 300)
    expected[[0, 1], [0, 100]] -= 1
    np.testing.assert_allclose(losses, [math.log(300)] * 2)
    np.testing.assert_allclose(dy, expected, rtol=1e-12, atol=1e-15)


@BOTH
def test_ignored_rows_have_no_loss_no_gradient_and_do_not_count(kind):  # L02
    y, target = predictions(kind, 3, 4), jnp.array([1, -1, 3])
    losses, dy = kind(ignore_label=-1).value_and_backward(y, target, jnp.ones(3))
    kept, kept_dy = kind().value_and_backward(y[::2], target[::2], jnp.ones(2))
    np.testing.assert_array_equal(losses, [kept[0], 0, kept[1]])
    np.testing.assert_array_equal(dy, [kept_dy[0], np.zeros(4), kept_dy[1]])
    np.testing.assert_array_equal(kind(ignore_label=-1).counted(target), [True, False, True])


def test_ignored_rows_have_no_weight_in_the_mean_even_where_they_are_nan():
    y, target = noise(3, 4).at[1].set(jnp.nan), jnp.array([1, -1, 3])
    run = jax.jit(value_and_grad)
    value, _ = run(Identity(), SoftmaxCrossEntropy(ignore_label=-1), (), y, target)
    alone = LOGITS.forward(y[::2], target[::2])[0].mean()
    np.testing.assert_allclose(value, alone, rtol=1e-12)


def test_rows_of_probabilities_ignore_nothing():
    y, loss = noise(5, 4), SoftmaxCrossEntropy(ignore_label=1)
    assert loss.counted(ROWS) is None
    np.testing.assert_array_equal(loss.forward(y, ROWS)[0], LOGITS.forward(y, ROWS)[0])


@BOTH
def test_every_label_ignored_is_refused_where_it_is_known(kind):  # L10
    loss, y, target = kind(ignore_label=-1), predictions(kind, 2, 3), jnp.array([-1, -1])
    with pytest.raises(ValueError, match="every label is ignored, nothing is left to average"):
        loss.forward(y, target)
    losses, dy = jax.jit(loss.value_and_backward)(y, target, jnp.ones(2))
    value, _ = jax.jit(value_and_grad)(Identity(), loss, (), y, target)
    assert not np.any(losses)
    assert not np.any(dy)
    assert value == 0


BAD = [
    ([0, 3], r"hold labels in \[0, 3\), got 3 at index 1 \(1 of 2 are wrong\); labels start at 0"),
    ([-1, 0], r"hold labels in \[0, 3\), got -1 at index 0 .*ignore_label=-1 leaves such rows out"),
    ([7, 9], r"hold labels in \[0, 3\), got 7 at index 0 \(2 of 2 are wrong\)"),
    ([[0.0, 1, 0], [1, 1, 0]], r"the sum of a target row must be 1, got 2\.0 at index 1"),
    ([[0.0, 1, 0], [0.5, 0, 0]], r"the sum of a target row must be 1, got 0\.5 at index 1"),
    ([[-0.5, 1.5, 0], [1, 0, 0]], r"target must be in \[0, 1\], got -0\.5 at index \[0, 0\]"),
    ([[0.0, 1, 0], [np.nan, 0, 0]], r"target must be in \[0, 1\], got nan at index \[1, 0\]"),
]


@BOTH
@pytest.mark.parametrize(("target", "message"), BAD)
def test_bad_targets_are_refused_where_they_are_known(kind, target, message):  # L01, L02, L04
    with pytest.raises(ValueError, match=rf"^{kind.__name__}\(.*\): .*" + message):
        kind().forward(predictions(kind, 2, 3), jnp.array(target))


@BOTH
@pytest.mark.parametrize("of", ["labels", "rows"])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_bad_targets_poison_their_row_under_jit(kind, of, smoothing):
    """All of BAD in one batch, behind a good target."""
    good = [[1], [[0.0, 1.0, 0.0]]][of == "rows"]
    bad = [np.array(target) for target, _ in BAD if np.ndim(target) == np.ndim(good)]
    target = np.concatenate([good, *bad])
    wrong = (target < 0) | (target > 2)
    if of == "rows":
        wrong = ~((target >= 0) & (target <= 1)).all(-1) | (target.sum(-1) != 1)
    f = jax.jit(kind(smoothing).value_and_backward)
    losses, dy = f(predictions(kind, len(target), 3), target, jnp.ones(len(target)))
    assert wrong.sum() >= 4
    np.testing.assert_array_equal(np.isnan(losses), wrong)
    np.testing.assert_array_equal(np.isnan(dy), np.stack([wrong] * 3, -1))


def test_what_is_no_probability_is_refused_and_poisons_under_jit():
    y = jnp.array([[0.5, 0.5], [-0.5, 1.5]])
    with pytest.raises(ValueError, match=r"y must be in \[0, 1\], got -0\.5 at index \[1, 0\].*So"):
        CrossEntropy().forward(y, jnp.array([0, 1]))
    f = jax.jit(CrossEntropy().value_and_backward)
    losses, dy = f(y, jnp.array([0, 1]), jnp.ones(2))
    np.testing.assert_array_equal(np.isnan(losses), [False, True])
    np.testing.assert_array_equal(np.isnan(dy).any(-1), [False, True])


@pytest.mark.parametrize(
    ("y", "target", "error", "message"),
    [
        ((2, 3), jnp.array([0.0, 2.0]), TypeError, r"labels must be integers, got float64; write"),
        ((2, 3), jnp.array([0.0, 1.7]), TypeError, r"labels must be integers, got float64"),
        ((2, 3), jnp.array([True, False]), TypeError, r"labels must be integers, got bool"),
        ((2, 3), jnp.eye(2, 3, dtype=int), TypeError, r"must hold floating probabilities, got int"),
        ((2, 3), jnp.array([0, 1, 2]), ValueError, r"target must have shape \[2\] \(labels\) or "),
        ((2, 3), jnp.array([0]), ValueError, r"\[2, 3\] \(probabilities\), got \[1\]"),
        ((2, 3), jnp.array(0), ValueError, r"target must have shape .*, got \[\]"),
        ((2, 3), jnp.array([[0], [1]]), ValueError, r"target must have shape .*, got \[2, 1\]"),
        ((2, 1), jnp.array([0, 0]), ValueError, r"at least 2 classes .*use SigmoidBinaryCrossE"),
        ((2,), jnp.array([0, 0]), ValueError, r"at least 2 classes .*, got \[2\]"),
        ((2, 3), [0, 1], TypeError, r"target must be an array, got list"),
        ((2, 3), jnp.zeros((2, 3), complex), TypeError, r"must hold real numbers, got complex"),
    ],
)  # S03, L03, L07, L09, D06
@pytest.mark.parametrize("kind", [CrossEntropy, SoftmaxCrossEntropy])
def test_targets_that_do_not_fit_are_refused(kind, y, target, error, message):
    with pytest.raises(error, match=rf"^{kind.__name__}\(.*\): .*" + message):
        kind().forward(jnp.full(y, 0.5), target)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_of_rounded_probabilities_are_accepted(dtype):
    rows = jax.nn.softmax(noise(50, 10)).astype(dtype)
    losses, _ = LOGITS.forward(noise(50, 10).astype(dtype), rows)
    assert losses.dtype == "float32"


@BOTH
@pytest.mark.parametrize("smoothing", [1.0, 1.5, -0.1, math.nan])
def test_smoothing_out_of_range_is_rejected(kind, smoothing):  # L06
    message = rf"^{kind.__name__}: label_smoothing must be (in \[0, 1\)|finite), got"
    with pytest.raises(ValueError, match=message):
        kind(smoothing)


def in_two_passes(loss, y, target, dl):
    losses, cache = jax.jit(loss.forward)(y, target)
    return losses, loss.backward(cache, dl)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("of", ["labels", "ignored", "rows"])
@pytest.mark.parametrize("shape", [(6, 4), (2, 5, 4), (2, 2, 3, 4)], ids=str)
def test_one_pass_is_the_two(shape, of, smoothing):
    y, dl = noise(*shape), noise(*shape[:-1], seed=2)
    labels = jnp.asarray(np.random.default_rng(0).integers(-1, 4, shape[:-1]))
    kinds = {
        "labels": jnp.maximum(labels, 0),
        "ignored": labels,
        "rows": jax.nn.softmax(noise(*shape, seed=3)),
    }
    loss = SoftmaxCrossEntropy(smoothing, ignore_label=-1)
    found = jax.jit(loss.value_and_backward)(y, kinds[of], dl)
    chex.assert_trees_all_close(
        found, in_two_passes(loss, y, kinds[of], dl), rtol=1e-12, atol=1e-15
    )


def test_one_pass_makes_no_array_of_the_size_of_the_logits_but_dy():
    y, labels, dl = noise(64, 512), jnp.arange(64), noise(64, seed=2)
    program = jax.jit(LOGITS.value_and_backward).lower(y, labels, dl).compile()
    assert program.memory_analysis().temp_size_in_bytes < y.nbytes / 4


def test_one_pass_poisons_and_leaves_out_the_same_rows():
    target = jnp.array([2, 0, 7, 3, -1, -2, 1, 0])
    y = noise(8, 4).at[jnp.array([0, 3, 4])].set(jnp.nan)
    dl = noise(8, seed=2).at[jnp.array([3, 5])].set(0)
    loss = SoftmaxCrossEntropy(ignore_label=-1)
    losses, dy = jax.jit(loss.value_and_backward)(y, target, dl)
    np.testing.assert_array_equal(np.isnan(losses), [1, 0, 1, 1, 0, 1, 0, 0])
    np.testing.assert_array_equal(np.isnan(dy), np.tile([[1], [0], [1], *[[0]] * 5], 4))
    np.testing.assert_array_equal(dy[3:6], 0)
    good = jnp.array([1, 6, 7])
    want = LOGITS.value_and_backward(y[good], target[good], dl[good])
    chex.assert_trees_all_close((losses[good], dy[good]), want, rtol=1e-12)


@pytest.mark.parametrize("way", ["in one pass", "in two"])
@pytest.mark.parametrize("gap", [1e-3, 1.0, 20.0, 40.0, 80.0])
def test_a_nearly_certain_label_keeps_all_digits_of_loss_and_gradient(gap, way):
    loss, dl = SoftmaxCrossEntropy(), jnp.ones(3, "float32")
    y = jnp.array([[gap, 0.0], [0.0, gap], [7.0 - gap, 7.0]], "float32")  # right, wrong, wrong
    target, exact = jnp.array([0, 0, 0]), np.asarray(y, "longdouble")
    if way == "in one pass":
        losses, dy = loss.value_and_backward(y, target, dl)
    else:
        losses, cache = loss.forward(y, target)
        dy = loss.backward(cache, dl)
    other = 1 / (1 + np.exp(exact[:, 0] - exact[:, 1]))  # p of class 1
    np.testing.assert_allclose(losses, np.log1p(np.exp(exact[:, 1] - exact[:, 0])), rtol=1e-6)
    np.testing.assert_allclose(dy, np.stack([-other, other], 1), rtol=1e-6)
