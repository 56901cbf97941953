"""Files that are on the disk whole or not at all, and tensors by name in them.

A file is written beside its place, as NAME.partial, and takes its name once it is on the disk. A
link or an older file of that name is replaced, never written through. What a kill leaves
behind is NAME.partial, which the next write of NAME removes.

Files of tensors are safetensors files: names, dtypes, shapes and texts, then the numbers. Reading
one runs no code of the file's. Among the texts is

    sha256    of all tensors, with name, dtype and shape, and of all other texts

so that a changed byte is an error, never another number. Files of others have none.
"""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fnn.named import kind

try:
    from safetensors import safe_open
    from safetensors.numpy import save as serialized
except ImportError as error:
    raise ImportError(
        "fnn.checkpoints: files of tensors need safetensors; pip install 'fnn[checkpoints]'."
    ) from error

PARTIAL = ".partial"
HEADER = 2**24  # bytes of a file's names and texts, at most
CANNOT = {errno.EACCES, errno.EPERM, errno.EINVAL, errno.ENOTSUP}  # said of folders as such


class CheckpointError(ValueError):
    """A file that is damaged, of another kind, or of another net."""


class Contents(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Any]  # numpy arrays, and keys once they are unpacked
    texts: dict[str, str]


def write(
    path: Path,
    tensors: Mapping[str, np.ndarray],
    texts: Mapping[str, str],
) -> None:
    """Write tensors and texts, and their SHA-256; at every moment the file is whole or not there.

    Raises:
        TypeError: for a dtype that cannot be read again, by the tensor's name.
        CheckpointError: for more names and texts than are read.
        OSError: with what the system says; the old file is as it was, and nothing beside it.
    """
    rows = {name: plain(name, a) for name, a in tensors.items()}
    data = serialized(rows, {**texts, "sha256": digest(rows, texts)})
    check_header(path, data[:8])
    replace(path, data)


def read(path: Path) -> Contents:
    """The tensors and texts of a file; where it has a SHA-256, that is right.

    Raises:
        CheckpointError: for a file that is damaged or of another kind.
        OSError: for one that is not there, or cannot be read.
    """
    with open(path, "rb") as file:
        check_header(path, file.read(8))
    try:
        with safe_open(path, framework="numpy") as file:
            texts = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except OSError:
        raise
    except AttributeError as error:
        raise CheckpointError(f"{path} has a dtype that cannot be read: {error}.") from None
    except Exception as error:
        reason = str(error).partition("\n")[0].rstrip(".")
        raise CheckpointError(
            f"{path} is not a safetensors file: {reason}; take another file."
        ) from None
    others = {name: text for name, text in texts.items() if name != "sha256"}
    if texts.get("sha256", known := digest(tensors, others)) != known:
        raise CheckpointError(
            f"{path} is damaged: its SHA-256 differs from the recorded one; take another file."
        )
    return Contents(tensors, texts)


def plain(name: str, a: np.ndarray) -> np.ndarray:
    """The array row by row in native byte order: its memory is written as it lies."""
    a = np.asarray(a)
    if a.dtype.name != "bfloat16" and (a.dtype.kind not in "fiub" or a.dtype.itemsize > 8):
        raise TypeError(
            f"{name} must be of bools, integers, bfloat16 or float16 to float64, got {a.dtype}."
        )
    return np.asarray(a, a.dtype.newbyteorder("="), order="C")


def check_header(path: Path, beginning: bytes) -> None:
    """Raise where the first 8 bytes announce more names and texts than are read."""
    size = int.from_bytes(beginning, "little")
    if HEADER < size < 1000 * HEADER:  # beyond, it is no such file at all
        raise CheckpointError(
            f"{path}: names and texts take {size} bytes; at most {HEADER} can be read."
        )


def digest(tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes, and of the texts."""
    sha = hashlib.sha256(json.dumps(dict(texts), sort_keys=True).encode())
    for name, a in sorted(tensors.items()):
        sha.update(f"{name} {kind(a)}".encode())
        sha.update(np.ascontiguousarray(a).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()


def replace(path: Path, data: bytes) -> None:
    """Write a file.

    It is on the disk before it takes the name, and the name before this returns.

    Raises:
        OSError: with what the system says; the old file is as it was, or where only the name may
            not be on the disk yet, the new one is there; and nothing beside it.
    """
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.unlink(missing_ok=True)
        with partial.open("xb") as file:  # new, so through no link
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
    synced(path.parent)


def synced(folder: Path) -> None:
    """Bring the names in a folder onto the disk, where the system can do that with folders."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        if error.errno not in CANNOT:
            raise
