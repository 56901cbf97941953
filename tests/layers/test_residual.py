"""Tests of fnn.layers.residual."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.activations import Identity, Tanh
from fnn.layers.dense import Dense
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.numerics import cast


def test_contract():
    check_layer(Residual(Serial(Dense(3, 4), Tanh(), Dense(4, 3))), noise(5, 3))


def test_forward_and_backward_by_hand():
    layer = Residual(Scale(3.0))
    y, cache = layer.forward(((),), jnp.array([[2.0, -1.0]]))
    grads, dx = layer.backward(((),), cache, jnp.array([[1.0, 10.0]]))
    np.testing.assert_array_equal(y, [[8, -4]])
    np.testing.assert_array_equal(dx, [[4, 40]])
    assert grads == ((),)


def test_gradient_passes_undiminished_around_layers_that_give_nothing():
    net = Serial(*[Residual(Scale(0.0))] * 10)
    x = noise(2, 3)
    _, cache = net.forward((((),),) * 10, x)
    np.testing.assert_array_equal(net.backward((((),),) * 10, cache, x)[1], x)


def test_with_children_keeps_the_route():
    assert Residual(Tanh()).with_children((Identity(),)) == Residual(Identity())


def test_inner_that_changes_the_shape_is_refused():
    layer = Residual(Dense(3, 1))
    message = r"^Residual: inner\(x\) must have x's shape \[5, 3\], got \[5, 1\]\.$"
    with pytest.raises(ValueError, match=message):
        layer.forward(layer.init(jax.random.key(0)), noise(5, 3))


def test_error_of_the_inner_layer_carries_its_path():
    layer = Serial(Residual(Dense(3, 3)))
    with pytest.raises(ValueError, match=r"^layer 0, layer 0, Dense\(n_in=3, n_out=3\): x must"):
        layer.forward(layer.init(jax.random.key(0)), noise(5, 4))


def test_what_is_no_layer_is_rejected():
    with pytest.raises(TypeError, match=r"^Residual takes layers, got .*; build it: Tanh\("):
        Residual(Tanh)


def test_dx_has_the_dtype_of_x_where_params_are_wider():
    layer = Residual(Dense(3, 3))
    params = cast(layer.init(jax.random.key(0)), "float32")
    with jax.numpy_dtype_promotion("standard"):
        y, cache = layer.forward(params, jnp.ones((2, 3), jnp.bfloat16))
        grads, dx = layer.backward(params, cache, y)
    assert dx.dtype == jnp.bfloat16
    assert grads[0].w.dtype == jnp.float32
