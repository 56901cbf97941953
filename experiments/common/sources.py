"""What --data can name, and whether a saved network fits it."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.common import bundles, checkpoints, idx, tables
from experiments.common.checkpoints import Checkpoint
from experiments.common.cli import DataError, UserError, cut, nearest, printable
from experiments.common.data import Dataset, Rows
from experiments.common.names import Missing

FORMS = {"digits": "digits", "mnist": "mnist:FOLDER", "csv": "csv:FILE"}


def images(data: str) -> Callable[[], Dataset]:
    """How images of this name are read, every one [H, W, 1]; nothing is read yet.

    Raises:
        UserError: for a form that does not exist, or has no images.
    """
    if data.partition(":")[0] == "csv":
        raise UserError(f"--data {data} has no images; take digits or mnist:FOLDER.")
    read = chosen(data)

    def whole():
        dataset = read()
        parts = {
            name: Rows(rows.x.reshape(-1, *dataset.shape, 1), rows.label)
            for name, rows in dataset.parts().items()
        }
        return dataclasses.replace(dataset, **parts)

    return whole


def chosen(
    data: str, target: str | None = None, missing: Missing = "error"
) -> Callable[[], Dataset]:
    """How the data of this name are read; nothing is read yet.

    Raises:
        UserError: for a form that does not exist, and flags that do not belong to it.
    """
    form, colon, place = data.partition(":")
    path = Path(os.path.expanduser(place))  # the shell leaves csv:~/a.csv as it is
    if form not in FORMS or (form == "digits") == bool(colon):
        raise UserError(f"--data: unknown choice {data!r}.{hint(data)} {forms()}")
    if form != "digits" and not place:
        raise UserError(f"--data {data} names nothing to read. {forms()}")
    if form != "csv":
        for flag, given in (("--target", target is not None), ("--missing", missing != "error")):
            if given:
                raise UserError(f"{flag} belongs to --data csv:FILE, got --data {data}.")
        return bundles.digits if form == "digits" else lambda: idx.mnist(path)
    if target is None:
        raise UserError(f"--data {data} needs --target COLUMN, the column of the classes.")
    return lambda: tables.csv(path, target, missing)


def forms() -> str:
    """The forms in a sentence."""
    return f"It takes {', '.join(list(FORMS.values())[:-1])} or {FORMS['csv']}."


def hint(data: str) -> str:
    """What may have been meant."""
    if data.partition(":")[0] in FORMS:
        return ""
    if data.endswith(".csv") and ":" not in data:
        return f" Did you mean csv:{data}?"
    return nearest(data.partition(":")[0], FORMS)


def described(dataset: Dataset) -> str:
    """How many rows of what, in one line."""
    counts = ", ".join(f"{len(rows.label)} {name}" for name, rows in dataset.parts().items())
    size = by(dataset.shape)
    first = ", ".join(cut(name, 40) for name in dataset.classes[:8])
    classes = printable(first) + ", …" * (len(dataset.classes) > 8)
    return f"{counts} {dataset.name} of {size} numbers; {len(dataset.classes)} classes: {classes}"


def by(shape: Sequence[int]) -> str:
    """A shape in words: 8 × 8 × 1."""
    return " × ".join(map(str, shape))


def names_of(dataset: Dataset) -> dict[str, Sequence[str]]:
    """What a checkpoint must know of its data: the classes, and a table's columns."""
    columns = dataset.columns if isinstance(dataset, tables.Table) else ()
    return {"classes": dataset.classes, "columns": columns}


def check_fit(path: Path, checkpoint: Checkpoint, data: str, dataset: Dataset) -> None:
    """Raise a DataError unless the network of this file was made for such data."""
    want = dataset.train.x.shape[1:], len(dataset.classes)
    with checkpoints.understood(path, "has no network of numbers to classes"):
        got = checkpoints.ends(checkpoint)
    saved: dict[str, Any] = checkpoint.config
    trained = saved.get("data", data)
    other = "" if trained == data else f" It was trained on --data {trained}."
    if got != want:
        (given, n_given), (size, n) = ((by(shape), n_out) for shape, n_out in (got, want))
        need = f"{data} needs {size} to {n}"
        raise DataError(f"{path} maps {given} numbers to {n_given}; {need}.{other}")
    for name, now in names_of(dataset).items():
        before = saved.get(name, now)
        if not isinstance(before, list | tuple):
            raise DataError(f"{path}: {name} in its config must be a list, got {before!r}.")
        for i, (a, b) in enumerate(zip(before, now, strict=False)):
            if a != b:
                kind = "class" if name == "classes" else "column"
                a, b = cut(str(a), 40), cut(b, 40)
                where = f"{kind} {i + 1} was {a!r} in training, in {data} it is {b!r}"
                raise DataError(f"{path} does not fit: {where}.{other}")
