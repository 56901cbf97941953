"""Tests of fnn.mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.mean import check_weights, mean, merge_weights, normalized, spread

NAN, INF = float("nan"), float("inf")
F64 = jnp.dtype("float64")


def test_without_weights_dl_is_one_over_the_number_of_losses():
    dl = normalized(merge_weights("f", (2, 3), None, (), F64))
    np.testing.assert_allclose(dl, np.full((2, 3), 1 / 6))


def test_weights_by_hand():
    w = merge_weights("f", (3,), jnp.array([1.0, 0, 3]), (), F64)
    dl = normalized(w)
    np.testing.assert_allclose(dl, [0.25, 0, 0.75])
    assert mean(jnp.array([4.0, NAN, 8.0]), dl) == pytest.approx(1 + 6)


def test_weights_of_rows_serve_all_their_predictions():
    w = merge_weights("f", (2, 3), jnp.array([1, 2]), (), F64)
    np.testing.assert_array_equal(w, [[1, 1, 1], [2, 2, 2]])


def test_what_does_not_count_has_weight_zero():
    no, yes = jnp.array([True, False, True]), None
    w = merge_weights("f", (3,), jnp.array([1.0, 2, 4]), (no, yes), F64)
    np.testing.assert_allclose(normalized(w), [0.2, 0, 0.8])


def test_labels_and_mask_must_both_say_that_a_prediction_counts():
    labels, mask = jnp.array([[True, True, False]]), jnp.array([[True, False, False]])
    w = merge_weights("f", (1, 3), jnp.array([[5.0, 2.0, 3.0]]), (labels, mask), F64)
    np.testing.assert_array_equal(w, [[5, 0, 0]])


def test_weights_that_sum_to_zero_give_zero():
    np.testing.assert_array_equal(normalized(jnp.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("bad", [-1.0, NAN])
def test_weight_that_is_negative_or_nan_poisons_under_jit(bad):
    w = jax.jit(lambda w: merge_weights("f", (2,), w, (), F64))(jnp.array([1.0, bad]))
    assert np.isnan(w[1])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match=r"f: empty batch, losses of shape \[.*\] have no mean"):
        merge_weights("f", shape, None, (), F64)


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [
        ((4,), (4, 1), r"^f: weights must have shape \[4\], got \[4, 1\]"),
        ((4,), (), r"weights must have shape \[4\], got \[\]"),
        ((4,), (1,), r"weights must have shape \[4\], got \[1\]"),
        ((4, 3), (3,), r"weights must have shape \[4, 3\] or \[4\], got \[3\]"),
        ((4, 3), (4, 1), r"weights must have shape \[4, 3\] or \[4\], got \[4, 1\]"),
    ],
    ids=str,
)
def test_weights_are_not_broadcast(shape, weights, message):
    with pytest.raises(ValueError, match=message):
        check_weights("f", shape, jnp.ones(weights))


@pytest.mark.parametrize("bad", [-1.0, NAN, INF])
def test_weights_out_of_range_are_refused_where_they_are_known(bad):
    message = r"^f: weights must be finite and at least 0, got .* at index 1 \(1 of 3 are wrong\)"
    with pytest.raises(ValueError, match=message):
        check_weights("f", (3,), jnp.array([1.0, bad, 2.0]))


def test_weights_that_are_all_zero_are_refused_where_they_are_known():
    with pytest.raises(ValueError, match=r"^f: weights must not all be 0, got Σ w = 0"):
        merge_weights("f", (3,), jnp.zeros(3), (), F64)
    with pytest.raises(ValueError, match="f: nothing counts: the mask or the target leaves every"):
        merge_weights("f", (2,), None, (jnp.zeros(2, bool),), F64)
    traced = jax.jit(lambda w: normalized(merge_weights("f", (3,), w, (), F64)))(jnp.zeros(3))
    np.testing.assert_array_equal(traced, np.zeros(3))


def test_spread_serves_the_last_axis_and_leaves_zeros_out():
    d = jnp.array([[1.0, 2.0], [NAN, INF]])
    np.testing.assert_array_equal(spread(jnp.array([3.0, 0.0]), d), [[3, 6], [0, 0]])
    np.testing.assert_array_equal(spread(jnp.array([3.0, 0.0]), jnp.array([2.0, NAN])), [6, 0])


def test_weights_that_are_huge_or_tiny_average_all_the_same():
    for size in (3e38, 1e-37):
        w = jnp.array([size, size, 0.0], jnp.float32)
        np.testing.assert_allclose(normalized(w), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("weight", [1e-310, 5e-324])
def test_weights_below_the_smallest_normal_number_are_none(weight):
    from fnn.mean import merge_weights

    with pytest.raises(ValueError, match="f: weights must not all be 0"):
        merge_weights("f", (3,), np.full(3, weight), (), jnp.float64)
