"""Every call that writes refused, once or from then on, and the folder gone in the middle.

Three ways to write: one file over an older one, a run that `fit` saves, the folder of an
experiment. What is refused must be told, the older files stay, and the next run goes on from them.
"""

import contextlib
import csv
import errno
import io
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import fnn
from benchmarks.faults import task
from benchmarks.faults.calls import Calls, Event, Fault, at_call, gone, refused
from benchmarks.faults.found import Found
from benchmarks.faults.resumes import stopped_at
from experiments.common import checkpoints, cli, plots, runs
from experiments.common.data import Standardizer

EVENTS: dict[str, Event] = {
    "no space": refused(errno.ENOSPC), "read-only": refused(errno.EROFS),
    "broken": refused(errno.EIO), "folder gone": gone,
}  # fmt: skip


class Way(NamedTuple):
    """A way to write: what was there before, the writing, and what must hold behind it."""

    prepare: Callable[[Path], None]
    write: Callable[[Path], bool]  # whether all went well; False where a refusal was told
    check: Callable[[Found, Path, str, bool, Calls], None]


def refusals(
    every: int, folder: Path, seed: int = 0, ways: Sequence[str] = ("file", "run", "experiment")
) -> Found:
    """Every way to write with every event at every call; `every`: the so-manieth of them only."""
    del seed
    with Found("a call that writes refused") as found:
        number = 0
        for name, way in ((name, WAYS[name]) for name in ways):
            with prepared(folder, way) as path, at_call(path) as calls:
                assert way.write(path), name
            found.figures[f"calls, {name}"] = n = len(calls.names)
            for event in EVENTS:
                for lasting in (False, True):
                    for i in range(1, n + 1):
                        number += 1
                        if number % every == 0:
                            fault = Fault(EVENTS[event], i, lasting=lasting)
                            what = f"{name}, {event}{' from' * lasting} at call {i}"
                            one(found, folder, way, fault, what, event)
    return found


def one(found: Found, folder: Path, way: Way, fault: Fault, what: str, event: str) -> None:
    """One trial."""
    with prepared(folder, way) as path:
        with at_call(path, fault) as calls:
            try:
                well = way.write(path)
            except Exception as error:
                found.note(f"{event}: crashed")
                found.blame(f"{what}: {type(error).__name__}: {error}")
                return
        at = calls.names[fault.number - 1] if len(calls.names) >= fault.number else "none"
        refusal = calls.struck and event != "folder gone"
        found.note(f"{event}: {('not told' if refusal else 'went on') if well else 'told'}")
        if refusal and well:
            found.blame(f"{what}, {at}: not told")
        try:
            way.check(found, path, f"{what}, {at}", well, calls)
        except Exception as error:
            found.blame(f"{what}, {at}: left what is not whole: {type(error).__name__}: {error}")


@contextlib.contextmanager
def prepared(folder: Path, way: Way) -> Any:
    """A folder with what was there before."""
    path = folder / "refusals"
    path.mkdir()
    try:
        way.prepare(path)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def check_left(found: Found, path: Path, what: str, calls: Calls) -> None:
    """Blame what is half written and stayed, where it could be removed."""
    if calls.struck == 1 and "unlink" not in what and (left := [*path.glob("**/*.partial")]):
        found.blame(f"{what}: {[p.name for p in left]} stayed")


# one file, over an older one


def tree(step: int) -> dict[str, Any]:
    """What a file holds."""
    return {"w": np.full(3000, step, np.float32), "key": jax.random.key(step)}


def save(path: Path) -> bool:
    """Save another one."""
    try:
        fnn.checkpoints.save(path / "a", tree(2))
    except OSError:
        return False
    return True


def check_file(found: Found, path: Path, what: str, well: bool, calls: Calls) -> None:
    """It is the old one or the new one, as was told."""
    check_left(found, path, what, calls)
    if "gone" in what:
        return
    step = int(fnn.checkpoints.load(path / "a", tree(0))["w"][0])
    if step not in ({2} if well else {1, 2}):  # told behind its move, where the disk has it not
        found.blame(f"{what}: step {step}, told {not well}")


# a run that fit saves


def begin(path: Path) -> None:
    """A run some steps on."""
    source = path.with_name("begun")
    if not source.exists():
        with stopped_at(20):
            task.run(source, every=20)
    shutil.copytree(source, path, dirs_exist_ok=True)


def go_on(path: Path) -> bool:
    """Go on with it."""
    try:
        task.run(path, every=50)
    except OSError:
        return False
    return True


def check_run(found: Found, path: Path, what: str, well: bool, calls: Calls) -> None:
    """It goes on from there; where nothing was told, its last file is there."""
    check_left(found, path, what, calls)
    if well and "gone" not in what and task.newest(path) != task.STEPS:
        found.blame(f"{what}: nothing was told, and the last file is missing")
    task.check_folder(found, path, what)


# the folder of an experiment


@dataclass(frozen=True)
class Config:
    """Settings of one."""

    out: Path | None = None


def command(path: Path) -> bool:
    """What an experiment writes, without what it trains; told in one line, with code 2 or 3."""
    out, said = path / "run", io.StringIO()

    def main():
        with runs.Run(runs.folder(out, "faults"), Config(out)) as run:
            for epoch in range(3):
                run.row(epoch=epoch, loss=0.5)
            net = fnn.mlp([2, 3])
            standardize = Standardizer(np.zeros(2, np.float32), np.ones(2, np.float32))
            saved = checkpoints.Checkpoint(net, net.init(jax.random.key(0)), standardize, {})
            checkpoints.save(run.path / "params.safetensors", saved)
            plots.save(plots.picture("a picture", size=(1, 1))[0], run.path / "a.png")
            run.summary({"done": True})

    with contextlib.redirect_stderr(said):
        code = cli.exit_code(main)
    text = said.getvalue()
    if code not in (0, cli.USAGE, cli.DATA) or text.count("\n") != (code != 0):
        raise AssertionError(f"code {code}: {text}")
    return code == 0


def check_command(found: Found, path: Path, what: str, well: bool, calls: Calls) -> None:
    """What is there is whole."""
    check_left(found, path, what, calls)
    run = path / "run"
    for file in run.glob("*"):
        if file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            rows = [*csv.reader(file.read_text().splitlines())]
            whole = file.read_text().endswith("\n") or calls.struck > 1  # then it cannot be cut
            if not whole or not all(len(row) == 2 for row in rows):
                found.blame(f"{what}: metrics.csv is {file.read_text()!r}")
        elif file.suffix == ".safetensors":
            checkpoints.load(file)
    if well and "gone" not in what and not (run / "summary.json").exists():
        found.blame(f"{what}: nothing was told, and the results are missing")


WAYS = {
    "file": Way(lambda path: fnn.checkpoints.save(path / "a", tree(1)), save, check_file),
    "run": Way(begin, go_on, check_run),
    "experiment": Way(lambda path: None, command, check_command),
}
