"""Tests of fnn.layers.lstm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.lstm import LSTM, LSTMParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    check_layer(LSTM(3, 4), noise(2, 5, 3))


def test_gradients_with_mask_and_state_are_those_of_jax():
    layer = LSTM(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    mask = jnp.array([[True, True, False, True, True], [True, True, True, False, False]])
    state = noise(2, 4, seed=3), noise(2, 4, seed=4)

    def f(params, x, state):
        return layer.forward(params, Sequence(x, mask, state))[0]

    y, vjp = jax.vjp(f, params, x, state)
    dy = noise(*y.shape, seed=2)
    _, cache = layer.forward(params, Sequence(x, mask, state))
    grads, dx = layer.backward(params, cache, dy)
    assert dx.mask is None
    ours = (grads, dx.x, dx.state)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_by_hand():
    def s(z):
        return 1 / (1 + np.exp(-z))

    layer = LSTM(1, 1)
    params = LSTMParams(jnp.array([[1.0, 2.0, 3.0, 4.0]]), jnp.zeros((1, 4)), jnp.zeros(4))
    y, _ = layer.forward(params, jnp.array([[[0.5], [-0.5]]]))
    c = s(0.5) * np.tanh(1.5)
    first = s(2.0) * np.tanh(c)
    c = s(-1.0) * c + s(-0.5) * np.tanh(-1.5)
    np.testing.assert_allclose(y[0, :, 0], [first, s(-2.0) * np.tanh(c)], rtol=1e-12)


def test_padding_at_the_end_changes_nothing_and_gets_no_gradient():
    layer = LSTM(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    padded = jnp.concatenate([x, jnp.full((2, 2, 3), 1e3)], 1)
    mask = jnp.arange(7) < 5
    y, cache = layer.forward(params, Sequence(padded, jnp.tile(mask, (2, 1))))
    short, short_cache = layer.forward(params, x)
    np.testing.assert_allclose(y[:, :5], short, rtol=1e-12)
    np.testing.assert_allclose(y[:, 6], short[:, 4], rtol=1e-12)
    dy = noise(2, 5, 4, seed=2)
    grads, dx = layer.backward(params, cache, jnp.pad(dy, ((0, 0), (0, 2), (0, 0))))
    want, dx_short = layer.backward(params, short_cache, dy)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dx.x[:, :5], dx_short, rtol=1e-10, atol=1e-13)
    np.testing.assert_array_equal(dx.x[:, 5:], 0)


def test_a_sequence_in_two_parts_is_the_sequence():
    layer = LSTM(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    y, _ = layer.forward(params, x)
    h, cache = layer.forward(params, x[:, :2])
    s = cache.steps
    c = s.f[:, -1] * s.c[:, -1] + s.i[:, -1] * s.g[:, -1]
    rest, _ = layer.forward(params, Sequence(x[:, 2:], state=(h[:, -1], c)))
    np.testing.assert_allclose(rest, y[:, 2:], rtol=1e-12)


def test_errors():
    layer = LSTM(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, 3\], got \[5, 3\]"):
        layer.forward(params, x[0])
    with pytest.raises(ValueError, match=r"mask must have shape \[2, 5\], got \[2, 4\]"):
        layer.forward(params, Sequence(x, jnp.ones((2, 4), bool)))
    with pytest.raises(TypeError, match="mask must be boolean, got float64"):
        layer.forward(params, Sequence(x, jnp.ones((2, 5))))
    with pytest.raises(ValueError, match="state must have 2 arrays, got 1"):
        layer.forward(params, Sequence(x, state=noise(2, 4)))
    with pytest.raises(ValueError, match="n_in and n_hidden must be at least 1"):
        LSTM(0, 4)
