"""Tests of fnn.layers.lstm; what it shares with RNN and GRU is in test_recurrence.py."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_layer, noise

from fnn.layers.lstm import LSTM, LSTMParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    check_layer(LSTM(3, 4), noise(2, 5, 3))


def test_by_hand():
    def s(z):
        return 1 / (1 + np.exp(-z))

    layer = LSTM(1, 1)
    params = LSTMParams(jnp.array([[1.0, 2.0, 3.0, 4.0]]), jnp.zeros((1, 4)), jnp.zeros(4))
    y, _ = layer.forward(params, Sequence(jnp.array([[[0.5], [-0.5]]])))
    c = s(0.5) * np.tanh(1.5)
    first = s(2.0) * np.tanh(c)
    c = s(-1.0) * c + s(-0.5) * np.tanh(-1.5)
    second = s(-2.0) * np.tanh(c)
    np.testing.assert_allclose(y.x[0, :, 0], [first, second], rtol=1e-12)
    np.testing.assert_allclose(np.ravel(y.state), [second, c], rtol=1e-12)


def test_padding_at_the_end_changes_nothing_and_gets_no_gradient():
    layer = LSTM(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    padded = jnp.concatenate([x, jnp.full((2, 2, 3), 1e3)], 1)
    mask = jnp.tile(jnp.arange(7) < 5, (2, 1))
    y, cache = layer.forward(params, Sequence(padded, mask))
    short, short_cache = layer.forward(params, Sequence(x))
    np.testing.assert_allclose(y.x[:, :5], short.x, rtol=1e-12)
    np.testing.assert_allclose(y.x[:, 6], short.x[:, 4], rtol=1e-12)
    np.testing.assert_allclose(y.state, short.state, rtol=1e-12)
    dy = noise(2, 5, 4, seed=2)
    padded_dy = Sequence(jnp.pad(dy, ((0, 0), (0, 2), (0, 0))), mask)
    grads, dx = layer.backward(params, cache, padded_dy)
    want, dx_short = layer.backward(params, short_cache, Sequence(dy))
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dx.x[:, :5], dx_short.x, rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(dx.x[:, 5:], 0)


def test_the_bias_of_the_forget_gate_starts_where_it_is_told():
    b = LSTM(3, 4, forget_bias=2.0).init(KEY).b
    np.testing.assert_array_equal(b, [0] * 4 + [2] * 4 + [0] * 8)
