"""A training run with a look at the parameters after every stage, in one compiled program."""

from collections.abc import Callable
from typing import Any

import jax

import fnn


def fit_in_stages(
    plan: fnn.Plan,
    params: Any,
    data: tuple[Any, Any],
    look: Callable[[Any], Any],
    *,
    stages: int,
    epochs: int,
    key: Any = None,
    **how: Any,
) -> tuple[Any, Any]:
    """The last params, and look(params) after each of `stages` times `epochs` epochs.

    Every leaf of the looks has a leading axis [stages]. `how` goes to `fnn.fit`.
    """

    def stage(state, _):
        state, _ = fnn.fit(plan, state, data, epochs=epochs, **how)
        return state, look(state.params)

    state, seen = jax.lax.scan(stage, fnn.start(plan, key, params), None, length=stages)
    return state.params, seen
