"""Tests of fnn.layers.gru."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.gru import GRU, GRUParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)


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


def test_gradients_with_mask_and_state_are_those_of_jax():
    layer = GRU(3, 4)
    params, x, state = layer.init(KEY), noise(2, 5, 3), noise(2, 4, seed=3)
    mask = jnp.array([[True, True, False, True, True], [True, True, True, False, False]])

    def f(params, x, state):
        return layer.forward(params, Sequence(x, mask, state))[0]

    y, vjp = jax.vjp(f, params, x, state)
    dy = noise(*y.shape, seed=2)
    _, cache = layer.forward(params, Sequence(x, mask, state))
    grads, dx = layer.backward(params, cache, dy)
    ours = (grads, dx.x, dx.state)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_where_the_update_gate_is_1_it_remembers():
    layer = GRU(3, 4)
    params = layer.init(KEY)._replace(bx=jnp.zeros(12).at[4:8].set(100.0))
    state = noise(2, 4, seed=3)
    y, _ = layer.forward(params, Sequence(noise(2, 5, 3), state=state))
    np.testing.assert_allclose(y[:, -1], state, rtol=1e-12)


def test_errors():
    layer = GRU(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[2, 5, 4\]"):
        layer.forward(params, noise(2, 5, 4))
    with pytest.raises(ValueError, match="state must have 1 arrays, got 2"):
        layer.forward(params, Sequence(x, state=(noise(2, 4), noise(2, 4))))
    with pytest.raises(ValueError, match="n_in and n_hidden must be at least 1"):
        GRU(0, 4)
