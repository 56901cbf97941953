"""Runs that are taken away at some step and go on: SHA-256 of everything as if nothing had been."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

from benchmarks.faults import task
from benchmarks.faults.found import Found
from fnn.saving import pieces


class Stopped(Exception):  # noqa: N818
    """What takes a run away."""


@contextlib.contextmanager
def stopped_at(step: int) -> Iterator[None]:
    """Take runs away before the piece that begins at this step."""
    before = pieces.Run.piece

    def piece(self, position, order, room):
        if int(position.state.step) >= step:
            raise Stopped
        return before(self, position, order, min(room, step - int(position.state.step)))

    pieces.Run.piece = piece
    try:
        with contextlib.suppress(Stopped):
            yield
    finally:
        pieces.Run.piece = before


def resumes(
    n: int, folder: Path, seed: int = 0, optimizers: Sequence[str] = tuple(task.OPTIMIZERS)
) -> Found:
    """n runs, each taken away at one or two random steps, with every optimizer in turn."""
    draw = Random(seed)
    with Found("stopped at random steps") as found:
        for i in range(n):
            stops = sorted(draw.sample(range(1, task.STEPS), 1 + i % 2))
            taken_away(found, folder, stops, draw, optimizer=optimizers[i % len(optimizers)])
    return found


def rows(n: int, folder: Path, seed: int = 0, first: int = 1) -> Found:
    """Data of 1 to n rows in batches of 4, stopped at every step of two epochs."""
    draw = Random(seed)
    with Found(f"{first} to {n} rows") as found:
        for rows in range(first, n + 1):
            for step in range(1, 2 * -(-rows // task.BATCH)):
                taken_away(found, folder, [step], draw, rows=rows, epochs=2)
    return found


def taken_away(found: Found, folder: Path, stops: list[int], draw: Random, **how) -> None:
    """One run, a file after every so many steps; what is not in a file is done again."""
    run = folder / "resumes"
    for stop in stops:
        with stopped_at(stop):
            task.run(run, every=draw.choice([1, 2, 3, 5, 8]), **how)
    step = task.newest(run)
    task.check_folder(found, run, f"{how}, stopped at {stops}", **how)
    batches = -(-how.get("rows", task.ROWS) // task.BATCH)
    found.note("at the end of an epoch" if step % batches == 0 else "in the middle of one")
    shutil.rmtree(run, ignore_errors=True)
