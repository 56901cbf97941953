"""Peers that take turns, each in a process of its own.

Two thread pools in one process slow each other down. So every peer is a program of
`benchmarks.peers`, started once; a line to its input is its turn, a line of JSON its
answer. In every round each has one turn, and another peer begins; the first round, in
which they compile, is not timed. A ratio is taken within a round.
"""

import contextlib
import functools
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

ROOT = Path(__file__).parent.parent
OURS = "hand_written"
NEEDS = {  # peer → package
    "pytorch": "torch", "pytorch_compiled": "torch", "flax_nnx": "flax", "equinox": "equinox",
    "jax_private": "jax_privacy", "opacus_ghost": "opacus", "opacus_hooks": "opacus",
    "back_pack": "backpack", "curv_linops": "curvlinops", "kfac_in_jax": "kfac_jax",
}  # fmt: skip
TORCH = "FNN_TORCH_PYTHON"
ELSEWHERE = {  # peer → what names the Python of an environment that has its package
    "pytorch": TORCH, "pytorch_compiled": TORCH, "opacus_ghost": TORCH, "opacus_hooks": TORCH,
    "back_pack": TORCH, "curv_linops": TORCH, "jax_private": "FNN_JAX_PRIVACY_PYTHON",
    "kfac_in_jax": "FNN_KFAC_JAX_PYTHON",
}  # fmt: skip
WORKS = {  # peer → what must run in its Python: torch.compile needs a compiler
    "pytorch_compiled": "import torch; device = 'cuda' if torch.cuda.is_available() else 'cpu'; "
    "torch.compile(lambda a: a.sin() + 1)(torch.ones(3, device=device))",
}
SHARED_DEVICE = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # or one process takes it all
Answer = dict[str, Any]  # "seconds" and whatever else a peer says of its turn


class Ratio(NamedTuple):
    """Our seconds / the peer's, within a round: the median and the quartiles."""

    middle: float
    low: float
    high: float
    seconds: float  # the peer's median
    answers: list[Answer]  # of the peer, the first round's too


def take_turns(
    folder: str, modules: Sequence[str], arguments: Sequence[str], rounds: int
) -> dict[str, Ratio]:
    """The Ratio of every peer that is installed, by module, after `rounds` timed rounds."""
    found = [m for m in modules if interpreter(m)]
    answers: dict[str, list[list[Answer]]] = {m: [] for m in found}
    with contextlib.ExitStack() as stack:
        peers = {m: stack.enter_context(peer(folder, m, arguments)) for m in found}
        for i in range(rounds + 1):
            first = i % len(found)
            for m in found[first:] + found[:first]:
                answers[m].append(peers[m].turn())
    best = {m: fastest(a) for m, a in answers.items()}
    return {m: ratio(best[OURS], a) for m, a in best.items()}


def interpreter(module: str) -> str | None:
    """The Python that runs a peer: one that the environment names, else this one if it can."""
    elsewhere, needs = os.environ.get(ELSEWHERE.get(module, "")), NEEDS.get(module)
    if elsewhere and (needs == "torch" or has(elsewhere, needs)):
        python = elsewhere
    else:
        python = sys.executable if needs is None or importlib.util.find_spec(needs) else None
    works = module not in WORKS or (python and runs(python, WORKS[module]))
    return python if works else None


def has(python: str, package: str | None) -> bool:
    """Whether another Python has a package."""
    found = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return runs(python, found)


@functools.cache
def runs(python: str, code: str) -> bool:
    """Whether a Python runs these lines."""
    return subprocess.run([python, "-c", code], check=False, capture_output=True).returncode == 0


class Peer(NamedTuple):
    """A running program and what it complains about."""

    process: subprocess.Popen[str]
    errors: IO[str]

    def turn(self) -> list[Answer]:
        """Its answers, one for every way to run it."""
        with contextlib.suppress(BrokenPipeError):
            print("go", file=self.process.stdin, flush=True)
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            self.process.wait()
            self.errors.seek(0)
            command = " ".join(map(str, self.process.args))  # pyright: ignore[reportArgumentType]
            raise RuntimeError(f"{command} failed:\n{self.errors.read()[-2000:]}")
        return json.loads(line)


@contextlib.contextmanager
def peer(folder: str, module: str, arguments: Sequence[str]) -> Iterator[Peer]:
    """A peer that runs until the end of the block."""
    command = [str(interpreter(module)), "-m", f"benchmarks.peers.{folder}.{module}", *arguments]
    pipe = subprocess.PIPE
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=os.environ | SHARED_DEVICE,
            stdin=pipe, stdout=pipe, stderr=errors, text=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield Peer(process, errors)
        finally:
            process.kill()


def fastest(answers: Sequence[Sequence[Answer]]) -> list[Answer]:
    """Of [round][way], the rounds of the fastest way: a peer is given its best."""
    ways = [list(way) for way in zip(*answers, strict=True)]
    return min(ways, key=lambda way: float(np.median(seconds(way))))


def seconds(answers: Sequence[Answer]) -> np.ndarray:
    """What every round took, without the first."""
    return np.array([a["seconds"] for a in answers[1:]])


def ratio(ours: Sequence[Answer], theirs: Sequence[Answer]) -> Ratio:
    """The median over the rounds."""
    quotients = seconds(ours) / seconds(theirs)
    low, middle, high = (float(q) for q in np.quantile(quotients, (0.25, 0.5, 0.75)))
    return Ratio(middle, low, high, float(np.median(seconds(theirs))), list(theirs))
