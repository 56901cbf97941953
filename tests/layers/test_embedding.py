"""Tests of fnn.layers.embedding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_sequence, noise

import fnn
from fnn.layers.embedding import Embedding, EmbeddingParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)
TOKENS = jnp.array([[1, 4, 1], [0, 4, 3]])


def test_contract_of_sequences():
    tokens = jnp.array([[1, 4, 0, 5, 2], [3, 3, 5, 0, 1]])
    check_sequence(Embedding(6, 3), Sequence(tokens, MASK))


def test_gradient_of_the_table_is_that_of_jax_and_numbers_have_none():
    layer = Embedding(6, 3)
    params = layer.init(KEY)
    (y, cache), dy = layer.forward(params, TOKENS), noise(2, 3, 3)
    grads, dx = layer.backward(params, cache, dy)
    _, vjp = jax.vjp(lambda p: layer.forward(p, TOKENS)[0], params)
    np.testing.assert_allclose(grads.table, vjp(dy)[0].table, rtol=1e-12)
    assert dx is None
    assert y.shape == (2, 3, 3)
    np.testing.assert_array_equal(grads.table[jnp.array([2, 5])], 0)


def test_by_hand():
    params = EmbeddingParams(jnp.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    layer = Embedding(3, 2)
    y, cache = layer.forward(params, jnp.array([2, 0, 2]))
    np.testing.assert_array_equal(y, [[5, 6], [1, 2], [5, 6]])
    grads, _ = layer.backward(params, cache, jnp.array([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]]))
    np.testing.assert_array_equal(grads.table, [[2, 20], [0, 0], [4, 40]])


def test_it_is_a_dense_layer_of_one_hot_rows():
    layer, dense = Embedding(6, 3), fnn.Dense(6, 3)
    params, dy = layer.init(KEY), noise(2, 3, 3)
    y, cache = layer.forward(params, TOKENS)
    theirs = fnn.DenseParams(params.table, jnp.zeros(3))
    z, dense_cache = dense.forward(theirs, jax.nn.one_hot(TOKENS, 6))
    np.testing.assert_allclose(y, z)
    grads = layer.backward(params, cache, dy)[0].table
    np.testing.assert_allclose(grads, dense.backward(theirs, dense_cache, dy)[0].w, rtol=1e-12)


def test_numbers_outside_are_refused_or_under_jit_poison_their_row_alone():
    layer = Embedding(6, 3)
    params = layer.init(KEY)
    for bad in (-1, 6):
        x = TOKENS.at[1, 2].set(bad)
        with pytest.raises(ValueError, match=rf"x must be from 0 to 5, got {bad} at \[1, 2\]"):
            layer.forward(params, x)
        y, cache = jax.jit(layer.forward)(params, x)
        assert np.isnan(y[1, 2]).all()
        assert np.isfinite(np.delete(np.asarray(y).reshape(6, 3), 5, 0)).all()
        grads, _ = layer.backward(params, cache, jnp.ones_like(y))
        np.testing.assert_array_equal(grads.table.sum(0), [5, 5, 5])


def test_per_example_norms_are_those_of_single_gradients():
    layer = fnn.Serial(Embedding(6, 3), fnn.Flatten(), fnn.Dense(9, 2))
    params, target = layer.init(KEY), noise(2, 2)
    norms = fnn.fold(
        layer, fnn.SquaredError(), params, TOKENS, target, rule=fnn.rules.example_norms
    ).result
    for b in range(2):
        _, grads = fnn.value_and_grad(
            layer, fnn.SquaredError(), params, TOKENS[b : b + 1], target[b : b + 1]
        )
        np.testing.assert_allclose(norms[0][b], (grads[0].table ** 2).sum(), rtol=1e-10)


def test_errors():
    layer = Embedding(6, 3)
    params = layer.init(KEY)
    with pytest.raises(TypeError, match="x must be an array of integers, got float"):
        layer.forward(params, noise(2, 3))
    with pytest.raises(ValueError, match="n_vocab and n must be at least 1"):
        Embedding(0, 3)
