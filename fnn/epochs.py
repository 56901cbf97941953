"""Epochs on the host: a loop over rows of history, to the last or until a callback stops it."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.plan import State
from fnn.records import PyTree


def by_epochs(
    epoch: Callable[[State], tuple[State, PyTree]],
    state: State,
    callback: Any,
    stop: Any,
    epochs: int,
) -> tuple[State, PyTree]:
    """(State, history) of epoch(state) → (state, row), so often, or until one of them ends it."""
    history, over = [], False
    best: Any = None
    while len(history) < epochs and not over:
        state, row = epoch(state)
        history.append(row)
        over = callback is not None and callback(state, plain(row))
        if stop is not None:
            ended, best = stop.looked(history, state, best)
            over = over or ended
    return best if stop is not None and stop.best else state, stacked(history)


def plain(row: PyTree) -> PyTree:
    """A row with Python's numbers where it has numbers."""
    return jax.tree.map(lambda v: v.item() if v.ndim == 0 else v, row)


def stacked(rows: Sequence[PyTree], to: Any = jnp) -> PyTree:
    """Rows of history as arrays [epochs, ...] of JAX's or, to=np, of numpy's.

    Epochs of a stream may differ in their steps: shorter ones end in NaN, 0 of integers, as what
    was not watched.
    """

    def leaf(*values):
        most = max(v.shape[:1] for v in values)
        return to.stack([longer(v, *most, to=to) for v in values])

    return jax.tree.map(leaf, *rows)


def longer(a: Any, *length: int, to: Any = jnp) -> Any:
    """An array with as many entries on its first axis; one number as it is."""
    missing = [(0, n - len(a)) for n in length]
    if not any(more for _, more in missing):
        return a
    filler = np.nan if jnp.issubdtype(a.dtype, jnp.floating) else 0
    return to.pad(a, missing + [(0, 0)] * (a.ndim - 1), constant_values=filler)
