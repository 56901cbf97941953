"""Tests of fnn.layers.cast."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

import fnn
from fnn.driver import value_and_grad
from fnn.layers.activations import SiLU, Tanh
from fnn.layers.cast import Cast
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.lstm import LSTM
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.numerics import cast
from fnn.sequence import Sequence

KEY = jax.random.key(0)
NET = Serial(Dense(3, 4), Tanh(), Dense(4, 2))


def test_contract():
    check_layer(Cast(NET, "float64"), noise(5, 3), keeps_dtype=False)


def test_contract_of_sequences():
    check_sequence(Cast(LSTM(3, 4), "float64"), Sequence(noise(2, 5, 3), MASK, states(4, 4)))


@pytest.mark.parametrize("masters", ["float32", "float64"])
def test_states_keep_the_dtype_they_came_with(masters):
    net = Cast(Serial(LSTM(3, 4), LSTM(4, 2)), "bfloat16")
    x = Sequence(noise(2, 5, 3), MASK, (states(4, 4), states(2, 2)))
    params, x = cast((net.init(KEY), x), masters)
    y, cache = jax.eval_shape(net.forward, params, x)
    assert y.x.dtype == "bfloat16"
    chex.assert_trees_all_equal_shapes_and_dtypes(y.state, x.state)
    grads, dx = jax.eval_shape(net.backward, params, cache, y)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, x))


def test_gradients_inside_repeat_keep_the_dtypes_of_params():
    net = Repeat(2, Serial(Cast(Dense(3, 3), "bfloat16"), Cast(Tanh(), "float32")))
    params, x = cast((net.init(KEY), noise(5, 3)), "float32")
    y, cache = jax.eval_shape(net.forward, params, x)
    grads, dx = jax.eval_shape(net.backward, params, cache, y)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, x))


@pytest.mark.parametrize("masters", ["float32", "float64"])
@pytest.mark.parametrize("compute", ["bfloat16", "float16", "float32"])
def test_gradients_have_the_dtypes_of_params_and_input(masters, compute):
    net = Cast(NET, compute)
    params, x = cast((net.init(KEY), noise(5, 3)), masters)
    y, cache = jax.eval_shape(net.forward, params, x)
    grads, dx = jax.eval_shape(net.backward, params, cache, y)
    assert y.dtype == compute
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, x))


def test_computes_what_the_inner_layer_computes_in_that_dtype():
    net = Cast(NET, "bfloat16")
    params, x = cast((net.init(KEY), noise(5, 3)), "float32")
    rounded, x_rounded = cast((params, x), "bfloat16")
    y, cache = net.forward(params, x)
    grads, dx = net.backward(params, cache, jnp.ones_like(y))
    inner_y, inner_cache = NET.forward(rounded, x_rounded)
    inner = NET.backward(rounded, inner_cache, jnp.ones_like(y))
    chex.assert_trees_all_equal(y, inner_y)
    chex.assert_trees_all_equal((grads, dx), cast(inner, "float32"))


def test_rounds_what_the_dtype_cannot_hold():
    params = DenseParams(jnp.array([[1 + 2.0**-10]]), jnp.array([0.0]))
    y, _ = Cast(Dense(1, 1), "bfloat16").forward(params, jnp.array([[3.0]]))
    assert y == 3


def test_mixed_precision_gradient_is_near_the_double_precision_gradient():
    net, loss = Cast(NET, "bfloat16"), SoftmaxCrossEntropy()
    params, x = cast((net.init(KEY), noise(50, 3)), "float32")
    target = jnp.arange(50) % 2
    run = jax.jit(value_and_grad)
    value, grads = run(net, loss, params, x, target)
    exact_value, exact = run(NET, loss, *cast((params, x), "float64"), target)
    assert value.dtype == "float32"
    assert float(value) == pytest.approx(float(exact_value), rel=1e-2)
    for g, e in zip(jax.tree.leaves(grads), jax.tree.leaves(exact), strict=True):
        assert g.dtype == "float32"
        assert np.linalg.norm(np.float64(g) - e) < 3e-2 * np.linalg.norm(e)


def test_dtype_is_held_by_its_name():
    forms = ("bfloat16", jnp.bfloat16, jnp.dtype("bfloat16"))
    assert {Cast(NET, form) for form in forms} == {Cast(NET, "bfloat16")}


def test_with_children_keeps_the_dtype():
    assert Cast(Tanh(), "float32").with_children({"inner": SiLU()}) == Cast(SiLU(), "float32")


@pytest.mark.parametrize("dtype", ["int32", bool, "complex64"], ids=str)
def test_dtype_that_is_not_floating_is_rejected(dtype):
    with pytest.raises(TypeError, match=r"^Cast: dtype must be a floating dtype, got "):
        Cast(NET, dtype)


def test_dtype_that_is_none_is_rejected():
    with pytest.raises(TypeError, match=r"^Cast: dtype must be a floating dtype, got 'bfloat'\.$"):
        Cast(NET, "bfloat")


def test_what_is_no_layer_is_rejected():
    with pytest.raises(TypeError, match=r"^Cast takes layers, got 'float32'\."):
        Cast("float32", NET)


def test_error_of_the_inner_layer_carries_the_path_of_the_whole():
    net = Cast(NET, "float32")
    with pytest.raises(ValueError, match=r"^layer 0, Dense\(n_in=3, n_out=4\): x must"):
        net.forward(net.init(KEY), noise(5, 2))


def test_dy_is_rounded_too():
    net, dy = fnn.Cast(fnn.Dense(3, 4), "bfloat16"), noise(5, 4).astype("float32")
    params = jax.tree.map(lambda p: p.astype("float32"), net.init(KEY))
    _, cache = net.forward(params, noise(5, 3).astype("float32"))
    found, want = (net.backward(params, cache, d) for d in (dy, dy.astype("bfloat16")))
    chex.assert_trees_all_equal(found, want)
