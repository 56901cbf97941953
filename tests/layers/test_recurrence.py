"""Tests of fnn.layers.recurrence."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import QUICK, noise

from fnn.layers.gru import GRU
from fnn.layers.lstm import LSTM
from fnn.layers.recurrence import (
    Sequence,
    answer,
    back_through_time,
    chunk_size,
    form,
    kept,
    later,
    passed,
    sequence,
    swap,
)
from fnn.layers.rnn import RNN

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


def test_later_moves_one_step_on():
    h, last = noise(5, 2, 3), noise(2, 3, seed=2)
    np.testing.assert_array_equal(later(h, last)[:-1], h[1:])
    np.testing.assert_array_equal(later(h, last)[-1], last)
    assert later(h[:0], last).shape == (0, 2, 3)


def test_chunks_divide_the_length_and_are_8_to_16_steps_where_that_can_be():
    lengths = (0, 1, 5, 8, 11, 16, 17, 24, 32, 34, 49, 60)
    sizes = [chunk_size(n) for n in lengths]
    assert sizes == [1, 1, 5, 8, 11, 16, 17, 12, 16, 34, 49, 15]
    assert all(n % size == 0 for n, size in zip(lengths, sizes, strict=True))


@pytest.mark.parametrize("length", [0, 1, 5, 17, 24, 32])
def test_back_through_time_by_hand(length):
    """h_t = h_{t−1} w + x_t: da_t = dy_t + da_{t+1} w, dw = Σ h_{t−1} da_t, dx_t = da_t."""
    h, dy = noise(length, 2, 1), noise(length, 2, 1, seed=2)
    w = jnp.full((1, 1), 0.7)

    def step(dh, inputs):
        da = inputs[1] + dh
        return da @ w.T, da

    def weigh(inputs, da):
        return {"w": jnp.einsum("tbi,tbj->ij", inputs[0], da)}, da

    carry, grads, dx = back_through_time(step, weigh, jnp.zeros((2, 1)), (h, dy), {"w": w})
    want, da = np.zeros((length, 2, 1)), np.zeros((2, 1))
    for t in reversed(range(length)):
        da = want[t] = dy[t] + 0.7 * da
    np.testing.assert_allclose(dx, want.swapaxes(0, 1), rtol=1e-12)
    np.testing.assert_allclose(grads["w"], (h * want).sum((0, 1))[None], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(carry, 0.7 * da, rtol=1e-12)


def test_gradients_of_the_weights_are_summed_in_single_precision():
    layer, x = RNN(3, 4), noise(2, 640, 3).astype("bfloat16")
    params = jax.tree.map(lambda p: p.astype("bfloat16"), layer.init(jax.random.key(0)))
    _, cache = layer.forward(params, x)
    program = jax.make_jaxpr(layer.backward)(params, cache, jnp.ones((2, 640, 4), "bfloat16"))
    scans = [e for e in program.eqns if e.primitive.name == "scan"]
    made = {v.aval.shape: v.aval.dtype for v in scans[-1].outvars}
    assert made[(3, 4)] == made[(4, 4)] == made[(4,)] == "float32"


@pytest.mark.parametrize("length", [0, 1, 16, 17, 24, 32])
@pytest.mark.parametrize(("kind", "n_states"), [(RNN, 1), (LSTM, 2), (GRU, 1)])
def test_gradients_of_every_length_with_mask_and_state_are_those_of_jax(kind, n_states, length):
    layer, x = kind(3, 4), noise(2, length, 3)
    params = jax.tree.map(lambda p: p + 0.1, layer.init(jax.random.key(0)))
    mask = jnp.asarray(np.random.default_rng(0).random((2, length)) < 0.7)
    state = tuple(noise(2, 4, seed=s + 2) for s in range(n_states))

    def f(params, x, state):
        return layer.forward(params, Sequence(x, mask, state))[0]

    @jax.jit
    def both(params, x, state, dy):
        _, cache = layer.forward(params, Sequence(x, mask, state))
        grads, dx = layer.backward(params, cache, dy)
        want = jax.vjp(f, params, x, state)[1](dy)
        return jax.tree.leaves((grads, dx.x, dx.state)), jax.tree.leaves(want)

    dy = noise(2, length, 4, seed=9)
    found, want = both.lower(params, x, state, dy).compile(QUICK)(params, x, state, dy)
    chex.assert_trees_all_close(found, want, rtol=1e-9, atol=1e-12)
    if length == 0:
        assert f(params, x, state).shape == (2, 0, 4)
        assert not any(np.any(g) for g in found)
