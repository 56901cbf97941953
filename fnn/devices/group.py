"""The processes that train one State together, and what they must agree on.

    group = group_of(state.layout)
    group.agreed(n)            what process 0 says
    group.largest(n)           the largest that any says
    group.of_all(said)         what every process says, in JSON
    group.on_host(tree)        arrays whole, in the memory of each host
    group.each_does(what, f)   every process does something, and an error of one is one of all
    group.first_does(what, f)  process 0 alone does

All of them ask, in the same order. Of a State that one process has, nobody waits for anybody.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from fnn.devices.processes import is_first, wait
from fnn.records import PyTree
from fnn.sharding import Layout, put

PATIENCE = 600.0  # seconds that a process waits for what another one does


class Elsewhere(RuntimeError):  # noqa: N818
    """What this process would do next failed in another one."""


class Group(NamedTuple):
    """One process, or several."""

    several: bool

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return is_first() or not self.several

    @property
    def size(self) -> int:
        """How many processes there are."""
        return jax.process_count() if self.several else 1

    def numbers(self, value: Any) -> np.ndarray:
        """An integer of every process."""
        if not self.several:
            return np.asarray([value])
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(np.asarray(value))).reshape(-1)

    def largest(self, value: Any) -> int:
        """The largest integer that any process says."""
        return int(self.numbers(value).max())

    def agreed(self, value: Any) -> int:
        """The integer that process 0 says."""
        return int(self.numbers(value)[0])

    def of_all(self, said: Any) -> list[Any]:
        """What every process says in JSON."""
        if not self.several:
            return [said]
        from jax.experimental import multihost_utils

        data = np.frombuffer(json.dumps(said).encode(), np.uint8)
        lengths = self.numbers(len(data))
        padded = np.pad(data, (0, lengths.max() - len(data)))
        found = np.asarray(multihost_utils.process_allgather(padded)).reshape(self.size, -1)
        return [json.loads(bytes(row[:n])) for row, n in zip(found, lengths, strict=True)]

    def check_same(self, what: str, said: Callable[[], str]) -> None:
        """Raise a ValueError where processes do not say the same of what all were given."""
        if self.several and not same(self.of_all(said())):
            raise ValueError(f"{what} must be the same in all {self.size} processes.")

    def own(self, said: list[Any]) -> Any:
        """What this process said, of what so many processes did.

        Raises:
            ValueError: where they were others, and did not all say the same.
        """
        if same(said):
            return said[0]
        if len(said) != self.size:
            raise ValueError(f"it was said by {len(said)} processes, here are {self.size}")
        return said[jax.process_index()]

    def on_host(self, tree: PyTree) -> PyTree:
        """The arrays as numpy's, keys as they are; whole, where each process has a part of them."""
        for a in jax.tree.leaves(tree):
            if isinstance(a, jax.Array) and a.is_fully_addressable:
                a.copy_to_host_async()  # all at once
        return jax.tree.map(whole, tree)

    def first_does(self, what: str, f: Callable[[], Any]) -> Any:
        """f() in process 0, None in the others, when it is done; errors as of each_does."""
        return self.each_does(what, f if self.first else lambda: None)

    def each_does(self, what: str, f: Callable[[], Any]) -> Any:
        """f() in every process; where it fails in one, it fails in all.

        Raises:
            Elsewhere: where f failed in another process.
            TimeoutError: where it takes longer than PATIENCE in one.
        """
        if not self.several:
            return f()
        value, error = None, None
        try:
            value = f()
        except Exception as failed:
            error = failed
        wait(what, timeout=PATIENCE)
        failed = self.numbers(error is not None)
        if error is not None:
            raise error
        if failed.any():
            where = int(failed.argmax())
            raise Elsewhere(f"{what}: failed in process {where}, whose error says why.")
        return value


def group_of(layout: Layout | None) -> Group:
    """The processes that have devices of a mesh."""
    if layout is None:
        return Group(False)
    return Group(len({d.process_index for d in layout.mesh.devices.flat}) > 1)


def same(values: list[Any]) -> bool:
    """Whether all are the first one."""
    return all(value == values[0] for value in values)


def whole(a: Any) -> Any:
    """An array as numpy's, whole; a key as it is, whole on a device of this process."""
    a = here(a)
    return a if jnp.issubdtype(a.dtype, jax.dtypes.extended) else jax.device_get(a)


def here(a: Any) -> Any:
    """An array, whole and of this process alone, where several have it; all of them ask."""
    if isinstance(a, jax.Array) and not a.is_fully_addressable:
        if not a.is_fully_replicated:
            sharding: Any = a.sharding
            a = put(a, NamedSharding(sharding.mesh, PartitionSpec()))
        a = a.addressable_data(0)
    return a
