"""Rows of data on the devices of a State: cut along "data", or whole on every device.

What `step` is given is cut as it comes. `epoch`, `fit` and `evaluate` draw their batches from data
that every device has whole, and cut these. Where several processes run, each is given rows of its
own: they stand side by side, process 0's first, and where some have fewer, rows of weight 0 fill
them up. A layer that mixes examples would count these: for such a net all have equally many.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.batches import Rows
from fnn.composite import mixes
from fnn.devices.group import Group, group_of, same
from fnn.layer import Layer
from fnn.sharding import DATA, Layout

MIXES = (
    "rows that fill up would count in the statistics of layers that mix examples (BatchNorm): give "
    "all equally many."
)


def on_devices(
    owner: str, layout: Layout | None, net: Layer[Any, Any], rows: Rows, *, cut: bool = False
) -> Rows:
    """The rows, of all processes, on the devices; as they are where there is no Layout.

    Raises:
        ValueError: where processes have unlike numbers of rows, and the net mixes them.
    """
    if layout is None:
        return rows
    group = group_of(layout)
    if group.several and not all(map(is_global, jax.tree.leaves(rows))):
        rows = together(owner, layout, group, rows, mixes(net))
    return layout.by_rows(rows) if cut else layout.whole(rows)


def together(owner: str, layout: Layout, group: Group, rows: Rows, mixed: bool) -> Rows:
    """The rows of all processes, after one another; `mixed`: whether a layer mixes them."""
    forms = [[str(a.dtype), *a.shape[1:]] for a in jax.tree.leaves((rows.x, rows.target))]
    forms += [[] if rows.weights is None else [*rows.weights.shape[1:]]]
    told = group.of_all([len(rows.target), rows.weights is not None, forms])
    counts, weighed, forms = zip(*told, strict=True)
    check_alike(owner, counts, forms, mixed)
    size = even(layout, group, max(counts))
    rows = filled(rows, size, weighed=any(weighed) or {*counts} != {size})  # in all, or in none
    sharding = NamedSharding(layout.mesh, PartitionSpec(DATA))
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), rows
    )


def check_alike(owner: str, counts: tuple[int, ...], forms: Any, mixed: bool) -> None:
    """Raise in all processes for rows of one that do not go with those of the others."""
    if not same(forms):
        raise ValueError(
            f"{owner}: dtypes and shapes behind the rows must be the same in all processes, got "
            f"{' and '.join(map(str, forms))}."
        )
    if 0 in counts:
        raise ValueError(f"{owner}: empty batch, process {counts.index(0)} has no rows.")
    if mixed and len({*counts}) > 1:
        raise ValueError(
            f"{owner}: the {len(counts)} processes have {', '.join(map(str, counts))} rows; {MIXES}"
        )


def even(layout: Layout, group: Group, n: int) -> int:
    """The rows of a process where the most are n: for every device equally many.

    Raises:
        NotImplementedError: where not every process has a part of the batch, in their order.
    """
    axis = layout.mesh.axis_names.index(DATA) if DATA in layout.mesh.axis_names else None
    devices = layout.mesh.devices.reshape(1, -1) if axis is None else layout.mesh.devices
    parts = np.moveaxis(devices, axis or 0, 0).reshape(layout.ways(DATA), -1)
    owners = [{d.process_index for d in part} for part in parts]
    per = max(len(owners) // group.size, 1)
    if owners != [{i} for i in range(group.size) for _ in range(per)]:
        raise NotImplementedError(
            f"the mesh must cut a batch among the {group.size} processes, in their order, equally "
            f"many parts for each; fnn.devices.mesh(data={group.size}), or a multiple, does."
        )
    return -(-n // per) * per


def filled(rows: Rows, n: int, *, weighed: bool = True) -> Rows:
    """n rows: these, then the first one again, with weight 0."""
    real = len(rows.target)
    if not weighed:
        return rows
    weights = jnp.ones(real) if rows.weights is None else rows.weights
    at = np.where(np.arange(n) < real, np.arange(n), 0)
    x, target, weights = jax.tree.map(lambda a: a[at], (rows.x, rows.target, weights))
    return Rows(x, target, weights.at[real:].set(0))


def is_global(a: Any) -> bool:
    """Whether an array lies on devices of several processes already."""
    return isinstance(a, jax.core.Tracer) or not a.is_fully_addressable


def check_alone(owner: str, layout: Layout | None, what: str, remedy: str) -> None:
    """Raise a NotImplementedError for what only a process by itself does with a State."""
    if group_of(layout).several:
        raise NotImplementedError(f"{owner}: {what} where several processes share it; {remedy}.")
