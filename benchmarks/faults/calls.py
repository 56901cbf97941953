"""Every call of the system that writes into a folder, and what may happen at one of them.

    with at_call(folder, Fault(refused(errno.ENOSPC), number=3)) as calls:
        ...                # the third call that writes into the folder is refused
    calls.names            # ["unlink", "open", "write", …]: those that were made

Calls are counted where Python hands them to the system, in all threads. A write that is refused
has written half of its bytes, as on a disk that is full.
"""

import contextlib
import io
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CALLS = "open", "fsync", "replace", "unlink", "mkdir", "write", "ftruncate"  # of os
Event = Callable[[str, Path], None]  # (name of the call, folder) → what happens before it


@dataclass(frozen=True)
class Fault:
    """What happens, and when: at the call of this number, counted from 1."""

    event: Event
    number: int
    name: str | None = None  # of the calls that are counted; None: all
    lasting: bool = False  # at all that come later, too
    after: bool = False  # behind the call, not before it

    def is_due(self, n: int) -> bool:
        """Whether the n-th call is meant."""
        return n == self.number or (self.lasting and n > self.number)


@dataclass
class Calls:
    """Those that were made."""

    folder: Path
    fault: Fault | None
    names: list[str] = field(default_factory=list)
    struck: int = 0
    lock: Any = field(default_factory=threading.Lock)
    here: Any = field(default_factory=threading.local)  # what an event calls is not counted

    def around(self, name: str, call: Callable[[], Any], half: Callable[[], Any] = int) -> Any:
        """Make a call, with what happens to it; `half` is made in its place before a refusal."""
        fault = self.fault
        with self.lock:
            self.names.append(name)
            n = sum(fault is not None and fault.name in (None, other) for other in self.names)
            due = fault is not None and fault.name in (None, name) and fault.is_due(n)
            self.struck += due
        if fault is None or not due:
            return call()
        if fault.after:
            result = call()
            self.happen(name)
            return result
        half()
        self.happen(name)
        return call()

    def happen(self, name: str) -> None:
        """What happens at a call."""
        self.here.busy = True
        try:
            if self.fault is not None:
                self.fault.event(name, self.folder)
        finally:
            self.here.busy = False

    def meant(self, where: Any) -> bool:
        """Whether a path, or an open file, is in the folder, or the folder."""
        if getattr(self.here, "busy", False):
            return False
        with contextlib.suppress(OSError, TypeError, ValueError):
            path = f"/proc/self/fd/{where}" if isinstance(where, int) else where
            text = os.path.realpath(os.fspath(path)).removesuffix(" (deleted)")
            return Path(text).is_relative_to(self.folder)
        return False


class Written:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, calls: Calls):
        """Around this file."""
        self._file, self._calls = file, calls

    def write(self, data: bytes) -> Any:
        """Write."""

        def half():
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        return self._calls.around("write", lambda: self._file.write(data), half)

    def __getattr__(self, name: str) -> Any:
        """All else is the file's."""
        return getattr(self._file, name)

    def __enter__(self) -> "Written":
        """As the file does."""
        return self

    def __exit__(self, *error: Any) -> None:
        """As the file does."""
        self._file.close()


@contextlib.contextmanager
def at_call(folder: Path, fault: Fault | None = None) -> Iterator[Calls]:
    """Have the fault happen to the calls made in here."""
    calls = Calls(folder.resolve(), fault)
    before: Any = {name: getattr(os, name) for name in CALLS} | {"io": io.open}

    def wrapped(name):
        def call(first, *args, **options):
            if not calls.meant(first):
                return before[name](first, *args, **options)
            half = int
            if name == "write":
                half = lambda: before["write"](first, args[0][: len(args[0]) // 2])  # noqa: E731
            return calls.around(name, lambda: before[name](first, *args, **options), half)

        return call

    def opened(path, mode="r", *args, **options):
        if not set(mode) & set("wxa+") or not calls.meant(path):
            return before["io"](path, mode, *args, **options)
        file = calls.around("open", lambda: before["io"](path, mode, *args, **options))
        return Written(file, calls)

    for name in CALLS:
        setattr(os, name, wrapped(name))
    io.open = opened
    try:
        yield calls
    finally:
        for name in CALLS:
            setattr(os, name, before[name])
        io.open = before["io"]


def refused(number: int) -> Event:
    """The system refuses: ENOSPC, EROFS, EIO, ..."""

    def event(name, folder):
        raise OSError(number, os.strerror(number), f"{folder}")

    return event


def gone(name: str, folder: Path) -> None:
    """The folder, and all that is in it, is not there any more."""
    shutil.rmtree(folder, ignore_errors=True)


def killed(name: str, folder: Path) -> None:
    """The process ends, here and now."""
    os.kill(os.getpid(), signal.SIGKILL)
