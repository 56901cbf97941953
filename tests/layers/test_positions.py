"""Tests of fnn.layers.positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

import fnn
from fnn.layers.embedding import EmbeddingParams
from fnn.layers.positions import Positions, Sinusoids, waves, waves_at
from fnn.sequence import Sequence

KEY = jax.random.key(0)
LAYERS = [Positions(9, 3), Sinusoids(4)]


@pytest.mark.parametrize("layer", [Positions(5, 3), *LAYERS], ids=str)
def test_contract(layer):
    check_layer(layer, noise(2, 5, layer.n))


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_contract_of_sequences(layer):
    check_sequence(layer, Sequence(noise(2, 5, layer.n), MASK, (jnp.array([0, 3]),)))


def test_by_hand():
    layer, params = Positions(4, 1), EmbeddingParams(jnp.array([[1.0], [2.0], [4.0], [8.0]]))
    y, cache = layer.forward(params, jnp.full((1, 3, 1), 10.0))
    np.testing.assert_array_equal(y[0, :, 0], [11, 12, 14])
    grads, dx = layer.backward(params, cache, jnp.array([[[5.0], [6.0], [7.0]]]))
    np.testing.assert_array_equal(grads.table[:, 0], [5, 6, 7, 0])
    np.testing.assert_array_equal(dx[0, :, 0], [5, 6, 7])


def test_by_hand_behind_a_state_and_with_a_mask():
    layer, params = Positions(4, 1), EmbeddingParams(jnp.array([[1.0], [2.0], [4.0], [8.0]]))
    mask = jnp.array([[False, True, True], [True, False, True]])
    x = Sequence(jnp.full((2, 3, 1), 10.0), mask, (jnp.array([0, 2]),))
    y, cache = layer.forward(params, x)
    np.testing.assert_array_equal(y.x[..., 0], [[1, 11, 12], [14, 8, 18]])
    np.testing.assert_array_equal(y.state[0], [2, 4])
    grads, dx = layer.backward(params, cache, Sequence(jnp.ones((2, 3, 1)), mask))
    np.testing.assert_array_equal(grads.table[:, 0], [2, 1, 1, 2])
    np.testing.assert_array_equal(dx.x[..., 0], mask)
    assert dx.state is None


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_padding_in_front_moves_nothing(layer):
    params, x = layer.init(KEY), noise(1, 5, layer.n)
    y, _ = layer.forward(params, x)
    padded = Sequence(jnp.pad(x, ((0, 0), (3, 0), (0, 0))), jnp.arange(8)[None] > 2)
    np.testing.assert_allclose(layer.forward(params, padded)[0].x[:, 3:], y, rtol=1e-12)


def test_sinusoids_turn_at_their_own_speed():
    y, _ = Sinusoids(4).forward((), jnp.zeros((1, 3, 4)))
    t = np.arange(3)
    np.testing.assert_allclose(
        y[0], np.stack([np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)], 1)
    )


def test_sinusoids_of_far_places_are_as_right_as_a_table():
    i = np.array([[0, 1, 511, 512, 513, 99_999, 2**18 - 1]])
    want = waves(i[0], 6)
    np.testing.assert_allclose(waves_at(jnp.asarray(i), 6, jnp.float64)[0], want, atol=1e-10)
    with jax.enable_x64(False):
        near = waves_at(jnp.asarray(i), 6, jnp.float32)[0]
    np.testing.assert_allclose(near, want, atol=3e-7)
    assert np.isnan(waves_at(jnp.array([[2**18]]), 6, jnp.float64)).all()


def test_a_place_behind_the_table_poisons_its_row_alone():
    layer = Positions(3, 2)
    params = layer.init(KEY)
    y, cache = layer.forward(params, Sequence(noise(2, 2, 2), state=(jnp.array([1, 2]),)))
    np.testing.assert_array_equal(np.isnan(y.x).any(-1), [[False, False], [False, True]])
    grads, _ = layer.backward(params, cache, Sequence(jnp.ones((2, 2, 2))))
    np.testing.assert_array_equal(grads.table[:, 0], [0, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_norms_of_examples_are_those_of_each_alone(layer):
    net = fnn.Serial(layer, fnn.Dense(layer.n, 2))
    params, target = net.init(KEY), noise(2, 5, 2)
    x = Sequence(noise(2, 5, layer.n), MASK)
    rule, loss = fnn.rules.example_norms, fnn.SquaredError()
    norms = fnn.fold(net, loss, params, x, target, rule=rule).result
    for b in range(2):
        one = Sequence(x.x[b : b + 1], MASK[b : b + 1])
        grads = fnn.value_and_grad(net, loss, params, one, target[b : b + 1])[1]
        want = sum((g**2).sum() for g in jax.tree.leaves(grads))
        np.testing.assert_allclose(fnn.rules.total(norms)[b], want, rtol=1e-10)


def test_errors():
    layer = Positions(7, 3)
    params = layer.init(KEY)
    with pytest.raises(ValueError, match="a sequence of 8 is longer than n_context, 7; cut it"):
        layer.forward(params, noise(1, 8, 3))
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, 3\], got \[8, 3\]"):
        layer.forward(params, noise(8, 3))
    with pytest.raises(ValueError, match="n must be even and at least 2"):
        Sinusoids(3)
    for state in (jnp.array([1, 2]), (jnp.array([1.0, 2.0]),)):
        with pytest.raises(TypeError, match=r"state must be a tuple \(c,\) of integers, got"):
            layer.forward(params, Sequence(noise(2, 5, 3), state=state))
    with pytest.raises(ValueError, match=r"state c must have shape \[2\], got \[3\]"):
        layer.forward(params, Sequence(noise(2, 5, 3), state=(jnp.array([1, 2, 3]),)))
