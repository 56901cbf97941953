"""Tests of fnn.layers.gru; what it shares with RNN and LSTM is in test_recurrence.py."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import check_layer, noise, states

from fnn.layers.gru import GRU, GRUParams
from fnn.sequence import Sequence


def test_contract():
    check_layer(GRU(3, 4), noise(2, 5, 3))


def test_by_hand():
    def s(v):
        return 1 / (1 + np.exp(-v))

    params = GRUParams(
        wx=jnp.array([[1.0, 2.0, 3.0]]),
        wh=jnp.array([[0.5, -0.5, 2.0]]),
        bx=jnp.zeros(3),
        bh=jnp.array([0.0, 0.0, 1.0]),
    )
    y, _ = GRU(1, 1).forward(params, jnp.array([[[0.5], [-0.5]]]))
    r, z = s(0.5), s(1.0)
    first = (1 - z) * np.tanh(1.5 + r * 1.0)
    r, z = s(-0.5 + 0.5 * first), s(-1.0 - 0.5 * first)
    n = np.tanh(-1.5 + r * (2 * first + 1))
    np.testing.assert_allclose(y[0, :, 0], [first, (1 - z) * n + z * first], rtol=1e-12)


def test_where_the_update_gate_is_1_it_remembers():
    layer, state = GRU(3, 4), states(4)
    params = layer.init(jax.random.key(0))._replace(bx=jnp.zeros(12).at[4:8].set(100.0))
    y, _ = layer.forward(params, Sequence(noise(2, 5, 3), state=state))
    np.testing.assert_allclose(y.x[:, -1], state[0], rtol=1e-12)
    np.testing.assert_allclose(y.state[0], state[0], rtol=1e-12)
