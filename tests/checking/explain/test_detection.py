"""Tests of fnn.checking.explain.detection."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.checking.blocks import layer_problem
from fnn.checking.explain.detection import digits, equal_sizes, examine
from fnn.checking.explain.diagnosis import Note
from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.measuring import measure

X = jnp.linspace(0.1, 0.9, 6).reshape(3, 2)


@dataclass(frozen=True)
class OneEntryWrong(fnn.Dense):
    """Dense, with a turned sign in one entry of dw."""

    def backward(self, params, cache, dy):
        grads, dx = super().backward(params, cache, dy)
        return grads._replace(w=grads.w.at[300, 77].multiply(-1)), dx


def test_one_wrong_entry_among_262144_is_found_and_named():
    report = fnn.check(OneEntryWrong(512, 512), jnp.linspace(-1, 1, 1024).reshape(2, 512))
    (finding,) = report.findings
    assert (finding.leaf, finding.kind) == ("params.w", "one entry")
    assert "only [300, 77] is wrong: its sign is wrong, 262143 are right" in finding.text


@jax.custom_vjp
def sine(x):
    return jnp.sin(x)


sine.defvjp(lambda x: (jnp.sin(x), x), lambda x, dy: (2 * jnp.cos(x) * dy,))


def called(x):
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
    return jax.pure_callback(lambda a: jnp.sin(a), shape, x, vmap_method="sequential")


@pytest.mark.parametrize(
    ("f", "note"),
    [
        (sine, "a custom derivative inside the forward is not that of its values: put aside"),
        (called, "autodiff cannot follow the forward: differences decide, to 6 digits"),
    ],
    ids=["a wrong custom_vjp", "a callback"],
)
@pytest.mark.parametrize(("c", "right"), [(1, True), (1.001, False)])
def test_where_autodiff_cannot_be_trusted_something_else_decides(f, note, c, right):
    report = fnn.check_vjp(f, lambda x, dy: c * jnp.cos(x) * dy, X)
    assert bool(report) == right, report
    assert report.notes == (note,)
    assert right or report.findings[0].kind == "factor"


@pytest.fixture(scope="module")
def rooted():
    """√x is outside of its domain for no case, √(x − 0.05) for some."""
    problem = from_vjp(
        "f",
        lambda x: jnp.sqrt(x - 0.05),
        lambda x, dy: dy / 2 / jnp.sqrt(x - 0.05) * jnp.where(x > 10, 3, 1),
        (X,),
        ("x",),
        inputs=(0,),
    )
    return measure(problem, 0)


def test_cases_outside_of_the_domain_are_left_out_with_a_note(rooted):
    cases = ["near zero", "mirrored", "zeros", "ties"]
    assert rooted.outside == cases
    _, notes = examine(rooted)
    assert Note("outside", tuple(cases)) in notes


def test_what_is_wrong_far_away_only_is_found_there(rooted):
    (wrong,), _ = examine(rooted)
    assert wrong.case == "far"
    assert wrong.error > 0.1
    assert wrong.entries("far").sum() == (100 * X > 10).sum()
    assert not wrong.entries("as given").any()


def test_a_batch_as_large_as_another_axis_is_noted():
    for n, noted in ((2, True), (3, False)):
        layer, x = fnn.Dense(2, 4), jnp.ones((n, 2))
        problem = layer_problem(layer, layer.init(jax.random.key(0)), x, None)
        notes = equal_sizes(type("F", (), {"problem": problem}))
        assert notes == ([Note("equal sizes", ("params.w", 2))] if noted else [])


def test_a_function_of_low_precision_is_told_and_compared_at_it():
    def low(x):
        return jnp.sin(x.astype("float32")).astype("float64")

    report = fnn.check_vjp(low, lambda x, dy: jnp.cos(x) * dy, X)
    assert report, report
    assert "it computes with 6 digits inside; more cannot be told" in report.notes
    assert not fnn.check_vjp(low, lambda x, dy: 1.001 * jnp.cos(x) * dy, X)
    assert digits(2.0**-52) == 15
