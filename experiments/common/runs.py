"""The folder of one run: its settings, its metrics while it runs, its results.

    config.json     the settings
    metrics.csv     one row per epoch, written at once
    summary.json    the results

and whatever pictures and checkpoints the experiment adds. A folder belongs to one run:
one that holds files already is refused, and nothing in it changes.
"""

import csv
import dataclasses
import json
import math
import time
from pathlib import Path
from typing import Any, Self, TextIO

import jax
import numpy as np

from experiments.common.cli import UserError


def folder(out: Path | None, name: str) -> Path:
    """Where a run may write: `out`, or runs/<name>-<time>; nothing is created yet.

    Raises:
        UserError: where `out` is a file or holds files.
    """
    if out is None:
        first = Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"
        later = (first.with_name(f"{first.name}-{i}") for i in range(2, 1000))
        return next(path for path in (first, *later) if not path.exists())
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out} is a file; name a new folder.")
    if out.is_dir() and any(out.iterdir()):
        raise UserError(f"--out {out} is not empty; name a new folder, or remove it first.")
    return out


class Run:
    """A run's folder, open for writing; a context manager."""

    def __init__(self, path: Path, config: Any):
        """Create the folder and write config.json."""
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._write("config.json", dataclasses.asdict(config))
        except OSError as error:
            raise UserError(f"--out {path} cannot be written: {error.strerror}.") from None
        self._metrics: TextIO | None = None
        self._columns: list[str] = []

    def __enter__(self) -> Self:
        """The run itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close metrics.csv; what was written stays."""
        if self._metrics is not None:
            self._metrics.close()

    def row(self, **values: float) -> None:
        """Add a row to metrics.csv; the first decides the columns."""
        first = self._metrics is None
        if self._metrics is None:
            self._metrics = (self.path / "metrics.csv").open("w", newline="", encoding="utf-8")
            self._columns = list(values)
        writer = csv.writer(self._metrics, lineterminator="\n")
        if first:
            writer.writerow(self._columns)
        writer.writerow([values[name] for name in self._columns])
        self._metrics.flush()

    def summary(self, values: dict[str, Any]) -> None:
        """Write summary.json."""
        self._write("summary.json", values)

    def _write(self, name: str, values: dict[str, Any]) -> None:
        """Write a JSON file; a number that is not finite becomes null."""
        text = json.dumps(finite(values), indent=2, ensure_ascii=False, default=str)
        (self.path / name).write_text(text + "\n", encoding="utf-8")


def finite(value: Any) -> Any:
    """`value` as JSON can write it: plain numbers and lists, None for NaN and infinities."""
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        value = value.tolist()
    if isinstance(value, dict):
        return {name: finite(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
