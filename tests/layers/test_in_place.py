"""Tests of fnn.layers.in_place: rules in place, of one's own, under Repeat."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.composite import With
from fnn.layers.in_place import begun, ended, present, written
from fnn.ruling import Replaced

KEY, LOSS = jax.random.key(0), fnn.SquaredError()
X, TARGET = noise(5, 3), noise(5, 3, seed=2)
NET = fnn.Repeat(4, fnn.Serial(fnn.Dense(3, 3), fnn.Tanh()))
PARAMS = NET.init(KEY)
fold = jax.jit(fnn.fold)


@fnn.rule(companion=True, learns=True, in_place=True)
def halved(layer, params, cache, dy, own, masters):
    """p ← p/2 where there are any, and a count; rate as it is."""
    _, dx = layer.backward(params, cache, dy)
    if not own:
        return (masters, own), dx
    half = jax.tree.map(lambda p: p / 2, masters)
    return (half, {"count": own["count"] + 1, "rate": own["rate"]}), dx


def companion_of(net, params):
    own = {"count": jnp.zeros((), int), "rate": 0.5}
    return fnn.rules.companion(net, lambda _, p: own if p else (), params)


@dataclass(frozen=True)
class Rewrapped(fnn.Wrapper):
    """A wrapper that calls the rule in a function of its own."""

    def forward(self, params, x, *, key=None):
        return self.inner.forward(params, x, key=key)

    def backward_with(self, rule, params, cache, dy):
        return (lambda *args: rule(*args))(self.inner, params, cache, dy)


@pytest.mark.parametrize("around", [lambda f: f, Rewrapped, fnn.Recompute, fnn.Residual])
def test_what_replaces_params_and_companion_is_written_slice_by_slice(around):
    net = fnn.Serial(fnn.Repeat(4, around(NET.inner)), around(fnn.Repeat(4, NET.inner)))
    params = (PARAMS, PARAMS)
    rule = halved.given(companion_of(net, params))
    done = fold(net, LOSS, params, X, TARGET, rule=(rule, fnn.rules.backprop))
    chex.assert_trees_all_equal(done.result[0], jax.tree.map(lambda p: p / 2, params))
    for own in done.companion[0]:
        np.testing.assert_array_equal(own[0]["count"], np.ones(4))
        np.testing.assert_array_equal(own[0]["rate"], np.full(4, 0.5))
    _, grads = fnn.value_and_grad(net, LOSS, params, X, TARGET)  # of params as they were
    chex.assert_trees_all_close(done.result[1], grads, rtol=1e-12)


def test_a_slice_is_read_one_step_ahead_and_what_is_as_it_was_is_not_written():
    a, b = jnp.arange(3.0), 10 + jnp.arange(3.0)
    bare, places, form = begun(With(With(a, b, a), {"beside": b}))
    assert [float(n) for n in places.now] == [2, 12]
    for i in (2, 1, 0):
        slot = present(bare, places)
        assert (slot.params.params, slot.params.own, slot.own["beside"]) == (i, 10 + i, 10 + i)
        new = Replaced((slot.params.params * 100, slot.params.own))
        out, places = written({"rule": new, "norm": i}, places, form, i)
    assert out["norm"] == 0
    found = ended(out, places, form)["rule"]
    np.testing.assert_array_equal(found.each[0], [0, 100, 200])
    np.testing.assert_array_equal(found.each[1], b)
    assert places.whole[1] is not None


def test_nothing_is_carried_without_a_rule_in_place():
    bare, places, form = begun(With(PARAMS, 3))
    assert bare == With(PARAMS, 3)
    assert not places.whole
    assert written("out", places, form, None) == ("out", places)


def test_a_result_is_like_what_it_replaces():
    @fnn.rule(companion=True, learns=True, in_place=True)
    def shorter(layer, params, cache, dy, own, masters):
        return (masters, ()), dy

    given = shorter.given(companion_of(NET, PARAMS))
    with pytest.raises(TypeError, match=r"shorter at Dense.*must have the form and the shapes"):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=given)


def test_a_rule_in_place_learns():
    with pytest.raises(TypeError, match=r"halved: .* write @fnn.rule\(companion=True, learns=True"):
        fnn.rule(halved.formula, companion=True, in_place=True)
