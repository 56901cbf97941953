"""Epochs on the host: a loop over rows of history, to the last or until a callback stops it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.devices.group import Group, group_of
from fnn.plan import State
from fnn.records import PyTree
from fnn.sharding import layout_of
from fnn.stopping import EarlyStopping


def by_epochs(
    epoch: Callable[[State], tuple[State, PyTree]],
    state: State,
    callback: Any,
    stop: EarlyStopping | None,
    epochs: int,
) -> tuple[State, PyTree]:
    """(State, history) of epoch(state) → (state, row), so often, or until callback or stop end it.

    The State is the last one, or that of the best epoch, where `stop` keeps it.
    """
    history, over, group = [], False, group_of(layout_of(state))
    best: Any = None
    while len(history) < epochs and not over:
        state, row = epoch(state)
        row = group.on_host(row)  # nothing on the device grows with the epochs
        history.append(row)
        over = stops(group, callback, state, row)
        if stop is not None:
            ended, best = stop.looked(history, state, best)
            over = over or ended
    state = best if stop is not None and stop.best else state
    return state, jax.tree.map(jnp.asarray, stacked(history))


def stops(group: Group, callback: Any, state: State, row: PyTree) -> bool:
    """Whether the callback ends the training, in any process; where it fails in one all end."""

    def said():
        return callback is not None and bool(callback(state, plain(row)))

    return bool(group.largest(group.each_does("fit: the callback", said)))


def plain(row: PyTree) -> PyTree:
    """A row with Python's numbers where it has numbers."""
    return jax.tree.map(lambda v: v.item() if v.ndim == 0 else v, row)


def stacked(rows: Sequence[PyTree]) -> PyTree:
    """Rows of history as arrays [epochs, ...], numpy's where all are.

    Epochs of a stream may differ in their steps: shorter ones end in NaN, 0 of integers, as what
    was not watched.
    """

    def leaf(*values):
        most = max(v.shape[:1] for v in values)
        same = [longer(v, *most) for v in values]
        return (jnp if any(isinstance(v, jax.Array) for v in same) else np).stack(same)

    return jax.tree.map(leaf, *rows)


def longer(a: Any, *length: int) -> Any:
    """An array with as many entries on its first axis; one number as it is."""
    missing = [(0, n - len(a)) for n in length]
    if not any(more for _, more in missing):
        return a
    filler = np.nan if jnp.issubdtype(a.dtype, jnp.floating) else 0
    pad = jnp.pad if isinstance(a, jax.Array) else np.pad
    return pad(a, missing + [(0, 0)] * (a.ndim - 1), constant_values=filler)
