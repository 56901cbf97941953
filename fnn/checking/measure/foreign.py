"""Functions of numpy, which JAX cannot trace: called from inside a traced program.

Autodiff cannot follow them, so that the values decide: the order test and differences.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Tree = Any  # nested containers of arrays


def traceable(f: Callable[..., Tree], *args: Tree) -> Callable[..., Tree]:
    """f, or a call of it, if it makes numpy arrays of what it is given."""
    try:
        jax.eval_shape(f, *args)
    except jax.errors.TracerArrayConversionError:
        return called(f, args)
    except Exception:  # is said where f is traced next
        return f
    return f


def called(f: Callable[..., Tree], given: tuple[Tree, ...]) -> Callable[..., Tree]:
    """f from inside a traced program; its results have the shapes that it gives to such args."""

    def on_numpy(leaves, tree):
        args = tree.unflatten([np.asarray(a) for a in leaves])
        return jax.tree.map(np.asarray, f(*args))

    @functools.cache
    def shapes(tree, kinds):
        example, given_tree = jax.tree.flatten(given)
        if (given_tree, kinds) != (tree, kinds_of(example)):
            example = [np.ones(shape, dtype) for shape, dtype in kinds]
        with jax.ensure_compile_time_eval():
            made = on_numpy(example, tree)
        return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), made)

    def run(*args):
        leaves, tree = jax.tree.flatten(args)
        out = shapes(tree, kinds_of(leaves))

        def there(*leaves):
            return jax.tree.map(lambda a, s: a.astype(s.dtype), on_numpy(leaves, tree), out)

        return jax.pure_callback(there, out, *leaves, vmap_method="sequential")

    return run


def kinds_of(leaves: list[Any]) -> tuple[Any, ...]:
    """Shapes and dtypes."""
    return tuple((np.shape(a), np.dtype(a.dtype)) for a in leaves)
