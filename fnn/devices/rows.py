"""Rows of data on the devices of a State: cut along "data", or whole on every device.

What `step` is given is cut as it comes. `epoch`, `fit` and `evaluate` draw their batches from data
that every device has whole, and cut these. Where several processes run, each is given rows of its
own: they stand side by side, process 0's first, and where some have fewer, rows of weight 0 fill
them up, of which a layer that mixes examples knows nothing: it wants equally many.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.batches import Rows
from fnn.composite import mixes
from fnn.devices.group import Group, group_of
from fnn.layer import Layer
from fnn.sharding import DATA, Layout


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
        check_even(owner, group, net, len(rows.target))
        rows = together(layout, group, rows)
    return layout.by_rows(rows) if cut else layout.whole(rows)


def together(layout: Layout, group: Group, rows: Rows) -> Rows:
    """The rows of all processes, after one another."""
    size = even(layout, group, len(rows.target))
    weighed = group.largest(rows.weights is not None or len(rows.target) < size)  # in all, or none
    rows = filled(rows, size, weighed=bool(weighed))
    sharding = NamedSharding(layout.mesh, PartitionSpec(DATA))
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), rows
    )


def even(layout: Layout, group: Group, n: int) -> int:
    """The rows of a process where this one has n: the most, and for every device equally many.

    Raises:
        NotImplementedError: where not every process has a part of the batch.
    """
    per, rest = divmod(layout.ways(DATA), group.size)
    if rest or not per:
        raise NotImplementedError(
            f"the mesh cuts a batch into {layout.ways(DATA)} parts, which {group.size} processes "
            f"do not share evenly; make it with data={group.size} or a multiple."
        )
    return -(-group.largest(n) // per) * per


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


def check_even(owner: str, group: Group, net: Layer[Any, Any], n: int) -> None:
    """Raise where rows would fill up the fewer ones of a process that a layer knows nothing of."""
    if not mixes(net):
        return
    rows = group.numbers(n)
    if len({*rows}) > 1:
        raise ValueError(
            f"{owner}: the {group.size} processes have {', '.join(map(str, rows))} rows; rows that "
            "fill up would count in the statistics of layers that mix examples (BatchNorm): give "
            "all equally many."
        )


def check_alone(owner: str, layout: Layout | None, what: str, remedy: str) -> None:
    """Raise a NotImplementedError for what only a process by itself does with a State."""
    if group_of(layout).several:
        raise NotImplementedError(f"{owner}: {what} where several processes share it; {remedy}.")
