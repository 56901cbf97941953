"""Tests of fnn.layers.conv."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, by_two_ways, check_layer, noise, once

from fnn.layers.conv import Conv1d, Conv2d
from fnn.layers.convolution import ConvParams

CASES = [
    (Conv1d(2, 3, 4), (2, 7, 2)),
    (Conv1d(4, 6, 3, stride=2, padding=((3, 1),), dilation=2, groups=2), (3, 11, 4)),
    (Conv2d(2, 3, 3), (2, 5, 6, 2)),
    (Conv2d(2, 3, 2, bias=False), (2, 4, 5, 2)),
    (Conv2d(4, 6, (2, 3), (3, 2), "same", (2, 1), groups=2), (3, 7, 8, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", 2, ((0, 3),)], ids=str)
def test_gradients_are_those_of_jax_at_every_window(kernel, stride, padding):
    layers = [
        Conv1d(4, 6, kernel, stride, padding, dilation, groups)
        for dilation, groups in itertools.product((1, 2), (1, 2))
    ]

    def every(params, x):
        return [by_two_ways(*given, x) for given in zip(layers, params, strict=True)]

    params = [layer.init(jax.random.key(0)) for layer in layers]
    for ours, theirs in once(every, params, noise(3, 9, 4)):
        chex.assert_trees_all_close(ours, theirs, **EXACT)


def test_by_hand():
    layer = Conv1d(1, 1, 2)
    params = ConvParams(jnp.array([[[2.0]], [[3.0]]]), jnp.array([1.0]))
    x = jnp.array([[[1.0], [10.0], [100.0]]])
    y, cache = layer.forward(params, x)
    np.testing.assert_array_equal(y[0, :, 0], [2 + 30 + 1, 20 + 300 + 1])
    grads, dx = layer.backward(params, cache, jnp.array([[[1.0], [2.0]]]))
    np.testing.assert_array_equal(grads.w[:, 0, 0], [1 + 20, 10 + 200])
    np.testing.assert_array_equal(grads.b, [3])
    np.testing.assert_array_equal(dx[0, :, 0], [2, 3 + 4, 6])


def test_without_a_bias_y_is_the_product_alone():
    layer, x = Conv1d(2, 3, 4, bias=False), noise(2, 7, 2)
    params = layer.init(jax.random.key(0))
    same = Conv1d(2, 3, 4).init(jax.random.key(0))
    assert params.b is None
    np.testing.assert_array_equal(layer.forward(params, x)[0], Conv1d(2, 3, 4).forward(same, x)[0])
    assert repr(layer).endswith("groups=1, bias=False)")
    with pytest.raises(TypeError, match=r"params\.b must be None, got float64\[3\]\.$"):
        layer.forward(same, x)


def test_it_is_the_sum_over_windows():
    layer = Conv2d(2, 3, (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2))
    params, x = layer.init(jax.random.key(0)), noise(2, 5, 6, 2)
    y, _ = layer.forward(params, x)
    wide = np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0)))
    for i, j in np.ndindex(y.shape[1:3]):
        window = wide[:, 2 * i : 2 * i + 2, j : j + 5 : 2]
        np.testing.assert_allclose(y[:, i, j], np.tensordot(window, params.w, 3), rtol=1e-12)


def test_a_shift_of_the_input_shifts_the_output():
    layer = Conv1d(2, 3, 3)
    params, x = layer.init(jax.random.key(0)), noise(2, 9, 2)
    y, _ = layer.forward(params, x)
    moved, _ = layer.forward(params, jnp.roll(x, 1, axis=1))
    np.testing.assert_allclose(moved[:, 1:], y[:, :-1], rtol=1e-12)


def test_same_keeps_the_length_and_divides_it_by_the_stride():
    for n, stride in ((7, 1), (7, 2), (8, 3)):
        layer = Conv1d(1, 1, 4, stride, "same")
        y, _ = jax.eval_shape(layer.forward, layer.init(jax.random.key(0)), noise(1, n, 1))
        assert y.shape[1] == -(-n // stride)


def test_errors():
    layer = Conv2d(3, 4, 3)
    params = layer.init(jax.random.key(0))
    with pytest.raises(
        ValueError, match=r"x must have shape \[B, H, W, 3\], got \[2, 3, 5, 5\]; ch"
    ):
        layer.forward(params, noise(2, 3, 5, 5))
    with pytest.raises(ValueError, match=r"got \[5, 5, 3\]; one example is x\[None\]"):
        layer.forward(params, noise(5, 5, 3))
    with pytest.raises(ValueError, match=r"axis 2 of x has 2 entries and 0 \+ 0 of padding, fewer"):
        layer.forward(params, noise(2, 5, 2, 3))
    with pytest.raises(ValueError, match="groups must divide n_in and n_out"):
        Conv2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="stride must be 2 numbers of at least 1, got 0"):
        Conv2d(3, 4, 3, stride=0)
    with pytest.raises(ValueError, match="padding must be 'valid', 'same', a number or 2 pairs"):
        Conv2d(3, 4, 3, padding="full")


def test_a_backward_at_which_xla_ends_the_process():
    layer, x = Conv2d(4, 6, (3, 2), stride=2, padding=1), noise(1, 4, 4, 4)
    params = layer.init(jax.random.key(0))
    y, cache = layer.forward(params, x)
    dy = noise(*y.shape, seed=2)
    grads, dx = layer.backward(params, cache, dy)  # jax.grad of forward ends it, jacfwd does not
    dw, d = jax.jacfwd(lambda w, x: layer.forward(params._replace(w=w), x)[0], (0, 1))(params.w, x)
    np.testing.assert_allclose(grads.w, jnp.tensordot(dy, dw, dy.ndim), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(dx, jnp.tensordot(dy, d, dy.ndim), rtol=1e-10, atol=1e-12)
