"""Tests of fnn.targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.targets import (
    are_labels,
    check_between,
    check_classes,
    check_probabilities,
    check_same_shape,
    tolerance,
    valid_classes,
)

Y = jnp.zeros((2, 3))


def test_labels_have_one_axis_less():
    assert are_labels(Y, jnp.zeros(2, int))
    assert not are_labels(Y, Y)


@pytest.mark.parametrize("target", [np.array([2, 0]), jnp.array([2, 0], "uint8"), np.eye(2, 3)])
def test_good_targets_pass(target):
    check_classes("Owner", Y, target)
    check_classes("Owner", jax.ShapeDtypeStruct((2, 3), "float32"), target)


def test_label_to_ignore_passes():
    check_classes("Owner", Y, jnp.array([-100, 1]), ignore_label=-100)
    with pytest.raises(ValueError, match=r"hold labels in \[0, 3\), got -1 at index 1"):
        check_classes("Owner", Y, jnp.array([-100, -1]), ignore_label=-100)


def test_values_are_not_checked_under_jit_nor_where_it_is_not_wanted():
    bad = jnp.array([7, -7])
    jax.jit(lambda t: check_classes("Owner", Y, t))(bad)
    check_classes("Owner", Y, bad, values=False)
    with pytest.raises(ValueError, match="hold labels"):
        check_classes("Owner", Y, bad)


def test_shapes_are_checked_under_jit():
    with pytest.raises(ValueError, match=r"Owner: target must have shape \[2\] \(labels\) or "):
        jax.jit(lambda t: check_classes("Owner", Y, t))(jnp.array([1, 2, 0]))


def test_valid_labels():
    valid = valid_classes(jnp.zeros((4, 3)), jnp.array([0, 2, 3, -1]))
    np.testing.assert_array_equal(valid, [True, True, False, False])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_valid_rows(dtype):
    nan = float("nan")
    rows = [[0.5, 0.5, 0], [0, 1, 0], [0.5, 0, 0], [1, 1, 0], [-0.5, 1.5, 0], [nan, 1, 0]]
    valid = valid_classes(jnp.zeros((6, 3), dtype), jnp.array(rows).astype(dtype))
    np.testing.assert_array_equal(valid, [True, True, False, False, False, False])


@pytest.mark.parametrize("dtype", ["float64", "float32", "bfloat16"])
def test_rounding_is_within_the_tolerance_and_a_wrong_row_is_not(dtype):
    third = jnp.full((1, 3), 1 / 3).astype(dtype)
    check_classes("Owner", jnp.zeros((1, 3)), third)
    with pytest.raises(ValueError, match="the sum of a target row must be 1"):
        check_classes("Owner", jnp.zeros((1, 3)), 1.1 * third)
    assert tolerance(jnp.dtype(dtype)) < 0.01


def test_between_is_closed_and_refuses_nan():
    check_between("Owner", jnp.array([0.0, 1.0]), 0, 1)
    jax.jit(lambda a: check_between("Owner", a, 0, 1))(jnp.array([2.0]))
    with pytest.raises(
        ValueError, match=r"^Owner: target must be in \[0, 1\], got nan at index 1 "
    ):
        check_between("Owner", jnp.array([0.0, float("nan")]), 0, 1)


def test_predictions_outside_zero_and_one_are_refused_and_nan_goes_on():
    check_probabilities("Owner", jnp.array([0.0, 1.0, float("nan")]), "another loss")
    with pytest.raises(
        ValueError, match=r"^Owner: y must be in \[0, 1\], got 2.0 .*use another loss"
    ):
        check_probabilities("Owner", jnp.array([0.5, 2.0]), "another loss")


@pytest.mark.parametrize("shapes", [((3,), (3,)), ((2, 3), (2, 3)), ((1, 1), (1, 1))], ids=str)
def test_same_shape_passes(shapes):
    y, target = shapes
    check_same_shape("Owner", jnp.zeros(y), jnp.zeros(target, int))


@pytest.mark.parametrize("shapes", [((3, 1), (1, 3)), ((2, 3), (3,)), ((3,), (3, 3))], ids=str)
def test_other_shape_is_refused(shapes):
    y, target = shapes
    with pytest.raises(ValueError, match=r"^Owner: target must have y's shape \["):
        check_same_shape("Owner", jnp.zeros(y), jnp.zeros(target))
