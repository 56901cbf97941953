"""What the readers of the user's own files share: files that are there, rows that suffice.

A file may be as long as it says and hold next to nothing, so that no size proves itself. None
is read that has, or unpacks to, more than 500 MB; the environment variable FNN_MAX_BYTES
says another number. One that is memory-mapped may have any size.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from experiments.common.cli import DataError, cut, nearest, number
from fnn.files import PARTIAL

FEWEST = 6  # rows of a class, so that `split` gives some to each part
LIMIT, MAX_BYTES = "FNN_MAX_BYTES", 500_000_000


def existing(path: Path, *, mapped: bool = False) -> Path:
    """`path`, if it is a file that is neither empty nor, where it is not mapped, too large."""
    with reading(path):
        if path.is_dir():
            raise DataError(f"{path} is a folder; name a file.")
        if not path.is_file():
            raise DataError(absent("file", path))
        size = path.stat().st_size
        if size == 0:
            raise DataError(f"{path} is empty: 0 bytes.")
        if not mapped:
            check_size(path, size)
    return path


def content(path: Path) -> bytes:
    """What is in a file."""
    with reading(existing(path)), path.open("rb") as file:
        data = file.read(limit() + 1)
    check_size(path, len(data))  # it may have grown
    return data


def limit() -> int:
    """How many bytes a file may have."""
    text = os.environ.get(LIMIT)
    return MAX_BYTES if text is None else int(number(LIMIT, int, text))


def check_size(path: Path, size: int) -> None:
    """Raise a DataError for a file of more bytes than are read."""
    if size > limit():
        raise DataError(
            f"{path} takes {size} bytes; at most {limit()} are read. Where there is memory for "
            f"ten times as many, set {LIMIT}={size} before the command."
        )


def folder(path: Path) -> Path:
    """`path`, if it is a folder."""
    with reading(path):
        if path.exists() and not path.is_dir():
            raise DataError(f"{path} is a file; name the folder.")
        if not path.is_dir():
            raise DataError(absent("folder", path))
    return path


def absent(what: str, path: Path) -> str:
    """A message that there is no such file or folder, and which one has a similar name."""
    if path.parent != path and not path.parent.is_dir():
        return absent("folder", path.parent)
    if path.exists():
        return f"{path} is not a {what}; name one."
    near = [
        name
        for name in names_in(path.parent)
        if (path.parent / name).is_dir() == (what == "folder")
    ]
    return f"there is no {what} {path}.{nearest(path.name, near)}"


def names_in(path: Path) -> list[str]:
    """The names of what is in a folder, sorted, without files that are half written."""
    return sorted(p.name for p in path.iterdir() if p.suffix != PARTIAL)


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Tell what the system says against reading this path."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def check_classes(where: str, classes: Sequence[str], label: np.ndarray) -> None:
    """Raise a DataError unless there are two classes, each with rows for every part."""
    n, counts = len(label), np.bincount(label, minlength=len(classes))
    if n < 2 * FEWEST:
        raise DataError(
            f"{where}: {n} row{'s' * (n != 1)}; at least {2 * FEWEST} are needed, "
            f"two classes of {FEWEST}."
        )
    if len(classes) < 2:
        only = cut(classes[0], 40)
        raise DataError(f"{where}: all {n} rows have the class {only!r}; two are needed.")
    if n < FEWEST * len(classes):
        raise DataError(
            f"{where}: {len(classes)} different values in {n} rows. That looks like a number to "
            "be predicted, or a name of each row; name a column of classes."
        )
    if counts.min() < FEWEST:
        fewest = cut(classes[int(counts.argmin())], 40)
        raise DataError(
            f"{where}: class {fewest!r} has {counts.min()} of {n} rows; every "
            f"class needs {FEWEST}, to be in training, validation and test."
        )
