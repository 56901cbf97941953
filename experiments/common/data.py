"""Data sets: rows split once and for all, and their standardisation.

Those that are installed with scikit-learn are in bundles.py, readers of the user's own
files in idx.py and tables.py; `split` and `Standardizer` serve them all.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Rows(NamedTuple):
    """Examples and their classes."""

    x: Floats  # [N, n], or [N, H, W, 1] where neighbours count
    label: NDArray[np.int32]  # [N]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Rows to learn from, to choose settings by, and to judge the result by."""

    name: str
    classes: tuple[str, ...]
    shape: tuple[int, ...]  # of one example: its n numbers are an array of this shape
    train: Rows
    validation: Rows
    test: Rows

    def parts(self) -> dict[str, Rows]:
        """The three by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class Standardizer(NamedTuple):
    """z = (x − mean) / std; where x is constant, std is recorded as 1 and z is 0."""

    mean: Floats  # of the shape of an example
    std: Floats  # the same

    @classmethod
    def of(cls, x: Floats) -> "Standardizer":
        """With the statistics of these rows, [N, n]."""
        constant = (x == x[0]).all(0)
        mean = np.where(constant, x[0], x.mean(0, dtype=np.float64))
        least = np.finfo(np.float32).tiny  # what is less may be 0 in single precision
        std = np.where(constant, 1, np.maximum(x.std(0, dtype=np.float64), least))
        return cls(mean.astype(np.float32), std.astype(np.float32))

    @classmethod
    def alike(cls, x: Floats) -> "Standardizer":
        """With one mean and one std for all entries of these rows, [N, ...].

        So a thing looks the same wherever it is in an image.
        """
        mean, std = x.mean(dtype=np.float64), x.std(dtype=np.float64) or 1.0
        return cls(*(np.full(x.shape[1:], a, np.float32) for a in (mean, std)))

    def __call__(self, x: Floats) -> Floats:
        """z, in the shape of x."""
        return (x - self.mean) / self.std


def split(rows: Rows, shares: tuple[float, ...], seed: int) -> list[Rows]:
    """Disjoint random parts of these shares, with every class divided in the same proportions."""
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in shares]
    for label in np.unique(rows.label):
        members = rng.permutation(np.flatnonzero(rows.label == label))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for part, chosen in zip(parts, np.split(members, cuts), strict=True):
            part.append(chosen)
    orders = [rng.permutation(np.concatenate(part)) for part in parts]
    return [Rows(rows.x[order], rows.label[order]) for order in orders]
