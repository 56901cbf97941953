"""A training run in one file: its network and State, to go on from exactly.

    tensors     params.embed.table, ..., optimizer_state.1.inner.m.embed.table, ..., key, step
    notes       network, config, history (what was measured so far)

A folder has the two newest files, by the number of the step, should the last be damaged. Of a
long history not every sample is kept: a picture shows three.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fnn
from experiments.common import checkpoints, files, writing
from experiments.common.cli import DataError, UserError
from fnn.checkpoints import keep, numbered
from fnn.saving import folders, packing

NOTES = ("network", "config", "history")
SAMPLES, LETTERS = 1000, 600  # how many are kept, and how much of each


class Saved(NamedTuple):
    """A run at some step."""

    plan: fnn.Plan
    state: fnn.State
    config: dict[str, Any]
    history: list[dict[str, Any]]


def save(folder: Path, saved: Saved) -> None:
    """Write a file of its own for this step, and remove all but it and the one before."""
    notes = {
        "network": checkpoints.described(saved.plan.net),
        "config": saved.config,
        "history": thinned(saved.history),
    }
    path = numbered(folder, int(saved.state.step))
    with writing.refusals(path):
        folders.made(folder)
    checkpoints.write(path, saved.state, notes, saved.plan)
    with writing.refusals(path):
        keep(folder, 2)


def thinned(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows, with the beginnings of at most SAMPLES samples, evenly spread, and of the last."""
    every, last = 1, len(history) - 1
    while last // every >= SAMPLES:
        every *= 2  # so that what is left out now would be left out later
    return [
        row | {"sample": row["sample"][:LETTERS] if i % every == 0 or i == last else ""}
        if "sample" in row
        else row
        for i, row in enumerate(history)
    ]


def newest(folder: Path, plan_of: Callable[[Any, dict[str, Any]], fnn.Plan]) -> Saved:
    """`load` of the newest file that can be read, with a word about those that cannot.

    Raises:
        UserError: where there is none, with what each of them lacks.
    """
    faults: list[str] = []
    for path in folders.files_in(files.folder(folder)):
        try:
            saved = load(path, plan_of)
        except UserError as error:
            faults.append(f"{error}")
            continue
        if faults:
            print(f"{' '.join(faults)} Going on from {path}, after step {int(saved.state.step)}.")
        return saved
    raise DataError(" ".join(faults) or f"{folder} holds no checkpoint; begin again.")


def load(path: Path, plan_of: Callable[[Any, dict[str, Any]], fnn.Plan]) -> Saved:
    """Read the file and check all of it; net and config say what the plan was.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, notes = checkpoints.read(path, NOTES)
    net = checkpoints.built(path, notes["network"])
    with checkpoints.understood(path, "describes no run"):
        plan = plan_of(net, notes["config"])
        like = packing.state_like(plan, tensors.get("key"))
        state = checkpoints.restored(path, like, tensors)
        check_history(notes["history"], int(state.step))
    return Saved(plan, state, notes["config"], notes["history"])


def is_finite(value: Any) -> bool:
    """Whether a value is a number."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_seen(value: Any) -> bool:
    """Whether a value is what a step saw: {}, or {"step": t, name: {layer: number}}."""
    if not isinstance(value, dict):
        return False
    numbers = [v for f in value.values() for v in (f.values() if isinstance(f, dict) else [f])]
    return all(map(is_finite, numbers)) and (not value or is_finite(value.get("step")))


def check_history(history: Any, step: int) -> None:
    """Raise a ValueError for rows that are none, or end elsewhere than the State."""
    if not isinstance(history, list) or not all(isinstance(row, dict) for row in history):
        raise ValueError("its history must be a list of rows")
    for row in history:
        for name, value in row.items():
            good = isinstance(value, str) if name == "sample" else is_finite(value)
            if not (is_seen(value) if name == "insides" else good):
                raise ValueError(f"{name} in its history is {value!r:.80}")
    last = history[-1]["step"] if history else 0
    if last != step:
        raise ValueError(f"its history ends at step {last}, its State at {step}")
