"""Tests of fnn.layers.kv_cache."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import noise

from fnn.layers.kv_cache import behind, final, gradients, zero_kv


def part(length, seed):
    """k and v of two sequences, one head, d = 3."""
    return noise(2, 1, length, 3, seed=seed), noise(2, 1, length, 3, seed=seed + 1)


def test_the_last_steps_stay_in_the_order_in_which_they_came():
    state = zero_kv(2, 1, 4, 3, jnp.float64)
    k, v = part(5, 1)
    mask = jnp.array([[True, False, True, True, True], [True, True, True, True, False]])
    for at in (slice(0, 2), slice(2, 3), slice(3, 5)):
        state = final(state, behind(state, (k[:, :, at], v[:, :, at], mask[:, at])))
        assert [a.shape for a in state] == [(2, 1, 4, 3), (2, 1, 4, 3), (2, 4)]
    np.testing.assert_array_equal(state[0], k[:, :, 1:])
    np.testing.assert_array_equal(state[1], v[:, :, 1:])
    np.testing.assert_array_equal(state[2], mask[:, 1:])


def test_zeros_hold_no_step():
    k, v, keys = behind(zero_kv(2, 1, 2, 3, jnp.float64), (*part(1, 1), None))
    np.testing.assert_array_equal(keys, [[False, False, True]] * 2)
    assert k.shape == v.shape == (2, 1, 3, 3)


def test_without_a_state_nothing_is_kept():
    k, v = part(3, 1)
    whole = behind(None, (k, v, None))
    assert whole == (k, v, None)
    assert final(None, whole) is None


def test_gradients_are_those_of_jax():
    (k0, v0), (k, v), (dk, dv) = part(2, 1), part(3, 3), part(5, 5)
    dlast = part(2, 7)
    keys = jnp.ones((2, 2), bool)

    def both(k0, v0, k, v):
        whole = behind((k0, v0, keys), (k, v, None))
        return whole[:2], final((k0, v0, keys), whole)[:2]

    _, vjp = jax.vjp(both, k0, v0, k, v)
    (dk0, dv0, none), dk_part, dv_part = gradients((*dlast, None), dk, dv, 2)
    assert none is None
    for found, want in zip((dk0, dv0, dk_part, dv_part), vjp(((dk, dv), dlast)), strict=True):
        np.testing.assert_allclose(found, want, rtol=1e-12)
