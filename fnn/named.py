"""Trees of arrays by name: every array under its path, and back.

    {"blocks": {"attention": AttentionParams(wq, …)}, …}  ↔  {"blocks.attention.wq": wq, …}

The names are those of errors and summaries. What is named otherwise, or has another shape or
dtype, is listed in one error.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from fnn.errors import by_path, dotted
from fnn.numerics import owned
from fnn.records import PyTree

FEW, LONGEST = 8, 100  # differences that a message lists, letters of a name


def by_name(tree: PyTree) -> dict[str, Any]:
    """Every leaf by its name: 0.w, blocks.attention.wq.

    Raises:
        ValueError: for two leaves of one name, as in {"a.b": …, "a": {"b": …}}.
    """
    named, leaves = by_path("", tree), jax.tree_util.tree_leaves_with_path(tree)
    if len(named) < len(leaves):
        names = [dotted("", path) for path, _ in leaves]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise ValueError(f"by_name: two arrays have the name {twice}; rename a key of the tree.")
    return named


def of_names(named: Mapping[str, Any], like: PyTree) -> PyTree:
    """The leaves of these names as a tree like `like`."""
    paths, tree = jax.tree_util.tree_flatten_with_path(like)
    return tree.unflatten([named[dotted("", path)] for path, _ in paths])


def kind(a: Any) -> str:
    """Dtype and shape: float32[64, 10]."""
    return f"{a.dtype}{list(a.shape)}"


def differences(got: Mapping[str, Any], want: Mapping[str, Any]) -> str:
    """What is missing, unexpected, or of another dtype or shape, by name; "" where nothing is."""
    here, there = ({name: kind(a) for name, a in tree.items()} for tree in (got, want))
    faults = [(name, f"is missing, {a}") for name, a in there.items() if name not in here]
    faults += [(name, f"is unexpected, {a}") for name, a in here.items() if name not in there]
    both = [name for name in there if name in here and here[name] != there[name]]
    faults += [(name, f"must be {there[name]}, got {here[name]}") for name in both]
    told = [f"{name:.{LONGEST}} {fault}" for name, fault in faults[:FEW]]
    return "; ".join(told) + f" and {len(faults) - FEW} more" * (len(faults) > FEW)


def on_jax(owner: str, named: Mapping[str, Any]) -> dict[str, jax.Array]:
    """The arrays as JAX's, in memory of their own; those that are so already, as they are.

    Raises:
        TypeError: for 64 bits where JAX would make 32 of them.
    """
    for name, a in named.items():
        if (
            isinstance(a, np.ndarray)
            and (dtype := jax.dtypes.canonicalize_dtype(a.dtype)) != a.dtype
        ):
            raise TypeError(
                f"{owner}: {name} is {a.dtype}, of which JAX would make {dtype}; cast it, or keep "
                'it with jax.config.update("jax_enable_x64", True).'
            )
    return {name: owned(a) for name, a in named.items()}
