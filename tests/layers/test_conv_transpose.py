"""Tests of fnn.layers.conv_transpose."""

import functools
import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, by_two_ways, check_layer, noise, once

import fnn
from fnn.layers.conv_transpose import ConvTranspose1d, ConvTranspose2d
from fnn.layers.convolution import ConvParams, swap_channels

CASES = [
    (ConvTranspose1d(2, 3, 4), (2, 5, 2)),
    (
        ConvTranspose1d(4, 6, 3, 2, ((3, 1),), dilation=2, groups=2, output_padding=1),
        (3, 7, 4),
    ),
    (ConvTranspose2d(2, 3, 3, stride=2), (2, 4, 5, 2)),
    (ConvTranspose1d(2, 3, 4, bias=False), (2, 5, 2)),
    (ConvTranspose2d(4, 6, (2, 3), (3, 2), "same", (2, 1), groups=2), (3, 2, 5, 4)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("padding", ["valid", "same", ((0, 2),)], ids=str)
@pytest.mark.parametrize(("kernel", "dilation", "groups"), [(2, 1, 1), (3, 2, 2), (1, 1, 2)])
def test_gradients_are_those_of_jax_at_every_window(stride, padding, kernel, dilation, groups):
    more = 0 if padding == "same" else stride - 1
    layer = ConvTranspose1d(4, 6, kernel, stride, padding, dilation, groups, output_padding=more)
    params, x = layer.init(jax.random.key(0)), noise(3, 5, 4)
    ours, theirs = once(functools.partial(by_two_ways, layer), params, x)
    chex.assert_trees_all_close(ours, theirs, **EXACT)


def test_by_hand():
    layer = ConvTranspose1d(1, 1, 3, stride=2)
    params = ConvParams(jnp.array([[[2.0]], [[3.0]], [[5.0]]]), jnp.array([1.0]))
    y, cache = layer.forward(params, jnp.array([[[1.0], [10.0]]]))
    np.testing.assert_array_equal(y[0, :, 0], [2 + 1, 3 + 1, 5 + 20 + 1, 30 + 1, 50 + 1])
    dy = jnp.array([1.0, 10.0, 100.0, 1e3, 1e4]).reshape(1, 5, 1)
    grads, dx = layer.backward(params, cache, dy)
    np.testing.assert_array_equal(dx[0, :, 0], [2 + 30 + 500, 200 + 3e3 + 5e4])
    np.testing.assert_array_equal(grads.w[:, 0, 0], [1 + 1e3, 10 + 1e4, 100 + 1e5])
    np.testing.assert_array_equal(grads.b, [11111])


def test_it_is_the_sum_of_the_stamps_of_all_places():
    layer = ConvTranspose2d(
        4, 6, (2, 3), (2, 1), ((1, 0), (0, 2)), (1, 2), 2, output_padding=(1, 0)
    )
    params, x = layer.init(jax.random.key(0)), noise(2, 3, 5, 4)
    params = params._replace(b=noise(6, seed=2))
    whole = np.zeros((2, 7, 9, 6))  # before the padding is taken off
    for i, j, k, l in np.ndindex(3, 5, 2, 3):
        for g in range(2):
            w = params.w[k, l, :, 3 * g : 3 * g + 3]
            whole[:, 2 * i + k, j + 2 * l, 3 * g : 3 * g + 3] += x[:, i, j, 2 * g : 2 * g + 2] @ w
    y, _ = layer.forward(params, x)
    np.testing.assert_allclose(y, whole[:, 1:, :-2] + params.b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("length", [9, 10, 11])
@pytest.mark.parametrize("groups", [1, 2])
def test_it_is_the_adjoint_of_the_convolution_with_the_transposed_weights(length, groups):
    windows = {"stride": 3, "padding": ((2, 1),), "dilation": 2, "groups": groups}
    conv, more = fnn.Conv1d(4, 6, 3, **windows), (length - 8) % 3
    back = ConvTranspose1d(6, 4, 3, **windows, output_padding=more)
    params, x = conv.init(jax.random.key(0)), noise(2, length, 4)
    z, cache = conv.forward(params, x)
    y = noise(*z.shape, seed=2)
    stamped, _ = back.forward(ConvParams(swap_channels(params.w, groups), jnp.zeros(4)), y)
    assert stamped.shape == x.shape
    np.testing.assert_allclose((z * y).sum(), (x * stamped).sum(), rtol=1e-12)
    np.testing.assert_allclose(stamped, conv.backward(params, cache, y)[1], rtol=1e-12)


def test_same_multiplies_the_length_by_the_stride():
    for n, stride, kernel in itertools.product((1, 4), (1, 2, 3), (1, 2, 5)):
        layer = ConvTranspose1d(1, 1, kernel, stride, "same")
        y, _ = jax.eval_shape(layer.forward, layer.init(jax.random.key(0)), noise(1, n, 1))
        assert y.shape[1] == n * stride


def test_errors():
    layer = ConvTranspose2d(3, 4, 3, padding=2)
    params = layer.init(jax.random.key(0))
    with pytest.raises(ValueError, match=r"x must have shape \[B, H, W, 3\], got \[2, 5, 5\]"):
        layer.forward(params, noise(2, 5, 5))
    with pytest.raises(ValueError, match=r"axis 2 of x has 2 entries, and 2 \+ 2 of padding leave"):
        layer.forward(params, noise(2, 5, 2, 3))
    with pytest.raises(ValueError, match="axis 1 of x has 0 entries"):
        layer.forward(params, noise(2, 0, 4, 3))
    with pytest.raises(ValueError, match=r"params.w must have shape \[3, 3, 3, 4\], got"):
        layer.forward(params._replace(w=params.w.swapaxes(2, 3)), noise(2, 5, 5, 3))
    with pytest.raises(ValueError, match="groups must divide n_in and n_out"):
        ConvTranspose2d(3, 4, 3, groups=2)
    with pytest.raises(ValueError, match="output_padding must be smaller than the stride"):
        ConvTranspose2d(3, 4, 3, stride=(3, 2), output_padding=2)
    with pytest.raises(ValueError, match="output_padding must be 2 numbers of at least 0, got -1"):
        ConvTranspose2d(3, 4, 3, output_padding=-1)
    with pytest.raises(ValueError, match="output_padding must be 0 with padding='same'"):
        ConvTranspose1d(3, 4, 3, stride=2, padding="same", output_padding=1)
