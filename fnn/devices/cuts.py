"""Where arrays of params are cut: whole, along "data" (FSDP), along "model", or as somebody says.

Every way takes the arrays with what is cut of each already, an axis of the mesh or None for each
of its own, and cuts further.
"""

import difflib
import fnmatch
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jax.sharding import PartitionSpec

from fnn.composite import Composite
from fnn.devices.columns import columns
from fnn.layer import Layer
from fnn.layers.repeat import Repeat
from fnn.records import PyTree
from fnn.sharding import DATA, MODEL, Cut

LARGE = 2**12  # entries of an array, copies of a Repeat one by one, that fsdp cuts


class Entry(NamedTuple):
    """An array of params."""

    path: tuple[str, ...]
    shape: tuple[int, ...]
    stacked: int  # first axes that are copies of Repeats
    axes: tuple[Any, ...]  # what each axis is cut along

    @property
    def name(self) -> str:
        """The path as it is written."""
        return ".".join(self.path)


def cuts_of(net: Layer[Any, Any], params: PyTree, mesh: Any, how: Any) -> tuple[Cut, ...]:
    """The cuts of all params, as fnn.devices.place describes them."""
    entries = entries_of(net, params)
    for one in how if type(how) is tuple else (how,):
        if isinstance(one, Mapping):
            entries = as_said(entries, mesh, one)
        elif isinstance(one, str) and one in WAYS:
            entries = WAYS[one](net, entries, mesh)
        else:
            raise ValueError(
                f"place: how must be one of {', '.join(WAYS)}, a dict of path → PartitionSpec, or "
                f"a tuple of these, got {one!r:.60}."
            )
    return tuple(Cut(e.path, e.shape, PartitionSpec(*e.axes)) for e in entries)


def entries_of(net: Layer[Any, Any], params: PyTree) -> list[Entry]:
    """All arrays of params, nowhere cut."""
    depths = jax.tree.leaves(depth_of(net, params, 0))
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    return [
        Entry(names(path), a.shape, n, (None,) * len(a.shape))
        for (path, a), n in zip(leaves, depths, strict=True)
    ]


def names(path: tuple[Any, ...]) -> tuple[str, ...]:
    """A key path of JAX's as texts."""
    return tuple(jax.tree_util.keystr((key,), simple=True) for key in path)


def depth_of(net: Layer[Any, Any], params: PyTree, depth: int) -> PyTree:
    """How many Repeats stand around every array."""
    depth += isinstance(net, Repeat)
    if not isinstance(net, Composite):
        return jax.tree.map(lambda _: depth, params)
    parts = net.parts(params)
    return net.joined({name: depth_of(net[name], part, depth) for name, part in parts.items()})


def replicated(net: Any, entries: list[Entry], mesh: Any) -> list[Entry]:
    """Everything whole on every device."""
    return entries


def fsdp(net: Any, entries: list[Entry], mesh: Any) -> list[Entry]:
    """Every large array along "data", on the largest axis that it divides, no copies of Repeats."""
    n = devices(mesh, DATA)

    def cut(e):
        free = [i for i in range(e.stacked, len(e.shape)) if e.axes[i] is None]
        free = [i for i in free if e.shape[i] % n == 0]
        if not free or math.prod(e.shape[e.stacked :]) < LARGE:
            return e
        return along(e, max(free, key=lambda i: e.shape[i]), DATA)

    return [cut(e) for e in entries]


def tensor(net: Layer[Any, Any], entries: list[Entry], mesh: Any) -> list[Entry]:
    """The products of transformers and MLPs along "model", in pairs: columns, then rows."""
    n, found = devices(mesh, MODEL), columns(net)
    if not found:
        raise ValueError(
            f"place: 'tensor' finds no attention, GLU or pair of Dense layers in {net!r:.60}; take "
            "'fsdp', or say paths."
        )

    def cut(e):
        if (place := found.get(e.path)) is None:
            return e
        i = len(e.shape) + place.axis
        if place.units(e.shape[i]) % n == 0:
            return along(e, i, MODEL)
        if place.needed:
            raise ValueError(
                f"place: {place.what} of {e.name} must be a multiple of the {n} devices along "
                f"'{MODEL}', got {place.units(e.shape[i])}."
            )
        return e

    return [cut(e) for e in entries]


def as_said(entries: list[Entry], mesh: Any, said: Mapping[str, Any]) -> list[Entry]:
    """Arrays whose paths are in `said`, or match a pattern of it, as it says."""
    for pattern, spec in said.items():
        chosen = [e for e in entries if fnmatch.fnmatchcase(e.name, pattern)]
        if not chosen:
            near = difflib.get_close_matches(pattern, [e.name for e in entries], 1)
            hint = f"; did you mean {near[0]!r}?" if near else "; fnn.summary lists the layers."
            raise ValueError(f"place: no array of params is at {pattern!r}{hint}")
        entries = [cut_as(e, mesh, spec) if e in chosen else e for e in entries]
    return entries


def cut_as(e: Entry, mesh: Any, spec: Any) -> Entry:
    """The array, cut by a PartitionSpec, which must fit it."""
    axes = tuple(spec)
    if len(axes) > len(e.shape):
        raise ValueError(
            f"place: {e.name} has {len(e.shape)} axes, {list(e.shape)}, and a spec of {len(axes)}."
        )
    axes += (None,) * (len(e.shape) - len(axes))
    for i, axis in enumerate(axes):
        along_all = (axis,) if isinstance(axis, str) else axis or ()
        n = math.prod(devices(mesh, name) for name in along_all)
        if e.shape[i] % n:
            raise ValueError(
                f"place: axis {i} of {e.name}, {list(e.shape)}, must be a multiple of the {n} "
                f"devices along {axis!r}."
            )
    return e._replace(axes=axes)


def along(e: Entry, i: int, axis: str) -> Entry:
    """The array, cut on its axis i."""
    return e._replace(axes=(*e.axes[:i], axis, *e.axes[i + 1 :]))


def devices(mesh: Any, axis: str) -> int:
    """How many there are along this axis of the mesh."""
    if axis not in mesh.shape:
        there = ", ".join(map(repr, mesh.axis_names))
        raise ValueError(f"place: the mesh has no axis {axis!r}, it has {there}.")
    return mesh.shape[axis]


WAYS: Mapping[str, Any] = {"replicated": replicated, "fsdp": fsdp, "tensor": tensor}
