"""Tests of fnn.checking.measure.taylor."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.comparison import EPS
from fnn.checking.measure.problem import Problem
from fnn.checking.measure.taylor import SHIFTS, coordinates, order, profile, sides, slope_of


def along(phi):
    """φ and its size at every shift."""
    values = np.array([phi(t) for t in SHIFTS])
    return np.stack([values, abs(values)], 1)


CURVED = along(lambda t: np.exp(np.sin(0.3 + t)))
SLOPE = np.cos(0.3) * np.exp(np.sin(0.3))


def test_the_remainder_of_a_right_gradient_has_order_2():
    found = order(CURVED, SLOPE, EPS)
    assert found.order == pytest.approx(2, abs=0.05)
    assert found.right


@pytest.mark.parametrize("c", [0.0, -1.0, 0.5, 1.1, 1.001, 1 + 1e-5])
def test_the_remainder_of_a_wrong_gradient_has_order_1(c):
    found = order(CURVED, c * SLOPE, EPS)
    assert found.order == pytest.approx(1, abs=0.05)
    assert not found.right
    assert found.far == (abs(c - 1) > 1e-3)


def test_a_linear_function_has_no_remainder_and_a_wrong_gradient_of_it_is_seen():
    values = along(lambda t: 2 + 3 * t)
    assert order(values, 3.0, EPS).order == np.inf
    assert order(values, 3.0, EPS).right
    assert not order(values, 3.01, EPS).right


def test_a_gradient_that_is_no_number_is_not_right():
    assert not order(CURVED, np.nan, EPS).right


def test_a_vanishing_function_has_the_gradient_zero_and_no_other():
    values = along(lambda t: 0.0)
    assert order(values, 0.0, EPS).right
    assert not order(values, 1e-3, EPS).right


def test_central_differences_are_exact_to_eight_digits():
    slope, error = slope_of(CURVED, EPS)
    assert slope == pytest.approx(SLOPE, rel=1e-8)
    assert error < 1e-8


def test_the_sides_of_the_absolute_value_are_its_two_slopes():
    assert sides(along(lambda t: abs(t)), EPS)[:2] == pytest.approx((1, -1))
    right, left, error = sides(along(lambda t: np.sin(t)), EPS)
    assert right == pytest.approx(left, abs=10 * error)
    assert right == pytest.approx(1, rel=1e-6)


PROBLEM = Problem(
    who="f",
    leaves=[jnp.array([1.0, 2.0]), jnp.array([3.0]), jnp.array([2])],
    wrt=(0, 1),
    names=("a", "b"),
    forward=lambda leaves: [leaves[0] ** 2 * leaves[1], 0 * leaves[1]],
    backward=lambda leaves, dy: [],
    reference=lambda leaves, dy: [],
)
DY = [jnp.array([1.0, -1.0]), jnp.array([5.0])]


def test_a_profile_moves_the_leaves_of_each_mask_along_v():
    v = [jnp.array([1.0, 0.5]), jnp.array([-2.0])]
    masks = jnp.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    values = np.asarray(profile(PROBLEM, PROBLEM.leaves, DY, v, masks))
    t = SHIFTS

    def phi(t, s):
        return ((1 + t) ** 2 - (2 + 0.5 * t) ** 2) * (3 - 2 * s)

    wanted = np.stack([phi(t, 0), phi(0, t), phi(t, t)])
    np.testing.assert_allclose(values[..., 0], wanted, rtol=1e-12)
    assert (values[:, 0, 1] == 3 + 12).all()  # the sizes of the terms


def test_coordinates_move_single_entries_of_one_leaf():
    values = np.asarray(coordinates(PROBLEM, 0, PROBLEM.leaves, DY, jnp.array([1, 0])))
    wanted = [3 - 3 * (2 + SHIFTS) ** 2, 3 * (1 + SHIFTS) ** 2 - 12]
    np.testing.assert_allclose(values[..., 0], np.stack(wanted), rtol=1e-12)
