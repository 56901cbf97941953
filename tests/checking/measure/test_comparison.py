"""Tests of fnn.checking.measure.comparison."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.comparison import cast_all, gap, host, norm_gap, scale_of


def test_one_wrong_entry_among_a_million_is_found_where_it_is():
    truth = np.ones((1000, 1000))
    hand = truth.copy()
    hand[123, 456] += 1e-8
    found = gap(hand, truth, 1.0)
    assert np.argwhere(found.wrong).tolist() == [[123, 456]]
    assert found.error == pytest.approx(1e-8)


@pytest.mark.parametrize(("off", "wrong"), [(0.5, False), (2.0, True)])
def test_the_allowance_is_of_the_entry_and_of_the_scale_of_its_leaf(off, wrong):
    truth = np.array([1.0, 100.0])
    allowed = 1e-9 * truth + 1e-11 * 100
    assert gap(truth + off * allowed, truth, 100.0).wrong.tolist() == [wrong, wrong]


def test_a_tiny_leaf_is_compared_at_its_own_tiny_scale():
    truth = np.array([1e-30, 2e-30])
    found = gap(1.1 * truth, truth, scale_of([truth]))
    assert found.wrong.all()
    assert found.error == pytest.approx(0.1)


def test_what_is_not_finite_is_wrong_only_where_the_reference_is_finite():
    hand, truth = np.array([np.nan, np.inf, np.nan, 1.0]), np.array([1.0, 1.0, np.nan, 1.0])
    found = gap(hand, truth, 1.0)
    assert found.wrong.tolist() == [True, True, False, False]
    assert found.error > 1e300


def test_an_error_without_a_scale_is_absolute_and_an_empty_leaf_is_right():
    assert gap([3.0], [0.0], 0.0).error == 3.0
    assert gap([3.0], [0.0], 0.0).wrong.all()
    assert gap(np.ones((0, 3)), np.ones((0, 3)), 0.0).error == 0.0


def test_a_function_that_computes_in_float32_is_compared_at_its_rounding():
    eps, truth = 2.0**-23, np.array([1.0, 1e-6])
    assert not gap(truth + 15 * eps, truth, 1.0, eps).wrong.any()
    assert gap(truth + 17 * eps, truth, 1.0, eps).wrong.all()


def test_the_scale_is_the_largest_finite_entry_of_all_points():
    assert scale_of([np.array([1.0, -3.0]), np.array([np.inf, np.nan])]) == 3.0
    assert scale_of([np.zeros((0, 2))]) == 0.0


def test_the_gap_of_norms_is_relative_and_infinite_for_a_nan_of_ours_only():
    assert norm_gap([3.0, 4.4], [3.0, 4.0]) == pytest.approx(0.08)
    assert norm_gap([1.0, np.nan], [1.0, 1.0]) > 1e300
    assert norm_gap([1.0, np.nan], [1.0, np.nan]) == 0.0
    assert norm_gap([0.5], [0.0]) == 0.5


def test_casts_leave_integers_alone_and_host_arrays_are_float64():
    low = cast_all([jnp.ones(2), jnp.arange(2)], "bfloat16")
    assert [a.dtype.name for a in low] == ["bfloat16", "int64"]
    assert [a.dtype.name for a in host(low)] == ["float64", "int64"]
