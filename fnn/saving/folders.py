"""A folder of numbered files, of which the newest whole one counts.

    0000000100.safetensors    after step 100
    0000000200.safetensors    after step 200

A file that is damaged is passed over, with a warning that names it, and never removed before an
older one that is whole. One process at a time may write into a folder: it holds a lock on it,
which the system lifts when the process ends, however it ends.
"""

import contextlib
import errno
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fnn.files import PARTIAL, CheckpointError, Contents, read, synced

try:
    import fcntl
except ImportError:  # a system without such locks
    fcntl = None

SUFFIX, DIGITS = ".safetensors", 10
FEW = 3  # files that a message names


class Found(NamedTuple):
    """A file that is whole, and what is in it."""

    path: Path
    contents: Contents


def numbered(directory: str | os.PathLike[str], step: int) -> Path:
    """The path of the file after this step: directory/0000000100.safetensors."""
    return Path(directory) / f"{step:0{DIGITS}d}{SUFFIX}"


def files_in(directory: str | os.PathLike[str]) -> list[Path]:
    """The numbered files of a folder, the newest first; none where there is no folder."""
    with contextlib.suppress(FileNotFoundError):
        paths = [p for p in Path(directory).iterdir() if p.suffix == SUFFIX]
        return sorted((p for p in paths if p.stem.isdecimal()), key=step_in, reverse=True)
    return []


def step_in(path: Path) -> int:
    """The number of a file."""
    return int(path.stem)


def whole_ones(directory: str | os.PathLike[str], faults: list[str]) -> Iterator[Found]:
    """The whole files, the newest first; what the others lack is added to `faults`."""
    for path in files_in(directory):
        try:
            yield Found(path, whole(path))
        except (CheckpointError, OSError) as error:
            faults.append(f"{path.name}: {error}")


def newest(owner: str, directory: str | os.PathLike[str]) -> Found | None:
    """The newest whole file, with a warning of those passed over; None where there is no file.

    Raises:
        CheckpointError: where there are files, and none is whole.
    """
    faults: list[str] = []
    found = next(whole_ones(directory, faults), None)
    if not faults:
        return found
    told = "; ".join(f"{fault:.200}" for fault in faults[:FEW])
    told += f"; and {len(faults) - FEW} more" * (len(faults) > FEW)
    if found is None:
        raise CheckpointError(f"{owner}: no file in {directory} is whole: {told}")
    warnings.warn(f"{owner}: going on from {found.path}; passed over {told}", stacklevel=3)
    return found


def pruned(directory: str | os.PathLike[str], n: int, known: set[Path]) -> list[Path]:
    """Remove all that is older than the n newest whole files; returns what was removed.

    `known` are whole, and not read again.
    """
    whole, removed = 0, []
    for path in files_in(directory):
        if whole < n:
            whole += path in known or is_whole(path)
            continue
        path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def whole(path: Path) -> Contents:
    """What is in a file of the folder.

    Raises:
        CheckpointError: for one that is damaged; one without a SHA-256 is, too, for `read` takes
            such a file for somebody else's, and nothing says that it is as it was written.
        OSError: for one that cannot be read.
    """
    contents = read(path)
    if "sha256" not in contents.texts:
        raise CheckpointError(f"{path} has no SHA-256: it is damaged, or not saved by fnn.")
    return contents


def is_whole(path: Path) -> bool:
    """Whether a file can be read, all of it."""
    try:
        whole(path)
    except (CheckpointError, OSError):
        return False
    return True


def cleaned(directory: Path) -> None:
    """Remove what a kill left half written; the folder is locked."""
    for path in directory.glob(f"*{SUFFIX}{PARTIAL}"):
        path.unlink(missing_ok=True)


def made(directory: Path) -> None:
    """Make a folder, and those above it, and bring their names onto the disk.

    Raises:
        OSError: where it cannot be made, or is there and cannot be written into.
    """
    if not directory.is_dir():
        missing = [directory, *(p for p in directory.parents if not p.exists())]
        directory.mkdir(parents=True, exist_ok=True)
        for path in missing:
            synced(path.parent)
    if not os.access(directory, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, "this folder cannot be written into", f"{directory}")


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the folder: until this ends no other process can.

    Raises:
        BlockingIOError: where another one does.
        OSError: where the folder cannot be opened.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                11, f"another run writes into {directory}; wait for it, or name another folder"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
