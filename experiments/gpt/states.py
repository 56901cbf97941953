"""A training run in one file: its network and State, to go on from exactly.

    tensors     params.embed.table, ..., optimizer_state.1.inner.m.embed.table, ..., step
    texts       network, config, history (what was measured so far)

The format and its checks are those of `checkpoints`. A State's key is not stored: whoever
goes on makes it of the seed again. The file before the last one stays behind it, should that
one be damaged. Of a long history not every sample is kept: a picture shows three.
"""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnn
from experiments.common import checkpoints
from experiments.common.cli import UserError

TEXTS = ("network", "config", "history")
SAMPLES, LETTERS = 1000, 600  # how many are kept, and how much of each


class Saved(NamedTuple):
    """A run at some step."""

    plan: fnn.Plan
    state: fnn.State
    config: dict[str, Any]
    history: list[dict[str, Any]]


def previous(path: Path) -> Path:
    """Where the file is that was there before: checkpoint.previous.safetensors."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def save(path: Path, saved: Saved) -> None:
    """Write the file; at any moment it is complete, absent, or the previous one."""
    texts = {
        "network": checkpoints.described(saved.plan.net),
        "config": saved.config,
        "history": thinned(saved.history),
    }
    tensors = checkpoints.by_name(saved.state._replace(key=None))
    checkpoints.write(path, tensors, texts, previous(path))


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


def newest(path: Path, plan_of: Callable[[Any, dict[str, Any]], fnn.Plan]) -> Saved:
    """`load` of the file or, where that fails and with a word about it, of the previous one.

    Raises:
        UserError: where neither can be read, with what the newest lacks.
    """
    try:
        return load(path, plan_of)
    except UserError as error:
        if not os.path.isfile(before := previous(path)):
            raise
        try:
            saved = load(before, plan_of)
        except UserError as second:
            raise UserError(f"{error} The one before: {second}", error.code) from None
        print(f"{error} Going on from {before}, after step {int(saved.state.step)}.")
        return saved


def load(path: Path, plan_of: Callable[[Any, dict[str, Any]], fnn.Plan]) -> Saved:
    """Read the file and check all of it; net and config say what the plan was.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, texts = checkpoints.read(path, TEXTS)
    net = checkpoints.built(path, texts["network"])
    with checkpoints.understood(path, "describes no run"):
        plan = plan_of(net, texts["config"])
        like = jax.eval_shape(lambda key: fnn.start(plan, None, net.init(key)), jax.random.key(0))
        state = checkpoints.restored(path, like, tensors)
        check_history(texts["history"], int(state.step))
    return Saved(plan, state, texts["config"], texts["history"])


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
