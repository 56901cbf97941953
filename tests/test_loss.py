"""Tests of fnn.loss."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.loss import Loss
from fnn.mean import check_weights, mean, merge_weights, normalized, spread

NAN, INF = float("nan"), float("inf")
F64 = jnp.dtype("float64")


@dataclass(frozen=True)
class Linear(Loss):
    """losses = Σ_j y_j t_j."""

    def check(self, y, target):
        pass

    def forward(self, y, target):
        return (y * target).sum(-1), target

    def backward(self, cache, dl):
        return spread(dl, cache)


def test_value_and_backward_is_forward_then_backward():
    y, t = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[10.0, 0.0], [0.0, 5.0]])
    losses, dy = Linear().value_and_backward(y, t, jnp.array([2.0, 3.0]))
    np.testing.assert_array_equal(losses, [10, 20])
    np.testing.assert_array_equal(dy, [[20, 0], [0, 15]])


def test_undecorated_loss_is_refused():
    class Plain(Linear):
        pass

    with pytest.raises(TypeError, match=r"^Plain: write @dataclass\(frozen=True\) above"):
        Plain()


def test_incomplete_loss_is_refused():
    @dataclass(frozen=True)
    class Incomplete(Loss):
        def check(self, y, target):
            pass

    with pytest.raises(TypeError, match="abstract class Incomplete .*backward.*forward"):
        Incomplete()


@pytest.mark.parametrize(("y", "losses"), [((5,), (5,)), ((5, 3), (5,)), ((2, 3, 4), (2, 3))])
def test_one_loss_for_every_prediction(y, losses):
    assert Linear().shape(jax.ShapeDtypeStruct(y, F64)) == losses


def test_every_prediction_counts():
    assert Linear().counted(jnp.zeros(3)) is None


def test_without_weights_dl_is_one_over_the_number_of_losses():
    dl = normalized(merge_weights((2, 3), None, None, F64))
    np.testing.assert_allclose(dl, np.full((2, 3), 1 / 6))


def test_weights_by_hand():
    w = merge_weights((3,), jnp.array([1.0, 0, 3]), None, F64)
    dl = normalized(w)
    np.testing.assert_allclose(dl, [0.25, 0, 0.75])
    assert mean(jnp.array([4.0, NAN, 8.0]), dl) == pytest.approx(1 + 6)


def test_weights_of_rows_serve_all_their_predictions():
    w = merge_weights((2, 3), jnp.array([1, 2]), None, F64)
    np.testing.assert_array_equal(w, [[1, 1, 1], [2, 2, 2]])


def test_what_does_not_count_has_weight_zero():
    w = merge_weights((3,), jnp.array([1.0, 2, 4]), jnp.array([True, False, True]), F64)
    np.testing.assert_allclose(normalized(w), [0.2, 0, 0.8])


def test_weights_per_example_are_normalized_within_each():
    w = jnp.array([[1.0, 3.0], [2.0, 2.0], [0.0, 0.0]])
    dl = normalized(w, per_example=True)
    np.testing.assert_allclose(dl, [[0.25, 0.75], [0.5, 0.5], [0, 0]])


def test_weights_that_sum_to_zero_give_zero():
    np.testing.assert_array_equal(normalized(jnp.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("bad", [-1.0, NAN])
def test_weight_that_is_negative_or_nan_poisons_under_jit(bad):
    w = jax.jit(lambda w: merge_weights((2,), w, None, F64))(jnp.array([1.0, bad]))
    assert np.isnan(w[1])


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
def test_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match=r"empty batch: losses of shape \[.*\] have no mean"):
        merge_weights(shape, None, None, F64)


@pytest.mark.parametrize(
    ("shape", "weights", "message"),
    [
        ((4,), (4, 1), r"weights must have shape \[4\], got \[4, 1\]"),
        ((4,), (), r"weights must have shape \[4\], got \[\]"),
        ((4,), (1,), r"weights must have shape \[4\], got \[1\]"),
        ((4, 3), (3,), r"weights must have shape \[4, 3\] or \[4\], got \[3\]"),
        ((4, 3), (4, 1), r"weights must have shape \[4, 3\] or \[4\], got \[4, 1\]"),
    ],
    ids=str,
)
def test_weights_are_not_broadcast(shape, weights, message):
    with pytest.raises(ValueError, match=message):
        check_weights(shape, jnp.ones(weights))


@pytest.mark.parametrize("bad", [-1.0, NAN, INF])
def test_weights_out_of_range_are_refused_where_they_are_known(bad):
    message = r"weights must be finite and at least 0, got .* at index 1 \(1 of 3 are wrong\)"
    with pytest.raises(ValueError, match=message):
        check_weights((3,), jnp.array([1.0, bad, 2.0]))


def test_weights_that_are_all_zero_are_refused_where_they_are_known():
    with pytest.raises(ValueError, match=r"weights must not all be 0, got Σ w = 0"):
        merge_weights((3,), jnp.zeros(3), None, F64)


def test_spread_serves_the_last_axis_and_leaves_zeros_out():
    d = jnp.array([[1.0, 2.0], [NAN, INF]])
    np.testing.assert_array_equal(spread(jnp.array([3.0, 0.0]), d), [[3, 6], [0, 0]])
    np.testing.assert_array_equal(spread(jnp.array([3.0, 0.0]), jnp.array([2.0, NAN])), [6, 0])


def test_weights_that_are_huge_or_tiny_average_all_the_same():
    for size in (3e38, 1e-37):
        w = jnp.array([size, size, 0.0], jnp.float32)
        np.testing.assert_allclose(normalized(w), [0.5, 0.5, 0.0])
    whole = jnp.array([[1.0, 3.0], [0.0, 0.0]])
    np.testing.assert_allclose(normalized(whole, per_example=True), [[0.25, 0.75], [0.0, 0.0]])
