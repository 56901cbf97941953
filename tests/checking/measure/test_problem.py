"""Tests of fnn.checking.measure.problem."""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.building import cotangents, flatten, from_vjp
from fnn.checking.measure.problem import cropped, squared, substitute, traced

X = jnp.linspace(0.1, 0.9, 6).reshape(3, 2)


class Params(NamedTuple):
    w: jax.Array
    b: jax.Array


PARAMS = Params(jnp.ones((2, 4)), jnp.zeros(4))


def dense(p, x, i):
    return {"y": x @ p.w + p.b, "z": x[i]}


def dense_backward(p, x, i, dy):
    dx = (dy["y"] @ p.w.T).at[i].add(dy["z"])
    return Params(x.T @ dy["y"], dy["y"].sum(0)), dx, None


def problem_of(f, backward, *args, names=("p", "x", "i"), **more):
    return from_vjp("f", f, backward, args, names[: len(args)], **more)


@pytest.fixture(scope="module")
def problem():
    return problem_of(dense, dense_backward, PARAMS, X, jnp.array([0, 2]))


def test_a_problem_is_flat_and_names_every_gradient(problem):
    assert problem.names == ("p.w", "p.b", "x")
    assert problem.wrt == (0, 1, 2)
    assert [a.shape for a in problem.leaves] == [(2, 4), (4,), (3, 2), (2,)]


def test_backward_and_reference_have_the_order_of_the_names(problem):
    dy = [jnp.ones((3, 4)), jnp.full((2, 2), 2.0)]
    hand, truth = (f(problem.leaves, dy) for f in (problem.backward, problem.reference))
    for a, b in zip(hand, truth, strict=True):
        np.testing.assert_allclose(a, b)
    assert [a.shape for a in hand] == [(2, 4), (4,), (3, 2)]


def test_a_problem_at_other_values_keeps_its_integers(problem):
    moved = substitute(problem.leaves, problem.wrt, [0 * a for a in problem.leaves[:3]])
    np.testing.assert_array_equal(moved[2], jnp.zeros((3, 2)))
    np.testing.assert_array_equal(moved[3], [0, 2])


def test_floating_leaves_become_float64():
    low = problem_of(lambda x: x, lambda x, dy: dy, np.float32([1, 2]), names=("x",))
    assert low.leaves[0].dtype == "float64"


def test_only_the_first_arguments_are_differentiated():
    half = problem_of(
        lambda y, t: (y - t) ** 2, lambda y, t, dl: 2 * dl * (y - t), X, X, differentiated=1
    )
    assert half.names == ("p",)
    assert len(half.leaves) == 2


def test_a_cropped_problem_has_one_size_only(problem):
    assert [a.shape for a in cropped(problem).leaves] == [(2, 2), (2,), (2, 2), (2,)]
    assert cropped(replace(problem, leaves=[jnp.ones(()), jnp.ones((1, 1))])) is None


def test_a_square_problem_is_cropped_or_the_problems_own(problem):
    assert squared(problem).leaves[0].shape == (2, 2)
    assert squared(replace(problem, square=lambda: None)) is None
    assert squared(replace(problem, compares=True)) is None


def test_a_mask_and_nothing_travel_through_x_and_y_and_have_no_gradient():
    mask = jnp.array([True, False, True])

    def f(s):
        return {"x": s["x"] ** 2, "mask": s["mask"], "state": None}

    def backward(s, dy):
        np.testing.assert_array_equal(dy["mask"], mask)
        assert dy["state"] is None
        return {"x": 2 * s["x"] * dy["x"], "mask": dy["mask"], "state": None}

    problem = problem_of(f, backward, {"x": X, "mask": mask, "state": None}, names=("s",))
    assert problem.names == ("s.x",)
    (y,) = problem.forward(problem.leaves)
    (dx,) = problem.backward(problem.leaves, [jnp.ones_like(y)])
    np.testing.assert_array_equal(dx, 2 * X)
    np.testing.assert_allclose(problem.reference(problem.leaves, [jnp.ones_like(y)])[0], dx)


