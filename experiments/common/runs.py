"""The folder of one run: its settings, its metrics while it runs, its results.

    config.json     the settings
    metrics.csv     one row per epoch, written at once
    summary.json    the results

and whatever pictures and checkpoints the experiment adds. A folder belongs to one run:
one that holds files already, or that another run writes into, is refused, and nothing in
it changes.
"""

import contextlib
import csv
import dataclasses
import io
import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import jax
import numpy as np

from experiments.common import writing
from experiments.common.cli import DATA, NOT_FINITE, USAGE, UserError
from fnn.files import PARTIAL
from fnn.saving.folders import locked

RUNS = Path("runs")  # where folders are that nobody named
CONFIG = "config.json"  # the first file of a run; a kill while it is written leaves no run
SUMMARY = "summary.json"  # the last one
METRICS = "metrics.csv"


def folder(out: Path | None, name: str, config: Any = None) -> Path:
    """Where a run may write: `out`, or runs/<name>-<time>; nothing is created yet.

    With a config `out` may also hold a run with these settings that is not at its end.

    Raises:
        UserError: where `out` is a file or holds files, and where no folder can be made.
    """
    if out is None:
        first = RUNS / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        out = next((path for path in numbered(first) if not path.exists()), first)
    with writing.refusals(f"--out {out}", USAGE):
        if out.exists() and not out.is_dir():
            raise UserError(f"--out {out} is a file; name a new folder.")
        if out.is_dir() and not unfinished(out, config):
            check_empty(out)
        check_writable(out)
    return out


def numbered(path: Path) -> Iterator[Path]:
    """The path, then the path with 2, 3, ... behind it."""
    return (path.with_name(f"{path.name}-{i}" if i > 1 else path.name) for i in range(1, 1000))


def unfinished(path: Path, config: Any) -> bool:
    """Whether a folder holds a run with these settings, wherever it writes, that has no results."""
    if config is None or (path / SUMMARY).exists():
        return False
    try:
        known = json.loads((path / CONFIG).read_text("utf-8"))
        return dict(known) | {"out": None} == json.loads(as_json(config)) | {"out": None}
    except (OSError, ValueError, TypeError, RecursionError):
        return False


def as_json(config: Any) -> str:
    """The settings, as a run writes them."""
    return text_of(dataclasses.asdict(config))


def text_of(values: dict[str, Any]) -> str:
    """Values as JSON; a number that is not finite becomes null."""
    return json.dumps(finite(values), indent=2, ensure_ascii=False, default=str)


def check_empty(path: Path) -> None:
    """Raise a UserError for a folder with files in it."""
    if any(inside.name != CONFIG + PARTIAL for inside in path.iterdir()):
        raise UserError(f"--out {path} is not empty; name a new folder, or remove it first.")


def check_writable(path: Path) -> None:
    """Raise an OSError unless a folder can be made there, or written into where it is there."""
    above = next(p for p in (path, *path.absolute().parents) if os.path.lexists(p))
    if not above.is_dir():
        raise NotADirectoryError(0, f"{above} is no folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(0, f"{above} may not be written into")


class Run:
    """A run's folder, open for writing; a context manager."""

    def __init__(self, path: Path, config: Any, resumed: bool = False):
        """Take the folder and write config.json.

        A folder in runs/ that the user did not name, as config.out, is made, with a number
        behind its name where that is taken. Any other may be there: a `resumed` run's, or
        one that is empty.
        """
        with writing.refusals(f"--out {path}", USAGE):
            ours = not resumed and path.parent == RUNS and path != getattr(config, "out", None)
            self.path = made(path) if ours else there(path)
            self._lock = held(self.path)
        try:
            if not resumed:
                check_empty(self.path)  # no other run that began in the same moment was faster
            self._write(CONFIG, dataclasses.asdict(config))
        except BaseException:
            self.__exit__()
            raise
        self._columns: list[str] = []

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Let others write into the folder."""
        self._lock.close()

    def row(self, **values: Any) -> None:
        """Add a row to metrics.csv; the first decides the columns."""
        self.rows([values])

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; the first ones replace a metrics.csv that was there."""
        if not rows:
            return
        text, path = io.StringIO(), self.path / METRICS
        writer, first = csv.writer(text, lineterminator="\n"), not self._columns
        if first:
            self._columns = list(rows[0])
            writer.writerow(self._columns)
        writer.writerows([values[name] for name in self._columns] for values in rows)
        write = writing.whole if first else writing.append
        write(path, text.getvalue().encode("utf-8", "backslashreplace"))

    def rows_before(self, n: int) -> list[dict[str, float]]:
        """The first n rows of the metrics.csv of a run that goes on.

        Raises:
            UserError: where it has no such rows.
        """
        path = self.path / METRICS
        try:
            rows = list(csv.DictReader(path.read_text("utf-8").splitlines())) if n else []
            found = [{name: float(v) for name, v in row.items()} for row in rows[:n]]
        except (OSError, ValueError, TypeError):
            found = []
        if len(found) < n:
            raise UserError(f"{path} has not the {n} rows of the run so far; begin again.", DATA)
        return found

    def summary(self, values: dict[str, Any]) -> None:
        """Write summary.json."""
        self._write(SUMMARY, values)

    def _write(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file; a number that is not finite becomes null."""
        text = text_of(values)
        # a letter that UTF-8 does not have, from the name of a file, is written as JSON does
        writing.whole(self.path / name, f"{text}\n".encode("utf-8", "backslashreplace"))


def made(path: Path) -> Path:
    """A folder that was not there, and now is: of this name, or with a number behind it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for free in numbered(path):
        with contextlib.suppress(FileExistsError):
            free.mkdir()
            return free
    raise FileExistsError(0, "so is every name with a number behind it; name a folder with --out")


def there(path: Path) -> Path:
    """The folder of this very name, made where it is missing."""
    path.mkdir(parents=True, exist_ok=True)
    return path


def held(path: Path) -> contextlib.ExitStack:
    """The folder of one run: until this is closed no other run can have it."""
    stack = contextlib.ExitStack()
    try:
        stack.enter_context(locked(path))
    except BlockingIOError:
        raise UserError(
            f"{path}: another run writes into this folder; wait for it, or name another."
        ) from None
    return stack


def check_finite(when: str, figures: Mapping[str, Any], tensors: Mapping[str, Any]) -> None:
    """End the run, before anything is written, where a figure or a tensor is not finite."""
    for name, value in figures.items():
        if not math.isfinite(value):
            message = f"the {name.replace('_', ' ')} is {value} {when}; lower --learning-rate."
            raise UserError(message, NOT_FINITE)
    if message := not_finite(tensors):
        raise UserError(f"{message} {when}; lower --learning-rate.", NOT_FINITE)


def not_finite(tensors: Mapping[str, Any]) -> str:
    """That numbers in one of the tensors are not finite; nothing where all are."""
    for name, tensor in tensors.items():
        if jax.numpy.issubdtype(tensor.dtype, jax.dtypes.prng_key):
            continue
        if n := np.size(tensor) - np.count_nonzero(np.isfinite(tensor)):
            return f"{n} of {np.size(tensor)} numbers in {name} are not finite"
    return ""


def finite(value: Any) -> Any:
    """`value` as JSON can write it: plain numbers and lists, None for NaN and infinities."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
