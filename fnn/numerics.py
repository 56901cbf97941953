"""Arithmetic that every block shares."""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from fnn.types import Array, PyTree


def wide(dtype: Any) -> Any:
    """The dtype to compute in: `dtype` itself from 32 bits up, else float32."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def concrete(a: Any) -> np.ndarray | None:
    """`a` as a numpy array, or None where its value is not known yet.

    Checks of values are numpy on this result: under somebody else's jit even a jnp
    operation on a constant is traced.
    """
    unknown = isinstance(a, jax.core.Tracer | jax.ShapeDtypeStruct)
    return None if unknown else np.asarray(a)


def is_floating(a: Any) -> bool:
    """Whether `a` has a real floating-point dtype, bfloat16 included."""
    return jnp.issubdtype(a.dtype, jnp.floating)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """`tree` with its floating-point arrays in `dtype`."""
    return jax.tree.map(lambda a: jnp.astype(a, dtype) if is_floating(a) else a, tree)


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0."""
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def times(p: Array, q: Array) -> Array:
    """p q, and 0 where p = 0, whatever q is: 0 · log 0 = 0 and 0 · NaN = 0."""
    return jnp.where(p == 0, 0, p * q)
