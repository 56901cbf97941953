"""Tests of fnn.checking.blocks."""

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checking.blocks import square_layer
from fnn.layer import Layer
from fnn.loss import Loss
from fnn.mean import spread

X = jnp.linspace(-1, 1, 6).reshape(3, 2)


@dataclass(frozen=True)
class Wrong(fnn.Dense):
    """Dense, whose gradients are changed."""

    change: Callable = field(default=lambda grads, dx: (grads, dx), repr=False)

    def backward(self, params, cache, dy):
        return self.change(*super().backward(params, cache, dy))


def test_a_layer_of_the_library_is_right_and_every_gradient_has_a_name():
    report = fnn.check(fnn.Dense(2, 4), X)
    assert report, report
    assert [leaf.name for leaf in report.leaves] == ["params.w", "params.b", "x"]
    assert report.who == "Dense(n_in=2, n_out=4)"


def test_a_wrong_layer_is_found_at_params_that_are_given():
    params = fnn.DenseParams(jnp.full((2, 4), 0.5), jnp.ones(4))
    layer = Wrong(2, 4, change=lambda grads, dx: (grads._replace(b=2 * grads.b), dx))
    (finding,) = fnn.check(layer, X, params=params).findings
    assert (finding.leaf, finding.kind) == ("params.b", "factor")
    assert "2" in finding.text


def test_a_composite_is_checked_with_the_names_of_its_layers():
    net = fnn.Serial(Wrong(2, 3, change=lambda grads, dx: (grads, -dx)))
    report = fnn.check(net, X)
    assert [(f.leaf, f.kind) for f in report.findings] == [("x", "sign")]
    assert report.leaves[0].name == "params.0.w"


def test_a_layer_that_draws_at_random_needs_its_key():
    assert fnn.check(fnn.Dropout(0.4), X, key=jax.random.key(1))
    with pytest.raises(ValueError, match="key"):
        fnn.check(fnn.Dropout(0.4), X)


@dataclass(frozen=True)
class Embedding(Layer):
    """Rows of a table: x is an integer array."""

    def init(self, key):
        return jax.random.normal(key, (5, 2))

    def forward(self, params, x, *, key=None):
        return params[x], x

    def backward(self, params, x, dy):
        return jnp.zeros_like(params).at[x].add(dy), None


def test_a_layer_of_integers_has_gradients_of_its_parameters_alone():
    report = fnn.check(Embedding(), jnp.array([4, 0, 4]))
    assert report, report
    assert [leaf.name for leaf in report.leaves] == ["params"]


@dataclass(frozen=True)
class Quartic(Loss):
    """Σ (y − t)⁴, with a factor in the derivative."""

    c: float = 4.0

    def check(self, y, target):
        pass

    def forward(self, y, target):
        r = y - target
        return (r**4).sum(-1), r

    def backward(self, r, dl):
        return spread(dl, self.c * r**3)


def test_an_own_loss_that_is_wrong_is_found():
    (finding,) = fnn.check(Quartic(8.0), X.T, 0.5 * X.T).findings
    assert (finding.leaf, finding.kind) == ("y", "factor")
    assert finding.text.startswith("it is 2")


@dataclass(frozen=True)
class AtOnce(Quartic):
    """Right by forward and backward, wrong by both at once."""

    def value_and_backward(self, y, target, dl):
        losses, r = self.forward(y, target)
        return losses, -self.backward(r, dl)


def test_a_loss_that_forms_both_at_once_is_checked_there_too():
    report = fnn.check(AtOnce(), X, 0.5 * X)
    assert report.who == "AtOnce(c=4.0).value_and_backward"
    assert [f.kind for f in report.findings] == ["sign"]


@pytest.mark.parametrize(
    ("subject", "message"),
    [
        (fnn.Dense, r"takes a layer or a loss, got <class .*; build it: Dense\(\.\.\.\)\."),
        (np.sin, r"check takes a layer or a loss, got <ufunc 'sin'>"),
        (
            fnn.SquaredError(),
            r"SquaredError\(scale=1\.0\) needs a target; check\(loss, y, target\)",
        ),
    ],
)
def test_what_cannot_be_checked_is_refused(subject, message):
    with pytest.raises(TypeError, match=message):
        fnn.check(subject, X)


def test_gradients_of_another_shape_are_refused_by_path():
    layer = Wrong(2, 4, change=lambda grads, dx: (grads._replace(w=grads.w.T), dx))
    message = r"params\.w must have shape \[2, 4\], got \[4, 2\]; transpose it"
    with pytest.raises(ValueError, match=message):
        fnn.check(layer, X)


def test_a_layer_with_sizes_has_a_square_one():
    square = square_layer(fnn.Dense(2, 4), X, None)
    assert {a.shape for a in square.leaves} == {(3, 3), (3,)}
    assert square_layer(fnn.Tanh(), X, None) is None


def test_a_quick_check_says_what_it_left_out_and_finds_the_same():
    layer = Wrong(2, 4, change=lambda grads, dx: (grads._replace(b=2 * grads.b), dx))
    full, quick = (fnn.check(layer, X, quick=q) for q in (False, True))
    assert [f.text for f in quick.findings] == [f.text for f in full.findings]
    assert {*full.cases} - {*quick.cases} == {*quick.left_out} - {"differences"}
    assert "quick, left out: nearby 2, " in str(quick)
    assert not full.left_out
    assert fnn.check(fnn.Dense(2, 4), X, quick=True)


def test_a_quick_check_of_a_loss_is_quick_in_one_pass_too():
    assert not fnn.check(AtOnce(), X, 0.5 * X, quick=True)
    assert fnn.check(Quartic(), X, 0.5 * X, quick=True).left_out
