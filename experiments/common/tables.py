"""Tables of the user's own: CSV files of numbers, with one column of classes.

    sepal,petal,kind            the first line names the columns
    5.1,1.4,setosa              a line per example
    6.3,,virginica              an empty cell is a missing one

Cells are separated by commas and may be quoted; the text is UTF-8. A number is written with
the digits 0 to 9, a decimal point, a sign, an exponent; nothing else is taken for one: no
nan, no inf, no 1_000, no decimal comma. It is kept in single precision, to about seven
digits. Errors say file:line:column, the column counted in cells.
"""

import io
from array import array
from collections.abc import Iterator, Sequence
from csv import Error, reader
from dataclasses import dataclass
from decimal import Decimal
from math import nan
from pathlib import Path
from typing import NamedTuple, TextIO, cast

import numpy as np
from numpy.typing import NDArray

from experiments.common import bundles, files
from experiments.common.cli import DataError, cut, listed, nearest
from experiments.common.data import Dataset, Rows
from experiments.common.names import Missing

NUMERAL = "0123456789+-.eE"
LARGEST = float(np.finfo(np.float32).max)
NOTHING = {"-", "?", "n/a", "na", "nan", "none", "null"}


@dataclass(frozen=True, eq=False)
class Table(Dataset):
    """A data set whose numbers have names."""

    columns: tuple[str, ...]


class Record(NamedTuple):
    """The cells of one row, and the line that it begins in."""

    line: int
    cells: list[str]


def csv(path: Path, target: str, missing: Missing = "error") -> Table:
    """The rows of a file: 70 % for training, 15 % for validation, 15 % for the test.

    Args:
        path: the file.
        target: the column of classes; all others hold numbers.
        missing: what an empty cell is: an error, a reason to drop its row, or replaced by
            the mean of its column over the training rows.

    Raises:
        DataError: with line and column, for everything that is not such a table.
    """
    records = split_up(path, decoded(path))
    names = header(path, records)
    if target not in names:
        hint = nearest(target, names)
        raise DataError(f"{path}:1: no column {target!r}.{hint} It has {listed(names)}.")
    at = names.index(target)
    x, words = rows_of(path, records, names, at, missing)
    classes, label = classed(words)
    files.check_classes(f"{path}, column {target!r}", classes, label)
    columns = (*names[:at], *names[at + 1 :])
    dataset = bundles.parted("rows", bundles.Classes(Rows(x, label), classes))
    parts = filled(path, dataset, columns)
    return Table(dataset.name, classes, dataset.shape, *parts, columns=columns)


