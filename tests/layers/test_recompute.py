"""Tests of fnn.layers.recompute."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

from fnn.layers.activations import SiLU, Tanh
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.lstm import LSTM
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    check_layer(Recompute(Serial(Dense(3, 4), SiLU(), Dense(4, 2))), noise(5, 3))


def test_contract_of_sequences():
    check_sequence(Recompute(LSTM(3, 4)), Sequence(noise(2, 5, 3), MASK, states(4, 4)))


def test_contract_inside_repeat():
    check_layer(Repeat(2, Recompute(Residual(Dense(3, 3)))), noise(5, 3))


def test_same_as_the_inner_layer_mask_included():
    inner = Serial(Dense(3, 4), Dropout(0.5))
    x, dy = noise(5, 3), noise(5, 4)
    params = Recompute(inner).init(KEY)
    y, cache = Recompute(inner).forward(params, x, key=KEY)
    chex.assert_trees_all_equal(params, inner.init(KEY))
    grads, dx = Recompute(inner).backward(params, cache, dy)
    inner_y, inner_cache = inner.forward(params, x, key=KEY)
    chex.assert_trees_all_close(y, inner_y)
    chex.assert_trees_all_close((grads, dx), inner.backward(params, inner_cache, dy))


def test_cache_holds_the_input_and_the_key_only():
    layer = Recompute(Serial(Dense(3, 400), Tanh(), Dense(400, 2)))
    x = noise(5, 3)
    _, cache = layer.forward(layer.init(KEY), x)
    (kept,) = jax.tree.leaves(cache)
    np.testing.assert_array_equal(kept, x)


def test_saves_memory_inside_repeat():
    block = Serial(Dense(16, 64), Tanh(), Dense(64, 64), SiLU(), Dense(64, 16))

    def temporary_bytes(inner):
        layer = Repeat(12, inner)

        def run(params, x):
            y, cache = layer.forward(params, x)
            return layer.backward(params, cache, y)

        params = jax.eval_shape(layer.init, KEY)
        x = jax.ShapeDtypeStruct((128, 16), jnp.float64)
        return jax.jit(run).lower(params, x).compile().memory_analysis().temp_size_in_bytes

    assert temporary_bytes(Recompute(block)) < 0.5 * temporary_bytes(block)


def test_backward_keeps_the_two_forward_passes_apart():
    layer, x = Recompute(Tanh()), noise(5, 3)
    _, cache = layer.forward((), x)
    assert "optimization_barrier" in str(jax.make_jaxpr(layer.backward)((), cache, x))


def test_with_children_keeps_the_route():
    assert Recompute(Tanh()).with_children({"inner": SiLU()}) == Recompute(SiLU())


def test_error_of_the_inner_layer_carries_the_path_of_the_whole():
    layer = Recompute(Dense(3, 4))
    with pytest.raises(ValueError, match=r"^Dense\(n_in=3, n_out=4\): x must have"):
        layer.forward(layer.init(KEY), noise(5, 2))


def test_what_is_no_layer_is_rejected():
    with pytest.raises(TypeError, match=r"^Recompute takes layers, got None\."):
        Recompute(None)
