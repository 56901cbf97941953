"""Layers as ordinary JAX functions, for programs that call jax.grad themselves."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from fnn.layer import Layer, check_layer_type
from fnn.types import Array


def as_function(layer: Layer[Any, Any]) -> Callable[..., Array]:
    """The function (params, x, key=None) → y whose derivative is `layer.backward`.

    It is a `jax.custom_vjp`: jax.grad, jax.vjp, jit and vmap work through it; forward
    mode (jax.jvp, jax.jacfwd) does not. For that differentiate layer.forward itself,
    which is plain JAX. Equal layers give the same function.

    Raises:
        TypeError: if `layer` is not a layer.
    """
    check_layer_type("as_function", layer)
    return _as_function(layer)


@functools.cache
def _as_function(layer):
    """The custom_vjp function of a layer, one for each value."""

    @jax.custom_vjp
    def apply(params, x, key=None):
        return layer.forward(params, x, key=key)[0]

    def forward(params, x, key=None):
        y, cache = layer.forward(params, x, key=key)
        return y, (params, cache)

    def backward(saved, dy):
        params, cache = saved
        return *layer.backward(params, cache, dy), None  # no derivative in the key

    apply.defvjp(forward, backward)
    return apply
