"""Whole training steps of the nets of benchmarks.steps, by Adam (rate 0.001).

A way to run a peer is start(net, params, x, target) → step, with the arrays that
benchmarks.steps draws; net is "gpt", say, or "gpt, bfloat16", which some peers do not have, and
may end in its sizes.
step() updates the parameters once and returns the loss before. Every step has the same batch. As
in a training loop nothing waits for a step but the one after it; a turn ends when the last loss
is known.
"""

import functools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.peers import serve

RATE = 1e-3
EPS = 1e-5  # of LayerNorm
SURE = 16  # written bytes that are compared: a near tie makes all behind it differ
OUTSIDE = {"table", "positions", "scale", "b", "w"}  # of gpt's blocks
Start = Callable[[str, dict[str, Any], Any, Any], Callable[[], Any]]


def main(*starts: Start, wait: Callable[[], None] = lambda: None) -> None:
    """`n` further steps whenever asked; `wait` for what may still run after the last loss."""
    net, path, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with np.load(path) as data:
        arrays = dict(data)
    x, target = arrays.pop("x"), arrays.pop("target")
    steps = [start(net, arrays, x, target) for start in starts]
    serve([functools.partial(timed, step, n, wait) for step in steps])


def timed(step: Callable[[], Any], n: int, wait: Callable[[], None]) -> dict[str, float]:
    """Seconds per step, the first and the last loss."""
    start = time.perf_counter()
    losses = [step() for _ in range(n)]
    last = float(losses[-1])
    wait()
    seconds = (time.perf_counter() - start) / n
    return {"seconds": seconds, "first": float(losses[0]), "last": last}


def heads(n: int) -> int:
    """Of gpt's attention: of width 64, but four at least."""
    return max(4, n // 64)


def blocks(params: dict[str, Any]) -> list[dict[str, Any]]:
    """The parameters of every block of gpt: what is stacked in params, one by one."""
    stacked = {name: a for name, a in params.items() if name not in OUTSIDE}
    n_layers = len(params["wq"])
    return [{name: a[i] for name, a in stacked.items()} for i in range(n_layers)]


def halved(name: str) -> tuple[str, bool]:
    """The name of the net alone, and whether it computes in bfloat16."""
    net, *rest = name.split(", ")
    return net, "bfloat16" in rest
