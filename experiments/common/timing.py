"""How long programs take, side by side."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

SAMPLE = 2e-3  # seconds; shorter programs run several times in a row


def in_turn(functions: Sequence[Callable[..., Any]], arguments: Any, rounds: int) -> np.ndarray:
    """Seconds of one run of every function, [rounds, functions].

    All are compiled before. In every round each has its turn, and the next round goes the other
    way, so that all see the same machine: compare within a round.
    """
    programs = [jax.jit(f).lower(*arguments).compile() for f in functions]

    def sample(program, calls):
        began = time.perf_counter()
        for _ in range(calls):
            jax.block_until_ready(program(*arguments))
        return (time.perf_counter() - began) / calls

    once = [min(sample(p, 1) for _ in range(3)) for p in programs]
    calls = [max(1, round(SAMPLE / s)) for s in once]
    seconds, order = np.empty((rounds, len(programs))), range(len(programs))
    for i in range(rounds):
        for j in order if i % 2 == 0 else reversed(order):
            seconds[i, j] = sample(programs[j], calls[j])
    return seconds