def same(*cotangent, args=(PARAMS, X), wanted=("p.w", "p.b", "x")):
    return cotangents("f", cotangent, args, ("p", "x"), list(wanted))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ((Params(PARAMS.w, None), X), r"f: the gradient for p\.b is missing\."),
        ((PARAMS, {"x": X}), "the gradient for x is missing"),
        ((PARAMS,), r"one cotangent for each of p, x, got 1; return a tuple of 2\."),
        ((PARAMS, X, X), "got 3"),
        (
            (PARAMS._replace(w=PARAMS.w.T), X),
            r"the gradient for p\.w must have shape \[2, 4\], got \[4, 2\]; transpose it\.",
        ),
        (
            (PARAMS._replace(b=jnp.ones((3, 4))), X),
            r"p\.b must have shape \[4\], got \[3, 4\]; sum it over axis 0, the examples\.",
        ),
        (
            (PARAMS._replace(b=jnp.ones((5, 3, 4))), X),
            r"got \[5, 3, 4\]; sum it over axes 0, 1, the examples\.",
        ),
        ((PARAMS, X[:, 0]), r"x must have shape \[3, 2\], got \[3\]\."),
    ],
)
def test_a_cotangent_that_does_not_fit_is_named_with_its_remedy(result, message):
    with pytest.raises(ValueError, match=message):
        same(*result)


def test_a_sum_that_must_keep_its_axis_is_told():
    with pytest.raises(ValueError, match=r"sum it over axis 0, keepdims=True\.$"):
        same(PARAMS, X, args=(PARAMS, X[:1]))


def test_a_gradient_for_what_is_no_input_is_refused():
    args = ({"w": X},)
    with pytest.raises(ValueError, match=r"f: the gradient for p\.v is unexpected"):
        cotangents("f", ({"w": X, "v": X},), args, ("p",), ["p.w"])


def test_one_argument_takes_its_cotangent_bare_or_in_a_tuple():
    for result in (X, (X,)):
        np.testing.assert_array_equal(cotangents("f", result, (X,), ("x",), ["x"])[0], X)


def test_something_that_is_no_tuple_is_refused_for_two_arguments():
    with pytest.raises(ValueError, match=r"each of p, x, got Array|got ArrayImpl"):
        cotangents("f", X, (PARAMS, X), ("p", "x"), ["x"])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (jnp.arange(3), TypeError, r"f: nothing to differentiate.*\(p int64\).*\.astype\(float\)"),
        (jnp.array([True]), TypeError, "p bool"),
        (jnp.array([1j]), TypeError, r"f: p must be real, got complex128\."),
        ("text", TypeError, r"f: nothing to differentiate, no argument has a floating"),
        (object(), TypeError, r"f: p must be an array, got object\."),
        (X.at[1, 0].set(jnp.nan), ValueError, r"f: p must be finite, got nan at index \[1, 0\]\."),
        (X.at[2, 1].set(-jnp.inf), ValueError, r"got -inf at index \[2, 1\]\."),
    ],
)
def test_an_input_without_a_derivative_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        problem_of(lambda x: x, lambda x, dy: dy, x)


def test_an_output_without_a_derivative_is_refused():
    with pytest.raises(TypeError, match=r"f: y must be floating .* got int64\."):
        problem_of(lambda x: (x > 0).astype(int), lambda x, dy: dy, X)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * float(x[0, 0]),
        lambda x: jnp.asarray(np.sin(np.asarray(x))),
        lambda x: x[x > 0],
    ],
    ids=["if", "float", "numpy", "mask"],
)
def test_a_function_that_needs_values_does_not_trace_and_says_so(f):
    with pytest.raises(TypeError, match=r"f: the function does not trace: .* JAX says: "):
        traced("f", f, (X,))


def test_a_traced_input_is_refused():
    def inside(x):
        problem_of(lambda x: x, lambda x, dy: dy, x)

    with pytest.raises(TypeError, match=r"f: p is traced; call the check outside of jit"):
        jax.jit(inside)(X)


def test_arrays_have_names_and_a_tree():
    args = ({"a": 1.0, "b": (X, np.arange(2))},)
    names, leaves, tree = flatten(args, ("p",))
    assert names == ["p.a", "p.b.0", "p.b.1"]
    assert set(tree.unflatten(leaves)[0]) == {"a", "b"}
