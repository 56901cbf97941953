"""What a person hands in, as arrays: converted once, at the entrance, or refused by name."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating, dotted
from fnn.numerics import owned
from fnn.records import Array, PyTree


def as_array(owner: str, name: str, a: Any) -> Array:
    """`a` as an array of real numbers, or an error that names it."""
    if not isinstance(a, jax.Array):
        if isinstance(a, np.ma.MaskedArray):
            raise TypeError(
                f"{owner}: {name} is a masked array; give weights, 0 where it is masked."
            )
        try:
            array = np.asarray(a)
        except ValueError:
            raise ValueError(
                f"{owner}: {name} is ragged: its rows differ in length; several arrays are a tuple."
            ) from None
        if array.dtype.kind in "OUS":
            raise TypeError(
                f"{owner}: {name} must hold numbers, got {array.dtype} "
                f"(first entry {array.ravel().tolist()[0]!r}); "
                f"convert it with {name}.astype(float)."
            )
        a = owned(array.astype(array.dtype.newbyteorder("="), copy=False))
        if a.dtype.kind in "iu" and a.size:
            low, high = jnp.iinfo(a.dtype).min, jnp.iinfo(a.dtype).max
            if array.min() < low or array.max() > high:
                raise ValueError(
                    f"{owner}: {name} has values beyond {a.dtype}, such as {array.max()}."
                )
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"{owner}: {name} must hold real numbers, got {a.dtype}.")
    return a


def as_input(owner: str, x: PyTree) -> PyTree:
    """x as arrays: one array, or any pytree of such (a Sequence, a tuple, a class of yours)."""
    if not isinstance(x, list) and not jax.tree_util.all_leaves([x]):
        return jax.tree.map(lambda a: as_array(owner, "x", a), x, is_leaf=is_list)
    return as_array(owner, "x", x)


def is_list(a: Any) -> bool:
    """Whether `a` is a list: nested lists of numbers are one array, not a tree of them."""
    return isinstance(a, list)


def check_arrays(owner: str, params: PyTree, name: str = "params") -> None:
    """Raise a TypeError for a leaf of params that is not a floating array, by its path."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        check_floating(owner, dotted(name, path), leaf)
