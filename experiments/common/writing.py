"""Files that are on the disk whole, or not at all, as `fnn.files` writes them; and rows of one."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from experiments.common.cli import DATA, UserError
from fnn.files import replace


def whole(path: Path, data: bytes) -> None:
    """Write a file.

    It is on the disk before it takes the name, and the name before this returns.

    Raises:
        UserError: with what the system says; the old file is as it was, and nothing beside it.
    """
    with refusals(path):
        replace(path, data)


def append(path: Path, data: bytes) -> None:
    """Add to a file that is there, all of `data` or nothing.

    Raises:
        UserError: where it is gone, has become a link, or cannot be written.
    """
    with refusals(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
        try:
            before = os.fstat(handle).st_size
            try:
                if (n := os.write(handle, data)) < len(data):
                    raise OSError(0, f"only {n} of {len(data)} bytes had room")
            except BaseException:
                os.ftruncate(handle, before)
                raise
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
