"""Tests of fnn.layers.rnn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.rnn import RNN, RNNParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)


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


def test_gradients_with_mask_and_state_are_those_of_jax():
    layer = RNN(3, 4)
    params, x, state = layer.init(KEY), noise(2, 5, 3), noise(2, 4, seed=3)
    mask = jnp.array([[True, True, False, True, True], [True, True, True, False, False]])

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


def test_the_gradient_through_time_is_below_its_bound():
    layer = RNN(3, 4)
    params, x = layer.init(KEY), noise(1, 6, 3)
    y, cache = layer.forward(params, Sequence(x, state=jnp.zeros((1, 4))))
    dy = jnp.zeros_like(y).at[:, -1].set(noise(1, 4, seed=2))
    _, dx = layer.backward(params, cache, dy)
    largest = np.linalg.svd(params.wh)[1][0]
    bound = np.prod([largest * (1 - y[0, t] ** 2).max() for t in range(6)])
    assert np.linalg.norm(dx.state) <= bound * np.linalg.norm(dy)


def test_a_sequence_of_no_steps_says_nothing():
    layer = RNN(3, 4)
    params = layer.init(KEY)
    y, cache = layer.forward(params, jnp.zeros((2, 0, 3)))
    grads, dx = layer.backward(params, cache, y)
    assert (y.shape, dx.shape) == ((2, 0, 4), (2, 0, 3))
    assert all((g == 0).all() for g in jax.tree.leaves(grads))


def test_errors():
    layer = RNN(3, 4)
    params, x = layer.init(KEY), noise(2, 5, 3)
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, 3\], got \[5, 3\]"):
        layer.forward(params, x[0])
    with pytest.raises(ValueError, match=r"state must have shape \[2, 4\], got \[2, 3\]"):
        layer.forward(params, Sequence(x, state=noise(2, 3)))
    with pytest.raises(ValueError, match="n_in and n_hidden must be at least 1"):
        RNN(3, 0)
