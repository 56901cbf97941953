"""Tests of fnn.layers.recurrence."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_sequence, every, noise, states

import fnn
from fnn.factors import Outer
from fnn.layers.gru import GRU
from fnn.layers.lstm import LSTM
from fnn.layers.recurrence import (
    advance,
    back_through_time,
    bypass,
    chunk_size,
    outputs,
    swap,
)
from fnn.layers.rnn import RNN
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(2, 5, 3)
COUNTS = jnp.array([True, False])
KINDS = pytest.mark.parametrize(("kind", "n_states"), [(RNN, 1), (LSTM, 2), (GRU, 1)])


@pytest.mark.parametrize("length", [0, 1, 16, 17, 24, 32])
@KINDS
def test_contract_of_sequences_of_every_length(kind, n_states, length):
    mask = jnp.asarray(np.random.default_rng(0).random((2, length)) < 0.7)
    x = Sequence(noise(2, length, 3), mask, states(*(4,) * n_states))
    check_sequence(kind(3, 4), x)


@KINDS
def test_a_sequence_of_no_steps_says_nothing(kind, n_states):
    layer, state = kind(3, 4), states(*(4,) * n_states)
    params, x = layer.init(KEY), Sequence(jnp.zeros((2, 0, 3)), None, state)
    y, cache = layer.forward(params, x)
    grads, dx = layer.backward(params, cache, y)
    assert (y.x.shape, dx.x.shape) == ((2, 0, 4), (2, 0, 3))
    assert not any(np.any(g) for g in jax.tree.leaves(grads))
    for a, b in zip((*y.state, *dx.state), state * 2, strict=True):
        np.testing.assert_array_equal(a, b)


@KINDS
def test_without_a_state_it_begins_at_zero_and_the_last_one_comes_out(kind, n_states):
    layer, zeros = kind(3, 4), (jnp.zeros((2, 4)),) * n_states
    params = layer.init(KEY)
    want, _ = layer.forward(params, Sequence(X, MASK, zeros))
    for none in (None, ()):
        y, cache = layer.forward(params, Sequence(X, MASK, none))
        np.testing.assert_array_equal(y.x, want.x)
        assert len(y.state) == n_states
        for a, b in zip(y.state, want.state, strict=True):
            np.testing.assert_array_equal(a, b)
        _, dx = layer.backward(params, cache, y)
        assert dx.state is None


@KINDS
def test_y_and_dx_have_the_form_of_x(kind, n_states):
    layer = kind(3, 4)
    params = layer.init(KEY)
    y, cache = layer.forward(params, X)
    lifted, lifted_cache = layer.forward(params, Sequence(X))
    np.testing.assert_array_equal(lifted.x, y)
    np.testing.assert_array_equal(lifted.state[0], y[:, -1])
    grads, dx = layer.backward(params, cache, y)
    same, lifted_dx = layer.backward(params, lifted_cache, Sequence(y))
    np.testing.assert_array_equal(lifted_dx.x, dx)
    assert (lifted_dx.mask, lifted_dx.state) == (None, None)
    jax.tree.map(np.testing.assert_array_equal, same, grads)


@KINDS
def test_states_keep_the_dtype_they_came_with(kind, n_states):
    layer = kind(3, 4)
    state = tuple(s.astype("float32") for s in states(*(4,) * n_states))
    params, x = layer.init(KEY), Sequence(X, MASK, state)
    y, cache = jax.eval_shape(layer.forward, params, x)
    _, dx = jax.eval_shape(layer.backward, params, cache, y)
    assert y.x.dtype == dx.x.dtype == "float64"
    assert {s.dtype.name for s in (*y.state, *dx.state)} == {"float32"}


def test_what_is_skipped_keeps_the_old_and_lets_cotangents_pass():
    new, old = noise(2, 4), noise(2, 4, seed=2)
    np.testing.assert_array_equal(advance(COUNTS, new, old), [new[0], old[1]])
    assert advance(None, new, old) is new
    inside, around = bypass(COUNTS, new)
    np.testing.assert_array_equal(inside + around, new)
    np.testing.assert_array_equal(inside[1], 0)
    assert bypass(None, new)[1] == 0


def test_swap_brings_time_to_the_front():
    assert swap((X, None))[0].shape == (5, 2, 3)


def test_outputs_are_the_states_one_step_on():
    h, last = noise(5, 2, 3), noise(2, 3, seed=2)
    np.testing.assert_array_equal(outputs(h, last)[:-1], h[1:])
    np.testing.assert_array_equal(outputs(h, last)[-1], last)
    assert outputs(h[:0], last).shape == (0, 2, 3)


def test_chunks_are_8_to_16_steps_and_divide_the_length_where_that_can_be():
    lengths = (0, 1, 5, 8, 11, 16, 17, 24, 32, 34, 49, 60)
    sizes = [chunk_size(n) for n in lengths]
    assert sizes == [1, 1, 5, 8, 11, 16, 16, 12, 16, 16, 16, 15]


class Weights(NamedTuple):
    """Of one matrix."""

    w: Any


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("length", [0, 1, 5, 17, 24, 37])
def test_back_through_time_by_hand(length, apart):
    """h_t = h_{t−1} w + x_t: da_t = dy_t + da_{t+1} w, dw = Σ h_{t−1} da_t, dx_t = da_t."""
    h, dy = noise(length, 2, 1), noise(length, 2, 1, seed=2)
    w = jnp.full((1, 1), 0.7)

    def step(dh, inputs):
        da = inputs[1] + dh
        return da @ w.T, da

    def weigh(inputs, da):
        return {"w": Outer(inputs[0], da)}, da

    carry, found, dx = back_through_time(
        step, weigh, jnp.zeros((2, 1)), (h, dy), Weights(w), apart=apart
    )
    dw = found["w"].gradient() if apart else found.w
    want, da = np.zeros((length, 2, 1)), np.zeros((2, 1))
    for t in reversed(range(length)):
        da = want[t] = dy[t] + 0.7 * da
    np.testing.assert_allclose(dx, want.swapaxes(0, 1), rtol=1e-12)
    np.testing.assert_allclose(dw, (h * want).sum((0, 1))[None], rtol=1e-10, atol=1e-15)
    np.testing.assert_allclose(carry, 0.7 * da, rtol=1e-12)


def test_gradients_of_the_weights_are_summed_in_single_precision():
    layer, x = RNN(3, 4), noise(2, 640, 3).astype("bfloat16")
    params = jax.tree.map(lambda p: p.astype("bfloat16"), layer.init(KEY))
    _, cache = layer.forward(params, x)
    program = jax.make_jaxpr(layer.backward)(params, cache, jnp.ones((2, 640, 4), "bfloat16"))
    scans = [e for e in every(program) if e.primitive.name == "scan"]
    made = {v.aval.shape: v.aval.dtype for e in scans for v in e.outvars}
    assert made[(3, 4)] == made[(4, 4)] == made[(4,)] == "float32"


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
def test_input_of_another_shape_is_refused(kind):
    layer = kind(3, 4)
    params, name = layer.init(KEY), rf"^{kind.__name__}\(n_in=3, n_hidden=4.*\): "
    with pytest.raises(ValueError, match=name + r"x must have shape \[B, T, 3\], got \[5, 3\]; on"):
        layer.forward(params, X[0])
    with pytest.raises(ValueError, match=name + r"x must have shape \[B, T, 3\], got \[2, 5, 4\]"):
        layer.forward(params, Sequence(noise(2, 5, 4)))
    with pytest.raises(TypeError, match=name + "x must be floating, got int64"):
        layer.forward(params, X.astype(int))
    with pytest.raises(ValueError, match=name + r"params\.wx must have shape \[3, "):
        layer.forward(kind(2, 4).init(KEY), X)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (noise(2, 4), TypeError, r"state must be a tuple \(h, c\), got Array"),
        ([*states(4, 4)], TypeError, r"state must be a tuple \(h, c\), got \[Array"),
        (states(4), TypeError, r"state must be a tuple \(h, c\), got \(Array"),
        (states(4, 4, 4), TypeError, r"state must be a tuple \(h, c\), got \(Array"),
        (states(4, 3), ValueError, r"state c must have shape \[2, 4\], got \[2, 3\]"),
        ((noise(3, 4), noise(2, 4)), ValueError, r"state h must have shape \[2, 4\], got \[3, 4"),
        ((jnp.ones((2, 4), int),) * 2, TypeError, "state h must be floating, got int64"),
    ],
    ids=["array", "list", "one", "three", "width", "batch", "integers"],
)
def test_a_state_that_does_not_fit_is_refused(state, error, message):
    layer = LSTM(3, 4)
    with pytest.raises(error, match=r"^LSTM\(.*\): " + message):
        layer.forward(layer.init(KEY), Sequence(X, state=state))


@pytest.mark.parametrize("kind", [RNN, GRU])
def test_a_state_of_one_array_is_a_tuple_of_one(kind):
    layer = kind(3, 4)
    for wrong in (noise(2, 4), states(4, 4)):
        with pytest.raises(TypeError, match=r"state must be a tuple \(h,\), got "):
            layer.forward(layer.init(KEY), Sequence(X, state=wrong))


@pytest.mark.parametrize("kind", [RNN, LSTM, GRU])
@pytest.mark.parametrize("sizes", [(0, 4), (3, 0)], ids=str)
def test_impossible_size_is_rejected_when_built(kind, sizes):
    with pytest.raises(ValueError, match=rf"^{kind.__name__}\(.*n_in and n_hidden must be at le"):
        kind(*sizes)


@pytest.mark.parametrize("kind", [fnn.RNN, fnn.LSTM, fnn.GRU])
def test_dx_has_the_dtype_and_the_mask_of_x(kind):
    layer = kind(3, 4)
    params, x = layer.init(KEY), Sequence(noise(2, 5, 3).astype("float32"), MASK)
    with jax.numpy_dtype_promotion("standard"):
        y, cache = layer.forward(params, x)
        _, dx = layer.backward(params, cache, Sequence(y.x))
    assert y.x.dtype == "float64"
    assert dx.x.dtype == "float32"
    chex.assert_trees_all_equal(dx.mask, MASK)


@pytest.mark.parametrize(("kind", "n_gates"), [(fnn.RNN, 1), (fnn.LSTM, 4), (fnn.GRU, 3)])
def test_every_weight_is_drawn_by_itself(kind, n_gates):
    def normal(key, n_in, n_out):
        return jax.random.normal(key, (n_in, n_out))

    params = kind(5, 5, wx_init=normal, wh_init=normal).init(KEY)
    drawn = jnp.split(params.wx, n_gates, 1) + jnp.split(params.wh, n_gates, 1)
    assert len({float(w[0, 0]) for w in drawn}) == 2 * n_gates
