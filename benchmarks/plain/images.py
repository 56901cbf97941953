"""Convolution, pooling and normalization as one writes them for autodiff."""

import math
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.plain.nets import plain


@plain.register
def _(net: fnn.Conv1d, params, x, key):
    """lax.conv_general_dilated."""
    return convolved(net, params, x, ("NHC", "HIO", "NHC"))


@plain.register
def _(net: fnn.Conv2d, params, x, key):
    """lax.conv_general_dilated."""
    return convolved(net, params, x, ("NHWC", "HWIO", "NHWC"))


def convolved(net: fnn.Conv1d | fnn.Conv2d, params: Any, x: Any, numbers: Any) -> jax.Array:
    """x ∗ w + b."""
    y = jax.lax.conv_general_dilated(
        x,
        params.w,
        net.stride,
        padding(net),
        rhs_dilation=net.dilation,
        dimension_numbers=numbers,
        feature_group_count=net.groups,
    )
    return y if params.b is None else y + params.b


def padding(net: Any) -> Any:
    """In the words of lax: a name, or a pair per axis."""
    if isinstance(net.padding, str):
        return net.padding.upper()
    if isinstance(net.padding, int):
        return [(net.padding, net.padding)] * len(net.kernel)
    return net.padding


def windowed(net: Any, x: Any, start: float, f: Any) -> jax.Array:
    """lax.reduce_window over the spatial axes."""
    around = padding(net)
    if not isinstance(around, str):
        around = [(0, 0), *around, (0, 0)]
    size, stride = (1, *net.kernel, 1), (1, *net.stride, 1)
    return jax.lax.reduce_window(x, start, f, size, stride, around)


@plain.register
def _(net: fnn.MaxPool1d | fnn.MaxPool2d, params, x, key):
    """lax.reduce_window with lax.max."""
    return windowed(net, x, -math.inf, jax.lax.max)


@plain.register
def _(net: fnn.AvgPool1d | fnn.AvgPool2d, params, x, key):
    """lax.reduce_window with lax.add, over the number of entries inside."""
    total = windowed(net, x, 0.0, jax.lax.add)
    if net.padding == "valid":
        return total / math.prod(net.kernel)
    return total / windowed(net, jnp.ones((1, *x.shape[1:-1], 1), x.dtype), 0.0, jax.lax.add)


@plain.register
def _(net: fnn.GlobalAvgPool, params, x, key):
    """The mean over all positions."""
    return x.mean(tuple(range(1, x.ndim - 1)))


@plain.register
def _(net: fnn.Upsample, params, x, key):
    """jnp.repeat, or jax.image.resize."""
    shape = (len(x), *(net.factor * n for n in x.shape[1:-1]), x.shape[-1])
    if net.linear:
        return jax.image.resize(x, shape, "linear")
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, net.factor, axis)
    return x


@plain.register
def _(net: fnn.Pad, params, x, key):
    """jnp.pad."""
    return jnp.pad(x, ((0, 0), *net.widths(x), (0, 0)), net.modes[net.mode])


@plain.register
def _(net: fnn.Flatten, params, x, key):
    """One row per example, or one per position."""
    return x.reshape(len(x), -1, x.shape[-1]) if net.keep_last else x.reshape(len(x), -1)


@plain.register
def _(net: fnn.Affine, params, x, key):
    """x s + b."""
    return x * params.scale + params.b


@plain.register
def _(net: fnn.Centered, params, x, key):
    """(x − c) s + b."""
    return (x - params.center) * params.scale + params.b


def standardized(x: jax.Array, axes: Any, eps: float) -> jax.Array:
    """x less its mean, over its standard deviation."""
    mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    return (x - mean) / jnp.sqrt(var + eps)


@plain.register
def _(net: fnn.LayerNorm, params, x, key):
    """The features of a position."""
    return standardized(x, -1, net.eps) * params.scale + params.b


@plain.register
def _(net: fnn.RMSNorm, params, x, key):
    """x over its root mean square."""
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + net.eps) * params.scale


@plain.register
def _(net: fnn.GroupNorm, params, x, key):
    """Groups of channels, over all positions."""
    groups = x.reshape(len(x), -1, net.n_groups, net.n // net.n_groups)
    return standardized(groups, (1, 3), net.eps).reshape(x.shape) * params.scale + params.b


@plain.register
def _(net: fnn.InstanceNorm, params, x, key):
    """Channels of an example, over its positions."""
    return standardized(x, tuple(range(1, x.ndim - 1)), net.eps) * params.scale + params.b


@plain.register
def _(net: fnn.BatchNorm, params, x, key):
    """Channels, over all examples and positions."""
    return standardized(x, tuple(range(x.ndim - 1)), net.eps) * params.scale + params.b
