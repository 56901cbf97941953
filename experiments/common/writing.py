"""Files that are on the disk whole, or not at all.

A file is written beside its place, as NAME.partial, and takes its name once it is on the disk. A
link or an older file of that name is replaced, never written through. What a kill leaves
behind is NAME.partial, which the next write of NAME removes.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from experiments.common.cli import DATA, UserError

PARTIAL = ".partial"


def whole(path: Path, data: bytes, previous: Path | None = None) -> None:
    """Write a file; with `previous`, the one that is there now takes that name.

    It is on the disk before it takes the name, and the name before this returns.

    Raises:
        UserError: with what the system says; the old file is as it was, and nothing beside it.
    """
    partial = path.with_name(path.name + PARTIAL)
    with refusals(path):
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:  # new, so through no link
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if previous is not None and path.is_file():
                named(path, previous)
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise
    with contextlib.suppress(OSError):  # where folders cannot be opened
        handle = os.open(path.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)


def named(path: Path, previous: Path) -> None:
    """Give a file a second name, or where that cannot be, another one."""
    previous.unlink(missing_ok=True)
    try:
        os.link(path, previous)
    except OSError:  # a file system without second names
        os.replace(path, previous)


def append(path: Path, data: bytes) -> None:
    """Add to a file that is there, all of `data` or nothing.

    Raises:
        UserError: where it is gone, has become a link, or cannot be written.
    """
    with refusals(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            before = os.fstat(handle).st_size
            if (n := os.write(handle, data)) < len(data):
                os.ftruncate(handle, before)
                raise OSError(0, f"only {n} of {len(data)} bytes had room")
        finally:
            os.close(handle)


@contextlib.contextmanager
def refusals(path: Path | str, code: int = DATA) -> Iterator[None]:
    """Tell what the system says against writing this path."""
    try:
        yield
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror or error}"
        raise UserError(f"{what}; put that right, or name another folder.", code) from None
