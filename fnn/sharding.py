"""Meshes: how arrays lie on several devices, and what fnn does so that they stay there.

`jax.make_mesh` makes explicit axes, on which every operation that could be laid out in more
than one way wants to be told: a sum over a sharded batch, a gather, a reshape. A decorated
function runs with these axes automatic instead, as on a mesh with `AxisType.Auto`, and its
results are replicated. On any other mesh results lie as XLA lays them.

A State that fnn.devices.place put on a mesh carries its Layout. A step then cuts its batch along
the axis "data" and leaves every array of the State where it was; the compiler moves the rest. Two
loops it would run on every device whole, those over the heads of attention and over chunks of
logits: these run device by device (`apart`, `over_rows`). What a Repeat hands from copy to copy has
whole rows (`whole_rows`), or the compiler might cut features, and every norm would wait for sums.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fnn.records import PyTree, Record

DATA, MODEL = "data", "model"  # the axis along which batches are cut, and the one of layers


def automatic(f: Callable[..., Any]) -> Callable[..., Any]:
    """`f`, with the explicit axes of the mesh that its arguments lie on made automatic."""

    @functools.wraps(f)
    def run(*args: Any, **options: Any) -> Any:
        mesh = explicit_mesh((args, options))
        if mesh is None:
            return on_mesh(f, args, options)
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


class Cut(NamedTuple):
    """How one array of params lies: path and shape say which one."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    spec: PartitionSpec


@dataclass(frozen=True)
class Layout(Record):
    """How a State lies on a mesh of automatic axes: the cuts of its params, and of their likes.

    What has the shape of an array of params and all names of its path, as the moments of an
    optimizer have, lies as that array does; anything else is whole on every device.
    """

    mesh: Any
    cuts: tuple[Cut, ...] = field(repr=False)

    def spec(self, path: Sequence[str], shape: tuple[int, ...]) -> PartitionSpec:
        """How the array at this path of a State lies."""
        fitting = [c for c in self.cuts if c.shape == shape and is_within(c.path, path)]
        end = tuple(path)
        ending = [c for c in fitting if end[len(end) - len(c.path) :] == c.path]
        longest = max(ending or fitting, key=lambda c: len(c.path), default=None)
        return PartitionSpec() if longest is None else longest.spec

    def shardings(self, tree: PyTree) -> PyTree:
        """The sharding of every array of a State."""

        def leaf(path, a):
            names = [jax.tree_util.keystr((key,), simple=True) for key in path]
            return NamedSharding(self.mesh, self.spec(names, a.shape))

        return jax.tree_util.tree_map_with_path(leaf, tree)

    def laid(self, state: PyTree) -> PyTree:
        """The State, every array in its place."""
        return jax.tree.map(put, state, self.shardings(state))

    def whole(self, tree: PyTree) -> PyTree:
        """Arrays that are whole on every device."""
        return jax.tree.map(lambda a: put(a, NamedSharding(self.mesh, PartitionSpec())), tree)

    def by_rows(self, rows: PyTree) -> PyTree:
        """Rows, cut along "data": as evenly as may be where they are traced, else if it is even."""

        def leaf(a):
            traced = isinstance(a, jax.core.Tracer)
            even = a.ndim and DATA in self.mesh.shape and (traced or not len(a) % self.ways(DATA))
            return put(a, NamedSharding(self.mesh, PartitionSpec(DATA if even else None)))

        return jax.tree.map(leaf, rows)

    def ways(self, axis: str) -> int:
        """The devices along an axis, 1 where there is none of this name."""
        return self.mesh.shape.get(axis, 1)


def layout_of(state: Any) -> Layout | None:
    """The Layout of a State; None where nobody placed it."""
    layout = getattr(state, "layout", None)
    return layout if isinstance(layout, Layout) else None  # arrays of jax 0.12 have one of jax's


def laid(state: Any) -> Any:
    """The State, every array in its place, where it has one."""
    layout = layout_of(state)
    return state if layout is None else layout.laid(state)


def by_rows(state: Any, rows: PyTree) -> PyTree:
    """Rows, cut where the State lies on a mesh."""
    return rows if state.layout is None else state.layout.by_rows(rows)


def on_mesh(f: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """f, traced for the mesh of the State among its arguments; the one that it makes lies there."""
    layout = next(filter(None, map(layout_of, args)), None)
    if layout is None:
        return f(*args, **options)
    with jax.sharding.use_abstract_mesh(layout.mesh.abstract_mesh):
        found = f(*args, **options)
        return jax.tree.map(laid, found, is_leaf=lambda a: layout_of(a) is not None)


def is_within(names: Sequence[str], path: Sequence[str]) -> bool:
    """Whether all names stand in the path, in this order."""
    rest = iter(path)
    return all(name in rest for name in names)


def put(a: Any, sharding: NamedSharding) -> Any:
    """An array, or the shape of one, with this sharding; in every process the same array."""
    if isinstance(a, jax.core.Tracer):
        return jax.lax.with_sharding_constraint(a, sharding)
    if isinstance(a, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding)
    if sharding.is_fully_addressable:
        return jax.device_put(a, sharding)
    if not jnp.asarray(a).is_fully_addressable:
        return jax.jit(lambda a: a, out_shardings=sharding)(a)
    if jnp.issubdtype(a.dtype, jax.dtypes.extended):
        data = put(jax.random.key_data(a), NamedSharding(sharding.mesh, PartitionSpec()))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(a))
    return jax.make_array_from_callback(a.shape, sharding, lambda at: a[at])


def ways(axis: str) -> int:
    """The devices along this axis of the mesh that a program is traced for, if it is automatic."""
    mesh = jax.sharding.get_abstract_mesh()
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    return mesh.shape[axis] if kinds.get(axis) == AxisType.Auto else 1


def whole_rows(value: PyTree) -> PyTree:
    """What goes from block to block: on a mesh, cut along "data" and no other axis."""
    if ways(DATA) == ways(MODEL) == 1:
        return value
    spec = PartitionSpec(DATA if ways(DATA) > 1 else None)
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, spec), value)


def apart(f: Callable[..., Any], *given: tuple[tuple[str, ...], PyTree]) -> Any:
    """f of trees whose first axes are cut along these axes of the mesh, on every device its own.

    What f makes is cut as its first tree is. Along an axis that does not divide all that it should
    cut nothing is.
    """
    axes = {axis for names, _ in given for axis in names if ways(axis) > 1}
    for names, tree in given:
        for i, axis in enumerate(names):
            uneven = any(a.shape[i] % ways(axis) for a in jax.tree.leaves(tree))
            axes -= {axis} if uneven else set()
    if not axes:
        return f(*(tree for _, tree in given))
    specs = [PartitionSpec(*(n if n in axes else None for n in names)) for names, _ in given]
    run = jax.shard_map(
        f, in_specs=tuple(specs), out_specs=specs[0], axis_names=axes, check_vma=False
    )
    return run(*(tree for _, tree in given))


def over_rows(f: Callable[..., Any], rows: PyTree, whole: PyTree) -> Any:
    """f(rows, whole) → (of every row, Σ over rows), every device with rows of its own."""
    n = ways(DATA)
    if n == 1 or any(len(a) % n for a in jax.tree.leaves(rows)):
        return f(rows, whole)

    def local(rows, whole):
        each, sums = f(rows, whole)
        return each, jax.lax.psum(sums, DATA)

    own, same = PartitionSpec(DATA), PartitionSpec()
    how = {"in_specs": (own, same), "out_specs": (own, same), "axis_names": {DATA}}
    return jax.shard_map(local, **how, check_vma=False)(rows, whole)
