"""Arrays of which some lie in a file: read row by row, never whole.

Every batch has the rows that it would have if all were on the device, in the same order: that of
the State's key and step.
"""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from fnn.arrays import as_host
from fnn.batches import as_rows, minibatches
from fnn.devices.group import whole
from fnn.one_step import drawn_key
from fnn.records import PyTree
from fnn.streams.windows import Filled

FEW = 64  # rows that are looked at


class Mapped:
    """Batches of rows, from any batch of any epoch on."""

    def __init__(self, owner: str, name: str, data: Any, batch_size: int, drop_last: bool = False):
        """With the rows in their order until `starts` says otherwise."""
        self.rows = as_rows(owner, name, data, unread)
        self.n, self._key = len(self.rows.target), None
        if self.n == 0:
            raise ValueError(f"{owner}: empty batch, the {name} have no rows.")
        self._size, self._drops = min(batch_size, self.n), drop_last

    def some(self) -> PyTree:
        """A few rows, by which a file is told from another one."""
        rows = np.unique(np.linspace(0, self.n - 1, FEW).astype(int))
        return jax.tree.map(lambda a: np.asarray(a[rows]), self.rows)

    def starts(self, state: Any, batch: int) -> None:
        """The State behind so many batches of an epoch, which says its order."""
        if state.key is not None:
            self._key = whole(drawn_key(state._replace(step=state.step - batch), 1))

    def batches(self, epoch: int, begin: int = 0) -> Iterator[Filled]:
        """The batches of an epoch from this one on, the last one filled up."""
        chosen, real = order(self._key, self.n, self._size, self._drops)
        for i in range(begin, len(chosen)):
            rows = jax.tree.map(lambda a, i=i: a[chosen[i]], self.rows)
            yield Filled(rows, np.ones(self._size, bool) if real is None else real[i])


def unread(owner: str, name: str, a: Any) -> Any:
    """A memory-mapped array as it is, anything else in the host's memory."""
    return a if isinstance(a, np.memmap) else as_host(owner, name, a)


def order(key: Any, n: int, size: int, drop_last: bool) -> Any:
    """The rows of every batch and which of them count, in the host's memory."""
    return jax.device_get(_jit_minibatches(n, size, key, drop_last))


_jit_minibatches = jax.jit(minibatches, static_argnums=(0, 1, 3))
