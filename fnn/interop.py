"""Layers as ordinary JAX functions, for programs that call jax.grad themselves."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import tree_flatten_with_path, tree_map_with_path

from fnn.arrays import as_input, check_arrays
from fnn.errors import check_key
from fnn.layer import Layer, as_jax, check_layer_type
from fnn.numerics import is_floating
from fnn.records import PyTree
from fnn.sequence import mask_of, renewed


def as_function(layer: Layer[Any, Any]) -> Callable[..., Any]:
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
        return y, (params, cache, x)

    def backward(saved, dy):
        params, cache, x = saved
        dy = jax.tree.map(lambda d: d if is_floating(d) else None, dy)  # float0: no derivative
        grads, dx = layer.backward(params, cache, renewed(dy, mask=mask_of(x)))
        return grads, cotangent(dx, x), None  # no derivative in the key

    apply.defvjp(forward, backward)

    @functools.wraps(apply)
    def function(params, x, key=None):
        check_arrays("as_function", params)
        if key is not None:
            check_key("as_function", key)
        return apply(as_jax(params), as_input("as_function", x), key)

    return function


def cotangent(dx: PyTree, x: PyTree) -> PyTree:
    """dx in JAX's form: like x, 0 where nothing came back, float0 where x is not floating."""
    found = dict(tree_flatten_with_path(dx)[0])

    def leaf(path, a):
        if not is_floating(a):
            return np.zeros(a.shape, jax.dtypes.float0)
        return found[path] if path in found else jnp.zeros_like(a)

    return tree_map_with_path(leaf, x)
