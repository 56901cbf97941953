"""Tests of fnn.layers.residual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

from fnn.layers.activations import Identity, Tanh
from fnn.layers.dense import Dense
from fnn.layers.lstm import LSTM
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.numerics import cast
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    check_layer(Residual(Serial(Dense(3, 4), Tanh(), Dense(4, 3))), noise(5, 3))


def test_contract_of_sequences():
    check_sequence(Residual(LSTM(3, 3)), Sequence(noise(2, 5, 3), MASK, states(3, 3)))


def test_forward_and_backward_by_hand():
    layer = Residual(Scale(3.0))
    y, cache = layer.forward((), jnp.array([[2.0, -1.0]]))
    grads, dx = layer.backward((), cache, jnp.array([[1.0, 10.0]]))
    np.testing.assert_array_equal(y, [[8, -4]])
    np.testing.assert_array_equal(dx, [[4, 40]])
    assert grads == ()


def test_gradient_passes_undiminished_around_layers_that_give_nothing():
    net = Serial(*[Residual(Scale(0.0))] * 10)
    x = noise(2, 3)
    _, cache = net.forward(((),) * 10, x)
    np.testing.assert_array_equal(net.backward(((),) * 10, cache, x)[1], x)


def test_with_children_keeps_the_route():
    assert Residual(Tanh()).with_children({"inner": Identity()}) == Residual(Identity())


def test_inner_that_changes_the_shape_is_refused():
    layer = Residual(Dense(3, 1))
    message = r"^Residual: inner\(x\) must have x's shape \[5, 3\], got \[5, 1\]\.$"
    with pytest.raises(ValueError, match=message):
        layer.forward(layer.init(KEY), noise(5, 3))


def test_params_and_gradients_are_those_of_the_inner_layer():
    layer, x = Residual(Dense(3, 3)), noise(5, 3)
    params = layer.init(KEY)
    np.testing.assert_array_equal(params.w, Dense(3, 3).init(KEY).w)
    y, cache = layer.forward(params, x)
    inner_y, inner_cache = layer.inner.forward(params, x)
    np.testing.assert_allclose(y, x + inner_y, rtol=1e-12)
    grads, _ = layer.backward(params, cache, x)
    want, _ = layer.inner.backward(params, inner_cache, x)
    jax.tree.map(np.testing.assert_array_equal, grads, want)


def test_error_of_the_inner_layer_carries_the_path_of_the_whole():
    layer = Serial(Residual(Dense(3, 3)))
    with pytest.raises(ValueError, match=r"^layer 0, Dense\(n_in=3, n_out=3\): x must"):
        layer.forward(layer.init(KEY), noise(5, 4))


def test_what_is_no_layer_is_rejected():
    with pytest.raises(TypeError, match=r"^Residual takes layers, got .*; build it: Tanh\("):
        Residual(Tanh)


def test_dx_has_the_dtype_of_x_where_params_are_wider():
    layer = Residual(Dense(3, 3))
    params = cast(layer.init(KEY), "float32")
    with jax.numpy_dtype_promotion("standard"):
        y, cache = layer.forward(params, jnp.ones((2, 3), jnp.bfloat16))
        grads, dx = layer.backward(params, cache, y)
    assert dx.dtype == jnp.bfloat16
    assert grads.w.dtype == jnp.float32