def decoded(path: Path) -> TextIO:
    """The text of a file in UTF-8, without a byte order mark."""
    raw = files.content(path)
    try:
        raw.decode("utf-8-sig")
        return io.TextIOWrapper(io.BytesIO(raw), "utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        # `start` counts from behind the mark
        start = error.start + 3 * raw.startswith(b"\xef\xbb\xbf")
        line, byte = raw.count(b"\n", 0, start) + 1, raw[start]
        message = f"{path}:{line}: byte 0x{byte:02X} at offset {start} is not UTF-8"
        raise DataError(f"{message}; save the table as CSV in UTF-8.") from None


def split_up(path: Path, text: TextIO) -> Iterator[Record]:
    """Every row that is not blank."""
    rows = reader(text, strict=True, skipinitialspace=True)
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except Error as error:
            raise DataError(f"{path}:{line}: {error}; look for a quote in this row.") from None
        if cells not in ([], [""]):
            yield Record(line, cells)


def header(path: Path, records: Iterator[Record]) -> list[str]:
    """The names of the columns: the first row."""
    line, cells = next(records, Record(1, []))
    names = [stripped(cell) for cell in cells]
    where = f"{path}:{line}"
    if names and all(number(name) is not None for name in names if name):
        raise DataError(f"{where}: numbers only, where the names of the columns must stand.")
    if len(names) < 2:
        seen = next((repr(c) for c in ";\t|" if c in "".join(names)), None)
        hint = f"; cells are separated by ',', not {seen}" if seen else ""
        found = f"{len(names)} column{'s' * (len(names) != 1)}"
        raise DataError(f"{where}: {found}, at least 2 are needed: numbers and classes{hint}.")
    first: dict[str, int] = {}
    for i, name in enumerate(names):
        if not name:
            hint = "name it, or take it out if it only counts the rows"
            raise DataError(f"{where}:{i + 1}: this column has no name; {hint}.")
        if first.setdefault(name, i) != i:
            raise DataError(f"{where}:{i + 1}: {cut(name, 40)!r} is column {first[name] + 1} too.")
    return names


def rows_of(
    path: Path, records: Iterator[Record], names: Sequence[str], at: int, missing: Missing
) -> tuple[NDArray[np.float32], list[str]]:
    """The numbers [N, n], NaN where one is missing, and the words in column `at`."""
    numbers, words = array("f"), []
    known: dict[str, str] = {}  # one string for all cells of the same word
    for record in records:
        if len(record.cells) != len(names):
            n = min(len(record.cells), len(names)) + 1
            found = f"{len(record.cells)} cells, the first line names {len(names)}"
            raise DataError(f"{path}:{record.line}:{n}: {found}.")
        cells = [stripped(cell) for cell in record.cells]
        values = [number(cell) for i, cell in enumerate(cells) if i != at]
        if None in values:
            i = values.index(None)
            raise unfit(path, record, i + (i >= at), names)
        if "" in cells:
            if missing == "error" or (missing == "mean" and not cells[at]):
                i = cells.index("") if missing == "error" else at
                raise unfit(path, record, i, names, cannot_be_filled=i == at)
            if missing == "drop":
                continue
        numbers.extend(cast(list[float], values))
        words.append(known.setdefault(cells[at], cells[at]))
    return np.array(numbers, np.float32).reshape(-1, len(names) - 1), words


def stripped(cell: str) -> str:
    """Without blanks around it."""
    return cell.strip(" \t")


def number(cell: str) -> float | None:
    """The number that is written there, NaN for an empty cell, None for anything else."""
    value = written(cell) if cell else nan
    return None if value is not None and abs(value) > LARGEST else value


def written(cell: str) -> float | None:
    """The number, infinite where it is too large, None for anything else."""
    if cell.strip(NUMERAL):  # float takes 1_000, nan, inf and ٣ too
        return None
    try:
        return float(cell)
    except ValueError:
        return None


def unfit(
    path: Path, record: Record, i: int, names: Sequence[str], cannot_be_filled: bool = False
) -> DataError:
    """A message that cell i of a record is empty or not a number: where it is and what to do."""
    before = "".join(record.cells[:i]).replace("\r\n", "\n").replace("\r", "\n")
    where = f"{path}:{record.line + before.count(chr(10))}:{i + 1}"
    cell = stripped(record.cells[i])
    if not cell:
        ways = "--missing drop leaves such rows out"
        ways += "" if cannot_be_filled else ", --missing mean fills in the mean of the column"
        return DataError(f"{where}: {cut(names[i], 40)!r} is empty; {ways}.")
    remedy = "write it as in -1.5e3"
    if cell.lower() in NOTHING:
        remedy = "leave a cell empty where the value is missing"
    elif "," in cell and written(cell.replace(",", ".", 1)) is not None:
        remedy = "write a decimal point, and no commas within numbers"
    elif not cell.isascii() and cell.isdecimal():
        remedy = "write it in the digits 0 to 9"
    elif written(cell) is not None:
        remedy = f"numbers go up to {LARGEST:.1e}"
    name, shown = cut(names[i], 40), cut(cell, 40)
    return DataError(f"{where}: {name!r} must be a number, got {shown!r}; {remedy}.")


def classed(words: Sequence[str]) -> tuple[tuple[str, ...], NDArray[np.int32]]:
    """The different words in order, numbers in that of their values; each word's place."""
    values = {word: exact(word) for word in words}
    keys = {word: word for word in values} if None in values.values() else values
    names = {}
    for word, key in keys.items():
        names.setdefault(key, word)  # 1 and 1.0 are one class, called by the first
    order = {key: i for i, key in enumerate(sorted(names))}
    label = np.array([order[keys[word]] for word in words], np.int32)
    return tuple(names[key] for key in order), label


def exact(word: str) -> Decimal | None:
    """The number without rounding, None for anything else."""
    try:
        return None if number(word) is None else Decimal(word)
    except ArithmeticError:  # an exponent of twenty digits
        return None


def filled(path: Path, dataset: Dataset, columns: Sequence[str]) -> list[Rows]:
    """The parts, with the means over the training rows in place of NaN."""
    known = ~np.isnan(dataset.train.x)
    counts = known.sum(0)
    if not counts.all():
        name = columns[int(counts.argmin())]
        raise DataError(f"{path}: {name!r} is empty in all training rows; take the column out.")
    sums = np.where(known, dataset.train.x, 0).sum(0, dtype=np.float64)
    means = (sums / counts).astype(np.float32)
    return [
        Rows(np.where(np.isnan(rows.x), means, rows.x), rows.label)
        for rows in dataset.parts().values()
    ]
