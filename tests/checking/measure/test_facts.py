"""Tests of fnn.checking.measure.facts."""

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.comparison import EPS
from fnn.checking.measure.facts import directions, dot
from fnn.checking.measure.measuring import measure
from fnn.checking.measure.points import LOW, SMOOTH, SPECIAL

X, W = jnp.linspace(0.1, 0.9, 6).reshape(3, 2), jnp.array([[1.0, -2.0, 0.5, 1.5]] * 2)


def f(x, w):
    if x.dtype == "bfloat16":
        raise TypeError("no bfloat16")
    return jnp.sin(x) @ w


def backward(x, w, dy):
    if x.dtype == "float32":
        raise ValueError("no float32\nat all")
    batch = tuple(range(x.ndim - 1))
    return jnp.cos(x) * (dy @ w.T), 2 * jnp.tensordot(jnp.sin(x), dy, (batch, batch))


@pytest.fixture(scope="module")
def facts():
    problem = from_vjp("f", f, backward, (X, W), ("x", "w"), batched=(0,), inputs=(0,), widens=True)
    return measure(problem, 0)


def test_every_point_has_its_result_by_hand_and_by_autodiff(facts):
    assert set(facts.results) == {*SMOOTH, *SPECIAL, *LOW} == set(facts.points)
    for case, result in facts.results.items():
        x, w = facts.points[case].leaves
        np.testing.assert_allclose(result.y[0], jnp.sin(x) @ w)
        np.testing.assert_allclose(result.hand[0], result.truth[0])
        np.testing.assert_allclose(result.hand[1], 2 * result.truth[1])


def test_the_orders_tell_right_from_wrong_leaf_by_leaf(facts):
    assert set(facts.orders) == {*SMOOTH, *SPECIAL}
    for case, orders in facts.orders.items():
        assert [hand.right for hand, _ in orders] == [True, case == "zeros"]  # there dw is 0
        assert all(truth.right for _, truth in orders)
    assert facts.eps == EPS


def test_a_direction_can_be_kept_inside_of_some_entries(facts):
    keep = np.array([0.0, 1, 0, 0, 0, 0])
    v, values = directions(facts, "as given", 0, {0: keep})
    assert np.count_nonzero(v[0]) == 1
    assert np.count_nonzero(v[1]) == 8
    assert values.shape[0] == 2
    assert dot(v[0], np.ones((3, 2))) == v[0][0, 1]
