"""Tests of fnn.layers.rnn; what it shares with LSTM and GRU is in test_recurrence.py."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_layer, noise

from fnn.layers.rnn import RNN, RNNParams
from fnn.sequence import Sequence


def test_contract():
    check_layer(RNN(3, 4), noise(2, 5, 3))


def test_by_hand():
    params = RNNParams(jnp.array([[2.0]]), jnp.array([[3.0]]), jnp.array([1.0]))
    y, cache = RNN(1, 1).forward(params, jnp.array([[[0.5], [-1.0]]]))
    first = np.tanh(2.0)
    second = np.tanh(-1 + 3 * first)
    np.testing.assert_allclose(y[0, :, 0], [first, second], rtol=1e-12)
    grads, dx = RNN(1, 1).backward(params, cache, jnp.array([[[0.0], [1.0]]]))
    a2 = 1 - second**2
    a1 = 3 * a2 * (1 - first**2)
    np.testing.assert_allclose(dx[0, :, 0], [2 * a1, 2 * a2], rtol=1e-12)
    np.testing.assert_allclose(grads.wx, [[0.5 * a1 - a2]], rtol=1e-12)
    np.testing.assert_allclose(grads.wh, [[first * a2]], rtol=1e-12)
    np.testing.assert_allclose(grads.b, [a1 + a2], rtol=1e-12)


def test_the_gradient_through_time_is_below_its_bound():
    layer = RNN(3, 4)
    params, x = layer.init(jax.random.key(0)), noise(1, 6, 3)
    y, cache = layer.forward(params, Sequence(x, state=(jnp.zeros((1, 4)),)))
    dy = jnp.zeros_like(y.x).at[:, -1].set(noise(1, 4, seed=2))
    _, dx = layer.backward(params, cache, Sequence(dy))
    largest = np.linalg.svd(params.wh)[1][0]
    bound = np.prod([largest * (1 - y.x[0, t] ** 2).max() for t in range(6)])
    assert 0 < np.linalg.norm(dx.state[0]) <= bound * np.linalg.norm(dy)
