"""Tests of fnn.checking.explain.ways."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import pytest
from jax.core import Tracer

import fnn
from fnn.layer import Layer

X = jnp.linspace(0.1, 0.9, 6).reshape(3, 2)


@dataclass(frozen=True)
class Sine(Layer):
    """sin x, whose dx is changed by `change` (dx, x)."""

    change: Callable

    def init(self, key):
        return ()

    def forward(self, params, x, *, key=None):
        return jnp.sin(x), x

    def backward(self, params, x, dy):
        return (), self.change(dy * jnp.cos(x), x)


def found(change):
    """(leaf, kind) of every finding, and the first text."""
    report = fnn.check(Sine(change), X)
    return {(f.leaf, f.kind) for f in report.findings}, report.findings and report.findings[0].text


def callback(dx, x):
    """What vmap cannot follow."""
    return jax.pure_callback(lambda a: a, jax.ShapeDtypeStruct(dx.shape, dx.dtype), dx)


@jax.custom_batching.custom_vmap
def doubled_under_vmap(dx):
    return dx


doubled_under_vmap.def_vmap(lambda size, batched, dx: (2 * dx, batched[0]))


def refused_alone(dx, x):
    """A backward that needs two examples."""
    if x.shape[0] == 1:
        raise ValueError("one example")
    return dx


@pytest.mark.parametrize(
    ("change", "findings", "text"),
    [
        (lambda dx, x: dx, set(), ""),
        (
            lambda dx, x: dx * (1 if x.dtype == "float64" else 1.01),
            {("x", "float32")},  # bfloat16 has no such digits
            "right in float64, off by 1e-02 of its norm; autodiff in float32",
        ),
        (
            lambda dx, x: dx * (2 if x.dtype == "bfloat16" else 1),
            {("x", "bfloat16")},
            "right in float64, off by 1e+00",
        ),
        (
            lambda dx, x: dx.astype("float64"),
            {("x", "dtype")},
            "the gradient of a float32 array must be float32, got float64",
        ),
        (callback, {("backward", "vmap")}, "it fails under vmap: "),
        (
            lambda dx, x: doubled_under_vmap(dx),
            {("x", "vmap")},
            "vmap and one by one differ: ",
        ),
        (
            lambda dx, x: dx if isinstance(x, Tracer) else 2 * dx,
            {("x", "jit")},
            "eager and jit differ: ",
        ),
        (
            lambda dx, x: dx * (1 + (x.shape[0] == 1)),
            {("x", "batch")},
            "right for several examples, wrong for one alone: ",
        ),
        (refused_alone, {("backward", "batch")}, "it fails for a batch of one: ValueError: one"),
        (
            lambda dx, x: dx * (1 + (x.ndim > 2)),
            {("x", "axis")},
            "wrong with an axis between the batch and the others: ",
        ),
    ],
    ids=[
        *("right", "float32", "bfloat16", "dtype", "vmap fails", "vmap", "jit", "batch"),
        *("batch fails", "axis"),
    ],
)
def test_a_gradient_that_is_wrong_in_another_way(change, findings, text):
    kinds, told = found(change)
    assert kinds == findings
    assert not text or text in told


@dataclass(frozen=True)
class Centred(Layer):
    """x minus its mean over the batch."""

    def init(self, key):
        return ()

    def forward(self, params, x, *, key=None):
        return x - x.mean(0), ()

    def backward(self, params, cache, dy):
        return (), dy - dy.mean(0)


@dataclass(frozen=True)
class Mixing(Centred):
    """The same, and says so."""

    mixes_examples: ClassVar[bool] = True


def test_a_layer_that_mixes_rows_must_say_so():
    (finding,) = fnn.check(Centred(), X).findings
    assert (finding.leaf, finding.kind) == ("y", "rows")
    assert "mixes_examples = True" in finding.text
    assert fnn.check(Mixing(), X)


def test_a_function_need_not_run_in_low_precision():
    def backward(x, dy):
        if x.dtype != "float64":
            raise TypeError("float64 only")
        return jnp.cos(x) * dy

    report = fnn.check_vjp(jnp.sin, backward, X)
    assert report
    assert "backward does not run in float32: TypeError: float64 only" in report.notes
