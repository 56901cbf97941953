"""IDX files, the format of MNIST, plain or gzipped.

    offset 0    00 00     nothing
           2    08        type: unsigned bytes; others are refused
           3    n         number of axes
           4    n sizes, 4 bytes each, the most significant first
      4 + 4n    as many bytes as the product of the sizes, and nothing after them

What a header declares is compared with the file before memory is taken for it, and only
bytes that were really read take memory.

Source: LeCun, Cortes & Burges (1998), The MNIST database of handwritten digits.
"""

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from experiments.common import files
from experiments.common.cli import DataError, listed
from experiments.common.data import Dataset, Rows, split

Bytes = NDArray[np.uint8]

KINDS = {1: "labels, 1 axis", 3: "images, 3 axes"}
CHUNK = 1 << 20
RATIO = 1032  # deflate makes nothing smaller by more


def mnist(folder: Path) -> Dataset:
    """The images of a folder; 15 % of those for training become the validation rows.

    Raises:
        DataError: for a file that is missing or is not what its name says.
    """
    images, labels = labelled(folder, "train")
    test_images, test_labels = labelled(folder, "t10k")
    if images.shape[1:] != test_images.shape[1:]:
        sizes = (" × ".join(map(str, a.shape[1:])) for a in (images, test_images))
        raise DataError("{}: training images are {}, test images {}.".format(folder, *sizes))
    known = np.unique(labels)
    new = np.flatnonzero(~np.isin(test_labels, known))
    if len(new):
        where = f"{find(folder, 't10k-labels', 1)}: label {test_labels[new[0]]}"
        raise DataError(f"{where} at offset {8 + new[0]} is not among the training labels.")
    classes = tuple(map(str, known))
    rows = as_rows(images, labels, known)
    files.check_classes(f"{folder}, training labels", classes, rows.label)
    train, validation = split(rows, (0.85, 0.15), seed=0)
    test = as_rows(test_images, test_labels, known)
    return Dataset("images", classes, images.shape[1:], train, validation, test)


def as_rows(images: Bytes, labels: Bytes, known: Bytes) -> Rows:
    """Pixels from 0 to 1, and the places of the labels among the known ones."""
    x = np.divide(images.reshape(len(images), -1), 255, dtype=np.float32)
    return Rows(x, np.searchsorted(known, labels).astype(np.int32))


def labelled(folder: Path, part: str) -> tuple[Bytes, Bytes]:
    """Images and labels of a part: train or t10k."""
    paths = find(folder, f"{part}-images", 3), find(folder, f"{part}-labels", 1)
    images, labels = read(paths[0], 3), read(paths[1], 1)
    if len(images) != len(labels):
        raise DataError(
            f"{paths[0]} holds {len(images)} images, but {paths[1].name} holds {len(labels)} "
            "labels; they must be equally many."
        )
    return images, labels


def find(folder: Path, name: str, n_axes: int) -> Path:
    """The file of this name in one of its spellings."""
    names = [f"{name}{mark}idx{n_axes}-ubyte{end}" for end in ("", ".gz") for mark in ("-", ".")]
    for path in (files.folder(folder) / spelled for spelled in names):
        if path.is_file():
            return path
    there = listed(files.names_in(folder)) or "nothing"
    raise DataError(f"{folder} has no {names[0]}, plain or .gz; it holds {there}.")


def read(path: Path, n_axes: int) -> Bytes:
    """The array in a file with this many axes.

    Raises:
        DataError: with the offset, where the file is another one, damaged, or has more or
            fewer bytes than its header declares.
    """
    files.existing(path)
    data = bytearray()
    with files.reading(path), path.open("rb") as plain:
        packed = plain.read(2) == b"\x1f\x8b"
        plain.seek(0)
        file = cast(BinaryIO, gzip.GzipFile(fileobj=plain)) if packed else plain
        grow(path, file, data, 4)
        check_magic(path, data, n_axes)
        grow(path, file, data, 4 + 4 * n_axes)
        sizes = sizes_of(path, data, n_axes)
        declared = len(data) + math.prod(sizes)
        size = path.stat().st_size
        if declared > RATIO * size or (size != declared and not packed):
            raise mismatch(path, sizes, declared, f"{size}{' compressed' * packed}")
        files.check_size(path, declared)
        grow(path, file, data, declared + 1)  # one more: where it ends must be seen
    if len(data) != declared:
        found = f"more than {declared}" if len(data) > declared else str(len(data))
        raise mismatch(path, sizes, declared, found)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * n_axes).reshape(sizes)


def grow(path: Path, file: BinaryIO, data: bytearray, size: int) -> None:
    """Read `size` bytes of data, or up to the end of the file."""
    try:
        while len(data) < size and (more := file.read(min(CHUNK, size - len(data)))):
            data += more
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        what = "is cut off" if isinstance(error, EOFError) else f"is damaged ({error})"
        message = f"{path}: the compressed file {what}, after offset {len(data)} of its content."
        raise DataError(message) from None


def check_magic(path: Path, data: bytearray, n_axes: int) -> None:
    """Raise a DataError unless these four bytes begin a file of bytes with this many axes."""
    want = f"expected 0x{0x0800 + n_axes:08X} (unsigned bytes; {KINDS[n_axes]}) at offset 0"
    if len(data) < 4:
        raise DataError(f"{path}: the file ends at offset {len(data)}; {want}.")
    if bytes(data) == bytes([0, 0, 8, n_axes]):
        return
    what = "not an IDX file"
    if data[:2] == b"\0\0":
        what = KINDS.get(data[3], f"{data[3]} axes") if data[2] == 8 else "another type of number"
    raise DataError(f"{path}: {what}: found 0x{data.hex().upper()}, {want}.")


def sizes_of(path: Path, data: bytearray, n_axes: int) -> tuple[int, ...]:
    """The sizes of the axes, from the bytes behind the magic ones."""
    if len(data) < 4 + 4 * n_axes:
        raise DataError(
            f"{path}: the header ends at offset {len(data)}, expected {4 + 4 * n_axes} bytes."
        )
    sizes = tuple(int.from_bytes(data[i : i + 4]) for i in range(4, len(data), 4))
    if 0 in sizes:
        i = sizes.index(0)
        raise DataError(f"{path}: axis {i} has size 0, at offset {4 + 4 * i}; nothing is in it.")
    return sizes


def mismatch(path: Path, sizes: tuple[int, ...], declared: int, found: str) -> DataError:
    """That a file has not the size that its header declares."""
    product = " × ".join(map(str, sizes))
    return DataError(
        f"{path}: the header, up to offset {4 + 4 * len(sizes)}, declares {product} values, "
        f"{declared} bytes in all; found {found}."
    )
