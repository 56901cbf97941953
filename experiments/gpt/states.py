"""A training run in one file: its network and State, to go on from exactly.

    tensors     params/..., optimizer_state/..., step
    texts       network, config, history (what was measured so far)

The format and its checks are those of `checkpoints`. A State's key is not stored: whoever
goes on makes it of the seed again.
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnn
from experiments.common import checkpoints

TEXTS = ("network", "config", "history")


class Saved(NamedTuple):
    """A run at some step."""

    net: fnn.Layer[Any, Any]
    state: fnn.State
    config: dict[str, Any]
    history: list[dict[str, Any]]


def save(path: Path, saved: Saved) -> None:
    """Write the file; at any moment it is complete, absent, or the previous one."""
    texts = {
        "network": checkpoints.described(saved.net),
        "config": saved.config,
        "history": saved.history,
    }
    checkpoints.write(path, checkpoints.by_name(saved.state._replace(key=None)), texts)


def load(path: Path, optimizer_of: Callable[[dict[str, Any]], fnn.optim.Optimizer[Any]]) -> Saved:
    """Read the file and check all of it; its config says what the optimizer was.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, texts = checkpoints.read(path, TEXTS)
    net = checkpoints.built(path, texts["network"])
    begin = functools.partial(fnn.start, optimizer_of(texts["config"]))
    like = jax.eval_shape(lambda key: begin(net.init(key)), jax.random.key(0))
    state = checkpoints.restored(path, like, tensors)
    return Saved(net, state, texts["config"], texts["history"])
