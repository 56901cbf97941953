"""A thread that writes numbered files while the program goes on.

    offer(step, tensors, texts)    take this, and what was still waiting no longer; never waits
    finish()                       wait until all is on the disk

A file is read back, byte for byte by its SHA-256, before an older one is removed. What fails in
the thread is raised by the next call of either.
"""

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fnn.files import write
from fnn.saving.folders import numbered, pruned, whole


class Writer:
    """Writes the files of one folder and keeps the newest of them."""

    def __init__(self, directory: Path, keep: int, known: Path | None):
        """Start the thread; `known` is a file that was read already."""
        self._directory, self._keep = directory, keep
        self._known = set() if known is None else {known}
        self._state = threading.Condition()
        self._waiting: Any = None
        self._busy, self._closed = False, False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="fnn checkpoints", daemon=True)
        self._thread.start()

    def offer(self, step: int, tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> Path:
        """Have a file written, in the place of one that still waits; its path.

        Raises:
            OSError, CheckpointError: of an earlier file.
        """
        path = numbered(self._directory, step)
        with self._state:
            self._raise()
            self._waiting = path, tensors, texts
            self._state.notify_all()
        return path

    def finish(self) -> None:
        """Wait until everything is on the disk.

        Raises:
            OSError, CheckpointError: where it is not.
        """
        with self._state:
            while self._busy or self._waiting:
                self._state.wait()
            self._raise()

    def close(self) -> None:
        """Let the thread end with the file that it writes; wait for nothing."""
        with self._state:
            self._closed = True
            self._state.notify_all()

    def _raise(self) -> None:
        """Raise what failed, once."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def _run(self) -> None:
        """Write what waits, until there is an error or an end."""
        while (job := self._next()) is not None:
            error = None
            try:
                self._write(*job)
            except BaseException as failed:  # it is the caller's
                error = failed
            with self._state:
                self._busy, self._error = False, error
                self._waiting = self._waiting if error is None else None
                self._state.notify_all()

    def _next(self) -> Any:
        """What waits, once something does; None at the end."""
        with self._state:
            while not self._waiting and not self._closed:
                self._state.wait()
            job, self._waiting = self._waiting, None
            self._busy = job is not None
            return job

    def _write(
        self, path: Path, tensors: Mapping[str, np.ndarray], texts: Mapping[str, str]
    ) -> None:
        """Write one file, read it back, remove older ones."""
        try:
            write(path, tensors, texts)
            whole(path)
            self._known.add(path)
            pruned(self._directory, self._keep, self._known)
        except OSError as error:
            told = error.strerror or str(error)
            raise OSError(error.errno or 0, told, error.filename or f"{path}") from error


@contextlib.contextmanager
def writing(directory: Path, keep: int, known: Path | None) -> Any:
    """A Writer that has finished at the end; where an error ends it, what waits is written too."""
    writer = Writer(directory, keep, known)
    try:
        yield writer
        writer.finish()
    except Exception:
        with contextlib.suppress(Exception):
            writer.finish()
        raise
    finally:
        writer.close()
