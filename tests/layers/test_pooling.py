"""Tests of fnn.layers.pooling."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import by_two_ways, check_layer, noise, once

from fnn.layers.pooling import AvgPool1d, AvgPool2d, GlobalAvgPool, MaxPool1d, MaxPool2d

CASES = [
    (MaxPool2d(2), (2, 5, 6, 3)),
    (MaxPool2d((3, 2), (2, 1), ((1, 0), (0, 1))), (2, 5, 6, 3)),
    (AvgPool2d(2), (2, 5, 6, 3)),
    (AvgPool2d((3, 2), (2, 1), "same"), (2, 5, 6, 3)),
    (MaxPool1d(3, 2, ((1, 0),)), (2, 7, 3)),
    (AvgPool1d(3, 2, "same"), (2, 7, 5)),
    (GlobalAvgPool(), (5, 4, 3)),
    (GlobalAvgPool(), (2, 5, 4, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


X = jnp.arange(16.0).reshape(1, 4, 4, 1)


def test_max_pool_by_hand():
    y, cache = MaxPool2d(2).forward((), X)
    np.testing.assert_array_equal(y[0, :, :, 0], [[5, 7], [13, 15]])
    _, dx = MaxPool2d(2).backward((), cache, jnp.array([[[[1.0], [2.0]], [[3.0], [4.0]]]]))
    want = np.zeros((4, 4))
    want[1, 1], want[1, 3], want[3, 1], want[3, 3] = 1, 2, 3, 4
    np.testing.assert_array_equal(dx[0, :, :, 0], want)


def test_average_pool_by_hand():
    y, cache = AvgPool2d(2).forward((), X)
    np.testing.assert_array_equal(y[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]])
    _, dx = AvgPool2d(2).backward((), cache, jnp.array([[[[4.0], [8.0]], [[12.0], [16.0]]]]))
    np.testing.assert_array_equal(dx[0, :, :, 0], np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


def test_pools_along_one_axis_by_hand():
    x = jnp.array([1.0, 3.0, 2.0, 6.0]).reshape(1, 4, 1)
    dy = jnp.array([1.0, 10.0, 100.0]).reshape(1, 3, 1)
    y, cache = MaxPool1d(2, 1).forward((), x)
    np.testing.assert_array_equal(y[0, :, 0], [3, 3, 6])
    _, dx = MaxPool1d(2, 1).backward((), cache, dy)
    np.testing.assert_array_equal(dx[0, :, 0], [0, 11, 0, 100])
    y, cache = AvgPool1d(2, 1).forward((), x)
    np.testing.assert_array_equal(y[0, :, 0], [2, 2.5, 4])
    _, dx = AvgPool1d(2, 1).backward((), cache, dy)
    np.testing.assert_array_equal(dx[0, :, 0], [0.5, 5.5, 55, 50])


@pytest.mark.parametrize("pools", [(MaxPool1d, MaxPool2d), (AvgPool1d, AvgPool2d)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", ((1, 0),)], ids=str)
def test_along_one_axis_it_is_the_pool_of_images_one_pixel_high(pools, stride, padding):
    x = noise(2, 7, 3)
    line, image = pools
    flat = padding if isinstance(padding, str) else ((0, 0), *padding)
    one, other = line(3, stride, padding), image((1, 3), (1, stride), flat)

    def both(x):
        (y, cache), (z, other_cache) = one.forward((), x), other.forward((), x[:, None])
        dx, dz = one.backward((), cache, y)[1], other.backward((), other_cache, z)[1]
        return (y, z[:, 0]), (dx, dz[:, 0])

    values, gradients = once(both, x)
    np.testing.assert_array_equal(*values)
    np.testing.assert_allclose(*gradients, rtol=1e-15)


def test_global_average_by_hand():
    y, cache = GlobalAvgPool().forward((), X)
    np.testing.assert_array_equal(y, [[7.5]])
    _, dx = GlobalAvgPool().backward((), cache, jnp.array([[16.0]]))
    np.testing.assert_array_equal(dx, np.ones((1, 4, 4, 1)))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", ["valid", "same", 1], ids=str)
def test_windows_are_those_of_jax(stride, padding):
    x = noise(2, 7, 8, 3)
    pads = padding.upper() if isinstance(padding, str) else [(0, 0), (1, 1), (1, 1), (0, 0)]
    shape, strides = (1, 3, 2, 1), (1, stride, stride, 1)
    reduce = jax.lax.reduce_window

    def maximum(x):
        return reduce(x, -jnp.inf, jax.lax.max, shape, strides, pads)

    def average(x):
        counts = reduce(jnp.ones_like(x), 0.0, jax.lax.add, shape, strides, pads)
        return reduce(x, 0.0, jax.lax.add, shape, strides, pads) / counts

    def every(x):
        pools = {MaxPool2d: maximum, AvgPool2d: average}
        return [
            by_two_ways(pool((3, 2), stride, padding), (), x, lambda _, x, of=reference: of(x))
            for pool, reference in pools.items()
        ]

    for ours, theirs in once(every, x):
        chex.assert_trees_all_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_of_equal_entries_the_first_gets_the_gradient_and_nan_is_not_hidden():
    pool = MaxPool2d(2)
    _, cache = pool.forward((), jnp.ones((1, 2, 2, 1)))
    _, dx = pool.backward((), cache, jnp.ones((1, 1, 1, 1)))
    np.testing.assert_array_equal(dx[0, :, :, 0], [[1, 0], [0, 0]])
    for place in range(4):
        x = jnp.arange(4.0).at[place].set(jnp.nan).reshape(1, 2, 2, 1)
        assert np.isnan(pool.forward((), x)[0]).all()


def test_errors():
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, C\], got \[5, 3\]; one exam"):
        MaxPool1d(2).forward((), noise(5, 3))
    with pytest.raises(ValueError, match="stride must be 1 numbers of at least 1, got 0"):
        AvgPool1d(2, 0)
    with pytest.raises(ValueError, match=r"x must have shape \[B, H, W, C\], got \[5, 4, 3\]; one"):
        MaxPool2d(2).forward((), noise(5, 4, 3))
    with pytest.raises(ValueError, match="axis 1 of x has 2 entries and 0"):
        AvgPool2d(3).forward((), noise(1, 2, 5, 3))
    with pytest.raises(ValueError, match="kernel must be 2 numbers of at least 1, got 0"):
        MaxPool2d(0)
    with pytest.raises(ValueError, match="a window would lie in the padding alone"):
        MaxPool2d(2, padding=2).forward((), noise(1, 5, 5, 3))
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., C\], got \[5, 3\]"):
        GlobalAvgPool().forward((), noise(5, 3))
