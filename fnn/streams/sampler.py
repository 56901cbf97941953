"""Sampler: batches of rows that anything can read, in an order of their own in every epoch.

    order_e = a permutation of 0, …, n − 1, drawn from (seed, e)
    batch i of epoch e = read(order_e[i B : (i + 1) B])

The order follows from the numbers alone, so that a run goes on from any batch of any epoch.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fnn.records import Record


@dataclass(frozen=True)
class Sampler(Record):
    """A stream of batches that `read` makes of the numbers of their rows.

        table = np.load("x.npy", mmap_mode="r")
        batches = fnn.Sampler(lambda rows: (table[rows], target[rows]), len(table), 256)

    Args:
        read: a function of rows, integers [B], → (x, target) or (x, target, weights).
        n: how many rows there are.
        batch_size: rows of a batch; the last one of an epoch has those that are left.
        seed: of the order; None: rows keep theirs.
        drop_last: leave the rows of an incomplete last batch out.

    Raises:
        TypeError: for what is no function, no integer.
        ValueError: for numbers below 1, a seed below 0, a last batch alone that is left out.
    """

    read: Callable[[np.ndarray], Any]
    n: int
    batch_size: int
    seed: int | None = 0
    drop_last: bool = False

    def __post_init__(self):
        """Check every field."""
        super().__post_init__()
        for name, least in (("n", 1), ("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"Sampler: {name} must be at least {least}, got {value}.")
        if self.drop_last and self.n < self.batch_size:
            raise ValueError(
                f"Sampler: batch_size must be at most n, {self.n}, where incomplete batches are "
                f"left out, got {self.batch_size}."
            )

    def batches(self, epoch: int = 0, begin: int = 0) -> Iterator[Any]:
        """The batches of an epoch, from this one on."""
        order = np.arange(self.n)
        if self.seed is not None:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.n)
        end = self.n - self.n % self.batch_size if self.drop_last else self.n
        for i in range(begin * self.batch_size, end, self.batch_size):
            yield self.read(order[i : min(i + self.batch_size, end)])
