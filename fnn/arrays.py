"""What a person hands in, as arrays: converted once, at the entrance, or refused by name."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.dlpack
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating, dotted
from fnn.numerics import owned
from fnn.records import Array, PyTree


def as_array(owner: str, name: str, a: Any) -> Array:
    """`a` as an array of real numbers, or an error that names it."""
    if not isinstance(a, jax.Array):
        return owned(as_host(owner, name, a))
    return real(owner, name, a)


def real(owner: str, name: str, a: Any) -> Any:
    """`a`, or a TypeError where its numbers are complex."""
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"{owner}: {name} must hold real numbers, got {a.dtype}.")
    return a


def as_host(owner: str, name: str, a: Any) -> np.ndarray:
    """`a` as numpy's array in the dtype that JAX gives it; its memory may be the caller's."""
    if isinstance(a, np.ma.MaskedArray):
        raise TypeError(f"{owner}: {name} is a masked array; give weights, 0 where it is masked.")
    array = by_numpy(owner, name, a)
    if array.dtype.kind in "OUS":
        raise TypeError(
            f"{owner}: {name} must hold numbers, got {array.dtype} "
            f"(first entry {array.ravel().tolist()[0]!r:.60}); "
            f"convert it with {name}.astype(float)."
        )
    dtype = np.dtype(jax.dtypes.canonicalize_dtype(array.dtype.newbyteorder("=")))
    if dtype.itemsize < array.dtype.itemsize and array.dtype.kind in "iu" and array.size:
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        if array.min() < low or array.max() > high:
            raise ValueError(f"{owner}: {name} has values beyond {dtype}, such as {array.max()}.")
    return real(owner, name, array.astype(dtype, copy=False))


def by_numpy(owner: str, name: str, a: Any) -> np.ndarray:
    """What numpy makes of `a`, or JAX by DLPack: a tensor of any package."""
    try:
        return np.asarray(a)
    except Exception as error:
        if hasattr(a, "__dlpack__"):
            with contextlib.suppress(Exception):
                return np.asarray(jax.dlpack.from_dlpack(a))
            reason = str(error).partition("\n")[0]
            raise TypeError(
                f"{owner}: {name} must be an array that numpy takes, got {type(a).__name__}: "
                f"{reason:.200}"
            ) from error
        if not isinstance(error, ValueError):
            raise
    raise ValueError(
        f"{owner}: {name} is ragged: its rows differ in length; several arrays are a tuple."
    )


def as_input(owner: str, x: PyTree, convert: Callable[..., Any] = as_array) -> PyTree:
    """x as arrays: one array, or any pytree of such (a Sequence, a tuple, a class of yours)."""
    if not isinstance(x, list) and not jax.tree_util.all_leaves([x]):
        return jax.tree.map(lambda a: convert(owner, "x", a), x, is_leaf=is_list)
    return convert(owner, "x", x)


def is_list(a: Any) -> bool:
    """Whether `a` is a list: nested lists of numbers are one array, not a tree of them."""
    return isinstance(a, list)


def check_arrays(owner: str, params: PyTree, name: str = "params") -> None:
    """Raise a TypeError for a leaf of params that is not a floating array, by its path."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        check_floating(owner, dotted(name, path), leaf)
