"""Tests of fnn.carried."""

import jax.numpy as jnp

import fnn
from fnn.carried import apart, averages_in, beside, grown, learned, next_companion
from fnn.driver import Pass

BACKPROP = fnn.rules.backprop


@fnn.rule(companion=True, learns=True)
def counting(layer, params, cache, dy, own):
    grads, dx = layer.backward(params, cache, dy)
    return (grads, own + 1), dx


def test_what_learns_has_its_companion_and_what_does_not_has_none():
    rule = counting.given(0)
    assert (learned(BACKPROP), learned(rule), learned((BACKPROP, rule))) == (None, 0, (None, 0))
    assert learned((BACKPROP, fnn.rules.deltas)) is None
    assert grown((BACKPROP, rule), (None, 3)) == (BACKPROP, counting.given(3))
    assert grown((BACKPROP, fnn.rules.deltas), None) == (BACKPROP, fnn.rules.deltas)
    assert next_companion((BACKPROP, rule), (None, 4)) == (None, 4)
    assert next_companion(BACKPROP, 4) is None


def test_what_looks_on_stands_behind_and_is_taken_off_again():
    done = Pass(*[jnp.zeros(())] * 8)._replace(result=(1, 2, 3), companion=(4, 5, 6))
    looking = (fnn.rules.deltas,)
    assert beside(BACKPROP, ()) == BACKPROP
    assert beside((BACKPROP, BACKPROP), looking) == (BACKPROP, BACKPROP, *looking)
    own, seen = apart(done, (BACKPROP, BACKPROP), looking)
    assert (own.result, own.companion, seen) == ((1, 2), (4, 5), (3,))
    own, seen = apart(done._replace(result=(1, 3), companion=(4, 6)), BACKPROP, looking)
    assert (own.result, own.companion, seen) == (1, 4, (3,))
    assert apart(done, BACKPROP, ()) == (done, ())


def test_running_averages_are_found_among_the_companions():
    rule = BACKPROP, fnn.rules.running_averages(fnn.BatchNorm(2))
    assert averages_in(rule, (None, "averages")) == "averages"
    assert averages_in((BACKPROP, counting.given(0)), (None, 1)) is None
    assert averages_in(BACKPROP, None) is None
