"""The data sets that scikit-learn brings along, read from its files; it is not imported.

    digits          1,797 × 64    ten classes         Alpaydin & Kaynak (1998)
    breast_cancer     569 × 30    two classes         Street, Wolberg & Mangasarian (1993)
    wine              178 × 13    three classes       Aeberhard & Forina (1992)
    iris              150 × 4     three classes       Fisher (1936)
    diabetes          442 × 10    a number            Efron, Hastie, Johnstone & Tibshirani (2004)

Source: the first four, UCI Machine Learning Repository; the last, Annals of Statistics 32.
"""

import functools
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.common.cli import DATA, UserError
from experiments.common.data import Dataset, Floats, Rows, Standardizer, split


class Classes(NamedTuple):
    """All rows of a data set for classification."""

    rows: Rows
    names: tuple[str, ...]  # of the classes


class Numbers(NamedTuple):
    """All rows of a data set for regression."""

    x: Floats  # [N, n]
    target: NDArray[np.float32]  # [N]


@functools.cache
def digits() -> Dataset:
    """Handwritten digits, 8 × 8 pixels of 0 to 16.

    70 % are for training, 15 % for validation, 15 % for the test, always the same.
    """
    return parted("digits", table("digits.csv.gz", tuple("0123456789")), (8, 8))


def first_digits(n: int) -> Rows:
    """The first n training digits, standardised by all of them."""
    train = digits().train
    return Rows(Standardizer.of(train.x)(train.x)[:n], train.label[:n])


def breast_cancer() -> Classes:
    """Measurements of cell nuclei; malignant (0) or benign (1)."""
    return table("breast_cancer.csv", ("malignant", "benign"), header=1)


def wine() -> Classes:
    """Chemical analyses of wines of three growers."""
    return table("wine_data.csv", ("grower 1", "grower 2", "grower 3"), header=1)


def iris() -> Classes:
    """Lengths and widths of sepals and petals, cm."""
    return table("iris.csv", ("setosa", "versicolor", "virginica"), header=1)


def diabetes() -> Numbers:
    """Age, sex, body mass index, blood pressure, six serum values; the disease a year later."""
    x = np.loadtxt(bundled("sklearn", "datasets/data/diabetes_data_raw.csv.gz"), np.float32)
    target = np.loadtxt(bundled("sklearn", "datasets/data/diabetes_target.csv.gz"), np.float32)
    return Numbers(x, target)


def table(file: str, names: tuple[str, ...], header: int = 0) -> Classes:
    """A file of numbers whose last column is the class."""
    path = bundled("sklearn", f"datasets/data/{file}")
    numbers = np.loadtxt(path, np.float32, delimiter=",", skiprows=header)
    return Classes(Rows(numbers[:, :-1], numbers[:, -1].astype(np.int32)), names)


def parted(name: str, classes: Classes, shape: tuple[int, ...] | None = None) -> Dataset:
    """70 % for training, 15 % for validation, 15 % for the test, always the same."""
    shape = shape or classes.rows.x.shape[1:]
    train, validation, test = split(classes.rows, (0.70, 0.15, 0.15), seed=0)
    return Dataset(name, classes.names, shape, train, validation, test)


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
