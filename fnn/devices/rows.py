"""Rows of data on the devices of a State: cut along "data", or whole on every device.

What `step` is given is cut as it comes. `epoch`, `fit` and `evaluate` draw their batches from data
that every device has whole, and cut these. Where several processes run, each is given rows of its
own: they stand side by side, process 0's first, and where some have fewer, rows of weight 0 fill
them up. Streams, whose batches come as they come, and checkpoints are for a process by itself.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.batches import Rows
from fnn.devices.processes import largest
from fnn.sharding import DATA, Layout


def on_devices(layout: Layout | None, rows: Rows, *, cut: bool = False) -> Rows:
    """The rows, of all processes, on the devices; as they are where there is no Layout."""
    if layout is None:
        return rows
    if shared(layout) and not all(map(is_global, jax.tree.leaves(rows))):
        rows = together(layout, rows)
    return layout.by_rows(rows) if cut else layout.whole(rows)


def together(layout: Layout, rows: Rows) -> Rows:
    """The rows of all processes, after one another."""
    most = largest(len(rows.target))
    per = max(layout.ways(DATA) // jax.process_count(), 1)
    size = -(-most // per) * per
    weighed = largest(rows.weights is not None or len(rows.target) < size)  # in all, or in none
    rows = filled(rows, size, weighed=bool(weighed))
    sharding = NamedSharding(layout.mesh, PartitionSpec(DATA))
    return jax.tree.map(
        lambda a: jax.make_array_from_process_local_data(sharding, np.asarray(a)), rows
    )


def filled(rows: Rows, n: int, *, weighed: bool = True) -> Rows:
    """n rows: these, then the first one again, with weight 0."""
    real = len(rows.target)
    if not weighed:
        return rows
    weights = jnp.ones(real) if rows.weights is None else rows.weights
    at = np.where(np.arange(n) < real, np.arange(n), 0)
    x, target, weights = jax.tree.map(lambda a: a[at], (rows.x, rows.target, weights))
    return Rows(x, target, weights.at[real:].set(0))


def shared(layout: Layout) -> bool:
    """Whether several processes have devices of the mesh."""
    return len({d.process_index for d in layout.mesh.devices.flat}) > 1


def is_global(a: Any) -> bool:
    """Whether an array lies on devices of several processes already."""
    return isinstance(a, jax.core.Tracer) or not a.is_fully_addressable


def check_alone(owner: str, layout: Layout | None, what: str, remedy: str) -> None:
    """Raise a NotImplementedError for what only a process by itself does with a State."""
    if layout is not None and shared(layout):
        raise NotImplementedError(f"{owner}: {what} where several processes share it; {remedy}.")
