"""Tests of fnn.checking.functions."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from foreign_rules import rule_of

import fnn
from fnn.checking.functions import name_of, names_of

X, W = jnp.linspace(-1, 1, 6).reshape(3, 2), jnp.linspace(0.2, 0.9, 8).reshape(2, 4)
T = jnp.array([0, 3, 1])


class Params(NamedTuple):
    w: jax.Array
    b: jax.Array


def loss(p, x, t):
    """Flax-like parameters, NamedTuples inside, integer labels."""
    z = x @ p["params"]["out"].w + p["params"]["out"].b
    return -jax.nn.log_softmax(z)[jnp.arange(len(t)), t].mean()


def loss_grad(p, x, t):
    z = x @ p["params"]["out"].w + p["params"]["out"].b
    dz = (jax.nn.softmax(z) - jax.nn.one_hot(t, 4)) / len(t)
    return {"params": {"out": Params(x.T @ dz, dz.sum(0))}}


TREE = {"params": {"out": Params(W, jnp.ones(4))}}


def test_a_gradient_of_nested_parameters_with_labels():
    report = fnn.check_gradient(loss, loss_grad, TREE, X, T)
    assert report, report
    names = [leaf.name for leaf in report.leaves]
    assert names == ["p.params.out.w", "p.params.out.b"]


def test_a_wrong_leaf_of_nested_parameters_is_named():
    def wrong(p, x, t):
        return jax.tree.map(lambda a: a * (1 if a.ndim == 1 else len(t)), loss_grad(p, x, t))

    (finding,) = fnn.check_gradient(loss, wrong, TREE, X, T).findings
    assert finding.leaf == "p.params.out.w"
    assert finding.kind == "factor"
    assert "3" in finding.text


def product(x, w):
    return jnp.sin(x @ w).sum()


def dw(x, w):
    return x.T @ jnp.cos(x @ w)


def dx(x, w):
    return jnp.cos(x @ w) @ w.T


@pytest.mark.parametrize(
    ("argnums", "grad", "names"),
    [
        (1, dw, ["w"]),
        ((1,), lambda x, w: (dw(x, w),), ["w"]),
        ((1, 0), lambda x, w: (dw(x, w), dx(x, w)), ["w", "x"]),
    ],
)
def test_argnums_are_those_of_jax_grad(argnums, grad, names):
    report = fnn.check_gradient(product, grad, X, W, argnums=argnums)
    assert report, report
    assert [leaf.name for leaf in report.leaves] == names
    mirror = jax.grad(product, argnums)(X, W)
    assert jax.tree.structure(mirror) == jax.tree.structure(grad(X, W))


def test_a_function_that_is_not_scalar_is_refused():
    with pytest.raises(
        ValueError, match=r"check_gradient of sin: .* got shape \[3, 2\]; check_vjp"
    ):
        fnn.check_gradient(jnp.sin, jnp.cos, X)


def test_a_vjp_of_trees_with_an_integer_argument():
    def f(table, i):
        return {"rows": table[i], "sum": table.sum()}

    def backward(table, i, dy):
        return jnp.zeros_like(table).at[i].add(dy["rows"]) + dy["sum"], None

    assert fnn.check_vjp(f, backward, X, jnp.array([2, 0, 2]))

    def set_instead(table, i, dy):
        return jnp.zeros_like(table).at[i].set(dy["rows"]) + dy["sum"], None

    report = fnn.check_vjp(f, set_instead, X, jnp.array([2, 0, 2]))
    assert [f.leaf for f in report.findings] == ["table"]


@pytest.mark.parametrize("wrap", [lambda a: a, lambda a: (a,)], ids=["bare", "tuple"])
def test_one_argument_needs_no_tuple(wrap):
    assert fnn.check_vjp(jnp.sin, lambda x, dy: wrap(jnp.cos(x) * dy), X)


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda a, b, dy: (dy @ b.T, dy.T @ a), r"the gradient for b must .*; transpose it\."),
        (lambda a, b, dy: (dy @ b.T,), "one cotangent for each of a, b, got 1"),
        (lambda a, b, dy: (dy @ b.T, None), "the gradient for b is missing"),
        (lambda a, b, dy: (dy @ b, a.T @ dy), "backward fails with TypeError: dot_general"),
    ],
)
def test_a_backward_that_does_not_fit_raises_and_names_who(backward, message):
    with pytest.raises((ValueError, TypeError), match=f"^check_vjp of matmul: .*{message}"):
        fnn.check_vjp(jnp.matmul, backward, X, W)


def test_a_backward_to_be_written_passes_its_error_through():
    def todo(x, dy):
        raise NotImplementedError

    with pytest.raises(NotImplementedError):
        fnn.check_vjp(jnp.sin, todo, X)


def test_the_callers_precision_is_used_by_nobody_and_left_alone():
    with jax.enable_x64(False):
        x = jnp.linspace(0.1, 1.0, 6)
        assert x.dtype == "float32"
        assert fnn.check_vjp(jnp.sin, lambda x, dy: jnp.cos(x) * dy, x)
        assert jnp.ones(1).dtype == "float32"
        with pytest.raises(ValueError, match="nan"):
            fnn.check_vjp(jnp.log, lambda x, dy: dy / x, -x)
        assert jnp.ones(1).dtype == "float32"
    assert jnp.ones(1).dtype == "float64"


def step(p, g):
    return {"p": p - 0.1 * g, "m": 0.9 * g}


@pytest.mark.parametrize(
    ("f", "kinds"),
    [
        (step, {}),
        (lambda p, g: step(p, -g), {"result.p": None, "result.m": "sign"}),
        (lambda p, g: {**step(p, g), "m": 1.8 * g}, {"result.m": "factor"}),
    ],
)
def test_two_functions_are_the_same_or_differ_by_name(f, kinds):
    report = fnn.check_same(f, step, W, W**2)
    assert bool(report) == (not kinds)
    assert {f.leaf for f in report.findings} == set(kinds)
    told = {f.leaf: f.kind for f in report.findings}
    assert all(kind is None or told[leaf] == kind for leaf, kind in kinds.items())


def test_more_results_than_arguments_and_integer_arguments_are_compared():
    def f(i):
        return {"a": i * 2.0, "b": i - 1.0, "c": i.sum()}

    assert fnn.check_same(f, f, jnp.arange(3).astype("float64"))


def test_results_of_other_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"check_same of <lambda>: .*result must have shape \[3, 2\]"
    ):
        fnn.check_same(lambda x: x.T, lambda x: x, X)


def test_functions_and_arguments_have_names():
    assert name_of(product) == "product"
    assert name_of(fnn.Dense(2, 3)) == "Dense"
    assert names_of(product, (X, W)) == ("x", "w")
    assert names_of(lambda *args: None, (X, W)) == ("args[0]", "args[1]")
    assert names_of(print, (X,)) == ("args[0]",)


def softmax_of_shifted(x, c):
    return jax.nn.softmax(x + c)


def shifted_backward(x, c, dy):
    p = softmax_of_shifted(x, c)
    dx = p * (dy - (dy * p).sum(-1, keepdims=True))
    return dx, dx.sum()


SPARSE = jnp.maximum(jnp.sin(jnp.arange(40.0)).reshape(5, 8), 0).at[1:3].set(0.0)
FLOAT32 = jnp.ones((2, 4), "float32")

RIGHT = {
    "a gradient that is 0 but for rounding": (
        softmax_of_shifted,
        shifted_backward,
        X,
        jnp.ones(()),
    ),
    "a float32 array that is closed over": (
        lambda x: x @ FLOAT32.astype(x.dtype),
        lambda x, dy: (dy @ FLOAT32.T.astype(dy.dtype)).astype("float64"),
        X,
    ),
    "an operation without bfloat16": (
        jnp.linalg.inv,
        lambda a, dy: -jnp.linalg.inv(a).T @ dy @ jnp.linalg.inv(a).T,
        jnp.array([[2.0, 0.3], [-0.4, 1.0]]),
    ),
    "a straight-through estimator": (
        lambda x: x + jax.lax.stop_gradient(jnp.round(x) - x),
        lambda x, dy: dy,
        X,
    ),
    "inputs on the kink": (jax.nn.relu, lambda x, dy: jnp.where(x >= 0, dy, 0), SPARSE),
    "an empty array": (lambda x, e: 2 * x, lambda x, e, dy: (2 * dy, 0 * e), X, jnp.zeros((0, 3))),
}


@pytest.mark.parametrize("case", RIGHT.values(), ids=RIGHT)
def test_no_false_alarm(case):
    fnn.check_vjp(*case).raise_if_wrong()


WRONG = {
    "a constant beside a gradient of 0": (
        softmax_of_shifted, lambda x, c, dy: (shifted_backward(x, c, dy)[0], 1e-9 + 0 * c), X,
        jnp.ones(()),
    ),
    "behind inputs on the kink": (jax.nn.relu, lambda x, dy: jnp.where(x > 0, 2 * dy, 0), SPARSE),
    "a ten-millionth, beside a kink": (
        jax.nn.relu, lambda x, dy: jnp.where(x > 0, dy, 0).at[4].multiply(1 + 1e-7), SPARSE
    ),
    "at negative inputs only": (
        jnp.sin, lambda x, dy: dy * jnp.cos(x) * jnp.where(x < 0, x.dtype.type(1.001), 1), abs(X)
    ),
    "for large dy only": (jnp.sin, lambda x, dy: jnp.clip(dy * jnp.cos(x), -9, 9), X),
}  # fmt: skip


@pytest.mark.parametrize("quick", [False, True])
def test_no_mistake_hides_behind_a_derivative_of_the_forwards_own(quick):
    """Autodiff believes it: the values of the function decide, in a quick check too."""

    @jax.custom_vjp
    def sine(x):
        return jnp.sin(x)

    sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (2 * jnp.cos(x) * dy,))
    assert not fnn.check_vjp(sine, lambda x, dy: 2 * jnp.cos(x) * dy, X, quick=quick)
    assert fnn.check_vjp(sine, lambda x, dy: jnp.cos(x) * dy, X, quick=quick)


@pytest.mark.parametrize(
    "check",
    [
        lambda c, **how: fnn.check_gradient(product, lambda x, w: c * dx(x, w), X, W, **how),
        lambda c, **how: fnn.check_vjp(jnp.sin, lambda x, dy: c * jnp.cos(x) * dy, X, **how),
        lambda c, **how: fnn.check_same(lambda x: c * x, lambda x: x, X, **how),
    ],
    ids=["gradient", "vjp", "same"],
)
def test_a_quick_check_tells_right_from_wrong(check):
    assert check(1, quick=True)
    (finding,) = check(1.7, quick=True).findings
    assert finding.text.startswith("it is 1.7 ")


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_no_mistake_hides(case):
    assert not fnn.check_vjp(*case)


def test_a_forward_of_lower_precision_inside_is_diagnosed_too():
    w, x = jnp.sin(jnp.arange(12.0)).reshape(3, 4), jnp.cos(jnp.arange(15.0)).reshape(5, 3)

    def f(w, x):
        return jnp.tanh(x.astype("float32") @ w.astype("float32"))

    def backward(w, x, dy):
        dw, dx = jax.vjp(f, w, x)[1](dy)
        return dw.at[1, 1].multiply(-1), dx

    (finding,) = fnn.check_vjp(f, backward, w, x).findings
    assert (finding.leaf, finding.kind) == ("w", "one entry")


def test_nan_where_the_function_has_slopes_is_wrong_and_elsewhere_a_note():
    norm = jnp.linalg.norm
    (finding,) = fnn.check_vjp(norm, rule_of(norm), jnp.zeros(3)).findings
    assert (finding.kind, finding.case) == ("nan", "as given")
    report = fnn.check_vjp(norm, rule_of(norm), jnp.array([0.3, -0.7, 1.2]))
    assert report.verdict == "right"
    assert (
        "the function is finite and its gradient is not, entries left out: x zeros" in report.notes
    )


def test_an_infinite_slope_is_right_and_nan_in_its_place_cannot_be_told():
    x = jnp.array([0.0, 0.5, 2.0])
    assert fnn.check_vjp(jnp.sqrt, rule_of(jnp.sqrt), x).verdict == "right"
    report = fnn.check_vjp(jnp.sqrt, lambda x, dy: dy * jnp.sqrt(x) / (2 * x), x)
    assert report.verdict == "cannot tell"
    assert not report
    assert "cannot tell: x: NaN where the function is finite" in str(report)
    with pytest.raises(AssertionError, match="CANNOT TELL"):
        report.raise_if_wrong()


def test_a_factor_of_the_positions_of_an_image_is_named_after_them():
    def f(x, w):
        return x @ w

    def backward(x, w, dy):
        return dy @ w.T, jnp.einsum("bhwi,bhwo->io", x, dy) / 12

    shapes = (2, 3, 4, 5), (5, 7)
    x, w = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(shapes))
    (finding,) = fnn.check_vjp(f, backward, x, w).findings
    assert "1/12 (12 is the number of positions of" in finding.text


def test_argnums_count_from_behind_too():
    def f(a, b):
        return (a * b).sum()

    a, b = jnp.array([1.0, 2.0]), jnp.array([3.0, 5.0])
    assert fnn.check_gradient(f, lambda a, b: a, a, b, argnums=-1, quick=True)
    assert not fnn.check_gradient(f, lambda a, b: b, a, b, argnums=-1, quick=True)
    with pytest.raises(ValueError, match="^check_gradient: argnums must be from 0 to 1, got 2"):
        fnn.check_gradient(f, lambda a, b: a, a, b, argnums=2)
