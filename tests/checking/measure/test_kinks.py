"""Tests of fnn.checking.measure.kinks."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_rules import rule_of

import fnn
from fnn.checking.blocks import layer_problem
from fnn.checking.explain.detection import examine
from fnn.checking.measure.measuring import measure
from fnn.layer import Layer

X = jnp.array([[0.0, 1.0, -1.5], [2.0, 0.0, -0.5]])  # two entries stand on the kink


@dataclass(frozen=True)
class AtZero(Layer):
    """ReLU, or ELU with `smooth`, whose derivative at 0 is `c`."""

    c: float
    smooth: bool = False

    def init(self, key):
        return ()

    def forward(self, params, x, *, key=None):
        left = jnp.expm1(jnp.minimum(x, 0)) if self.smooth else 0
        return jnp.maximum(x, 0) + left, x

    def backward(self, params, x, dy):
        left = jnp.exp(x) if self.smooth else jnp.zeros_like(x)
        d = jnp.where(x > 0, 1, left)
        return (), dy * jnp.where(x == 0, self.c, d)


def judged(layer):
    """What is known of dx, and the notes."""
    with jax.enable_x64(True):
        problem = layer_problem(layer, (), X, None)
        (found,), notes = examine(measure(problem, 0))
    return found, notes


@pytest.mark.parametrize("c", [0.0, 1.0])
def test_at_the_kink_of_relu_every_slope_between_both_is_right_and_noted(c):
    found, notes = judged(AtZero(c))
    assert not found.masks
    assert ("kinks", "as given") in [(note.kind, note.names[0]) for note in notes if note.names]


def test_at_the_kink_of_relu_no_other_slope_is_right():
    wrong, _ = judged(AtZero(2.0))
    assert wrong.case == "as given"
    np.testing.assert_array_equal(wrong.entries("as given"), X == 0)


def test_where_autodiff_is_wrong_at_a_smooth_point_the_function_decides():
    assert not judged(AtZero(1.0, smooth=True))[0].masks
    assert judged(AtZero(0.5, smooth=True))[0].case == "as given"


@pytest.mark.parametrize("c", [0.0, 0.5, 1.0])
def test_a_kink_is_no_fault_in_any_way_to_the_numbers(c):
    assert fnn.check(AtZero(c), X)


@pytest.mark.parametrize(
    "f",
    [
        jax.nn.selu,  # slopes of 1.05 and 1.76 at 0
        lambda x: jnp.median(x, -1),  # D(u + v) is not D(u) + D(v) where all are equal
        lambda x: jnp.interp(x, jnp.arange(4.0), jnp.array([1.0, -2.0, 0.5, 3.0])),
    ],
    ids=["selu", "median", "interp"],
)
def test_where_a_function_has_no_derivative_values_are_no_judge(f):
    x = jnp.array([[0.3, -0.7, 1.2, -2.5], [4.0, 0.9, 2.2, 0.1]])
    report = fnn.check_vjp(f, lambda x, dy: jax.vjp(f, x)[1](dy)[0], x)
    assert report.verdict == "right", report


def test_where_the_function_jumps_nan_is_no_fault():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))
    report = fnn.check_vjp(jnp.linalg.qr, rule_of(jnp.linalg.qr), x)  # R at 0 has no sign
    assert report.verdict == "right"
    assert "zeros" in report.cases
