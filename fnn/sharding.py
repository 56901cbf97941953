"""Meshes with explicit axes: what fnn computes leaves the sharding to the compiler.

`jax.make_mesh` makes explicit axes, on which every operation that could be laid out in more
than one way wants to be told: a sum over a sharded batch, a gather, a reshape. A decorated
function runs with these axes automatic instead, as on a mesh with `AxisType.Auto`, and its
results are replicated. On any other mesh nothing is changed, and results lie as XLA lays them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
from jax.sharding import AxisType, NamedSharding, PartitionSpec


def automatic(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, with the explicit axes of the mesh that its arguments lie on made automatic."""

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        mesh = explicit_mesh((args, options))
        if mesh is None:
            return f(*args, **options)
        leaves, tree = jax.tree.flatten((args, options))
        arrays = {i: a for i, a in enumerate(leaves) if isinstance(a, jax.Array)}

        def on_arrays(arrays):
            args, options = tree.unflatten(arrays.get(i, a) for i, a in enumerate(leaves))
            return f(*args, **options)

        axes, replicated = mesh.explicit_axes, PartitionSpec()
        inside = jax.sharding.auto_axes(on_arrays, axes=axes, out_sharding=replicated)
        with entered(mesh, arrays):
            return inside(arrays)

    return run


def explicit_mesh(tree: Any) -> Any:
    """The mesh with explicit axes that an array of `tree` lies on; None for none."""
    for leaf in jax.tree.leaves(tree):
        if isinstance(leaf, jax.Array):
            mesh = jax.typeof(leaf).sharding.mesh
            if AxisType.Explicit in mesh.axis_types:
                return mesh
    return None


def entered(mesh: Any, arrays: dict[int, jax.Array]) -> Any:
    """The context of the mesh: as it is, or in abstract form where arrays are traced."""
    if any(isinstance(a, jax.core.Tracer) for a in arrays.values()):
        return jax.sharding.use_abstract_mesh(mesh)
    meshes: list[Any] = [
        a.sharding.mesh for a in arrays.values() if isinstance(a.sharding, NamedSharding)
    ]
    return jax.set_mesh(next(m for m in meshes if m.abstract_mesh == mesh))
