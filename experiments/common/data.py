"""Data sets: rows split once and for all, and their standardisation.

A reader is a function that returns a Dataset; `split` and `Standardizer` serve them all.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.common.cli import DATA, UserError

Floats = NDArray[np.float32]


class Rows(NamedTuple):
    """Examples and what they are."""

    x: Floats  # [N, n]
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

    mean: Floats  # [n]
    std: Floats  # [n]

    @classmethod
    def of(cls, x: Floats) -> "Standardizer":
        """With the statistics of these rows, [N, n]."""
        constant = (x == x[0]).all(0)
        mean = np.where(constant, x[0], x.mean(0, dtype=np.float64))
        std = np.where(constant, 1, x.std(0, dtype=np.float64))
        return cls(mean.astype(np.float32), std.astype(np.float32))

    def __call__(self, x: Floats) -> Floats:
        """z, [N, n]."""
        return (x - self.mean) / self.std


def digits() -> Dataset:
    """1,797 handwritten digits, 8 × 8 pixels of 0 to 16, bundled with scikit-learn.

    70 % are for training, 15 % for validation, 15 % for the test, always the same.
    Source: Alpaydin & Kaynak (1998), UCI Machine Learning Repository, "Optical
    Recognition of Handwritten Digits".
    """
    table = np.loadtxt(bundled("sklearn", "datasets/data/digits.csv.gz"), np.float32, delimiter=",")
    rows = Rows(table[:, :-1], table[:, -1].astype(np.int32))
    train, validation, test = split(rows, (0.70, 0.15, 0.15), seed=0)
    return Dataset("digits", tuple("0123456789"), (8, 8), train, validation, test)


def bundled(package: str, path: str) -> Path:
    """A file that an installed package brings along; nothing is imported for it.

    Raises:
        UserError: where the package or the file is missing.
    """
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    raise UserError(f"the package {package} with its file {path} is not installed.", DATA)


def split(rows: Rows, shares: tuple[float, ...], seed: int) -> list[Rows]:
    """Disjoint random parts of these shares, with every class shared out alike."""
    rng = np.random.default_rng(seed)
    parts: list[list[NDArray[np.intp]]] = [[] for _ in shares]
    for label in np.unique(rows.label):
        members = rng.permutation(np.flatnonzero(rows.label == label))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(int)
        for part, chosen in zip(parts, np.split(members, cuts), strict=True):
            part.append(chosen)
    orders = [rng.permutation(np.concatenate(part)) for part in parts]
    return [Rows(rows.x[order], rows.label[order]) for order in orders]
