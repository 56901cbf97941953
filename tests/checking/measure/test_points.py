"""Tests of fnn.checking.measure.points."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.points import LOW, SMOOTH, SPECIAL, nearby, points, rounded, signed
from fnn.checking.measure.problem import Problem

X = jnp.linspace(0.05, 0.95, 12).reshape(4, 3)
PROBLEM = Problem(
    who="f",
    leaves=[jnp.zeros(5), X, jnp.arange(4)],
    wrt=(0, 1),
    names=("b", "x"),
    forward=lambda leaves: [leaves[1]],
    backward=lambda leaves, dy: [leaves[0], dy[0]],
    reference=lambda leaves, dy: [leaves[0], dy[0]],
    inputs=(1,),
)


def made(problem=PROBLEM, seed=0, shape=(4, 3), dtype="float64"):
    y = [jax.ShapeDtypeStruct(shape, dtype)]
    return {p.case: p for p in points(problem, y, np.random.default_rng(seed))}


@pytest.fixture(scope="module")
def cases():
    return made()


def test_every_case_is_made_in_order(cases):
    assert tuple(cases) == (*SMOOTH, *SPECIAL, *LOW)
    assert cases["as given"].leaves is PROBLEM.leaves


@pytest.mark.parametrize(
    ("case", "change"),
    [
        ("far", lambda x: 100 * x),
        ("near zero", lambda x: 1e-4 * x),
        ("zeros", lambda x: 0 * x),
        ("ties", lambda x: np.round(2 * x) / 2),
    ],
)
def test_a_special_case_changes_the_inputs_alone(cases, case, change):
    b, x, i = cases[case].leaves
    np.testing.assert_array_equal(x, change(np.asarray(X)))
    np.testing.assert_array_equal(b, np.zeros(5))
    np.testing.assert_array_equal(i, np.arange(4))


@pytest.mark.parametrize("case", SMOOTH[1:])
def test_nearby_every_value_moves_inputs_in_their_range_and_zero_biases_off_zero(cases, case):
    b, x, i = cases[case].leaves
    assert (b != 0).all()
    assert X.min() <= x.min()
    assert x.max() <= X.max()
    assert (x != X).mean() > 0.7
    np.testing.assert_array_equal(i, np.arange(4))


@pytest.mark.parametrize("dtype", LOW)
def test_rounded_cases_are_float64_numbers_that_the_dtype_holds(cases, dtype):
    for a in (*cases[dtype].leaves[:2], *cases[dtype].dy):
        assert a.dtype == "float64"
        np.testing.assert_array_equal(a, a.astype(dtype).astype("float64"))
    assert (cases[dtype].leaves[1] != X).any()


def test_dy_has_both_signs_and_sizes_from_a_half_to_one_and_a_half(cases):
    scale = {"far": 100, "near zero": 1e-4}
    dy = np.concatenate([np.ravel(p.dy[0]) / scale.get(c, 1) for c, p in cases.items()])
    assert {-1.0, 1.0} == {*np.sign(dy)}
    assert abs(dy).min() > 0.49
    assert abs(dy).max() < 1.51
    assert (cases["far"].dy[0] != cases["zeros"].dy[0]).all()


def test_dy_has_the_dtype_of_y_and_is_one_for_a_scalar_function():
    assert made(dtype="float32")["far"].dy[0].dtype == "float32"
    scalar = dataclasses.replace(PROBLEM, one_dy=True)
    assert all(p.dy[0] == 1 for p in made(scalar, shape=()).values())


def test_the_seed_decides_the_points(cases):
    for name, same in (("nearby 1", made()), ("nearby 2", made())):
        np.testing.assert_array_equal(same[name].leaves[1], cases[name].leaves[1])
    assert (made(seed=1)["nearby 1"].leaves[1] != cases["nearby 1"].leaves[1]).any()


def test_a_constant_input_is_scaled_and_an_empty_one_stays():
    rng = np.random.default_rng(0)
    a = nearby(np.full(50, 3.0), rng, inside=True)
    assert (abs(a / 3 - 0.8) <= 0.1).all()
    assert len(np.unique(a)) == 50
    assert nearby(np.zeros((0, 2)), rng, inside=True).shape == (0, 2)


def test_signed_numbers_of_no_axis_and_rounded_integers():
    assert 0.5 <= abs(signed((), np.random.default_rng(0))) <= 1.5
    assert rounded(jnp.array([2**30 + 1]), "bfloat16")[0] == 2**30 + 1
