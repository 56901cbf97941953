"""A training run in one file: its network and State, to go on from exactly.

    tensors     params.embed.table, ..., optimizer_state.1.inner.m.embed.table, ..., step
    texts       network, config, history (what was measured so far)

The format and its checks are those of `checkpoints`. A State's key is not stored: whoever
goes on makes it of the seed again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

import fnn
from experiments.common import checkpoints

TEXTS = ("network", "config", "history")


class Saved(NamedTuple):
    """A run at some step."""

    plan: fnn.Plan
    state: fnn.State
    config: dict[str, Any]
    history: list[dict[str, Any]]


def save(path: Path, saved: Saved) -> None:
    """Write the file; at any moment it is complete, absent, or the previous one."""
    texts = {
        "network": checkpoints.described(saved.plan.net),
        "config": saved.config,
        "history": saved.history,
    }
    checkpoints.write(path, checkpoints.by_name(saved.state._replace(key=None)), texts)


def load(path: Path, plan_of: Callable[[Any, dict[str, Any]], fnn.Plan]) -> Saved:
    """Read the file and check all of it; net and config say what the plan was.

    Raises:
        UserError: where the file is missing, damaged, or does not fit its own network.
    """
    tensors, texts = checkpoints.read(path, TEXTS)
    net = checkpoints.built(path, texts["network"])
    plan = plan_of(net, texts["config"])
    like = jax.eval_shape(lambda key: fnn.start(plan, None, net.init(key)), jax.random.key(0))
    state = checkpoints.restored(path, like, tensors)
    return Saved(plan, state, texts["config"], texts["history"])
