"""Tests of fnn.layers.recurrence."""

import jax.numpy as jnp
import numpy as np
from contract import noise

from fnn.layers.recurrence import Sequence, answer, form, kept, passed, sequence, swap

X = noise(2, 5, 3)
MASK = jnp.array([True, False])


def test_an_array_is_a_sequence_without_mask_from_zeros():
    given = sequence("f", X, 3, 4, 2)
    assert given.mask is None
    np.testing.assert_array_equal(given.state[1], np.zeros((2, 4)))
    state = noise(2, 4)
    (found,) = sequence("f", Sequence(X, state=state), 3, 4, 1).state
    np.testing.assert_array_equal(found, state)


def test_the_answer_has_the_form_of_the_input():
    state = (noise(2, 4),)
    assert answer(form(X), X, state) is X
    assert answer(form(Sequence(X)), X, state) == Sequence(X, None, None)
    assert answer(form(Sequence(X, state=state)), X, state).state is state


def test_what_is_skipped_keeps_the_old_and_lets_cotangents_pass():
    new, old = noise(2, 4), noise(2, 4, seed=2)
    np.testing.assert_array_equal(kept(MASK, new, old), [new[0], old[1]])
    assert kept(None, new, old) is new
    inside, around = passed(MASK, new)
    np.testing.assert_array_equal(inside + around, new)
    np.testing.assert_array_equal(inside[1], 0)
    assert passed(None, new)[1] == 0


def test_swap_brings_time_to_the_front():
    assert swap((X, None))[0].shape == (5, 2, 3)
