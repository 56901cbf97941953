"""A run and the folder that it lives in: where it goes on, when it is saved, how it stops.

A file holds the State, the history of the epochs that are done and what the steps of the present
one reported; and as texts the Plan, the position, and what else decides the numbers:

    batch_size, drop_last, x64
    data, validation    SHA-256 of every array
    stop                when it is over; a file has the State of the best epoch, too, if asked for
    begin               SHA-256 of the first State, key included
    processes           that read parts of a stream, where there are several

Of several processes that share a State the first one holds the folder and writes, whole arrays;
what they say of their data stands there side by side, and all read the file, which they must see.

Where one of these differs from what `fit` is called with, the run is another one: an error. The
order of the rows follows from the key and the step, so that k steps, a kill and a second call make
the numbers that one call makes.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from fnn.devices.group import Elsewhere, group_of, same
from fnn.epochs import stacked
from fnn.files import CheckpointError, digest
from fnn.plan import State
from fnn.records import PyTree
from fnn.saving.checkpointing import Checkpointing, Interrupted, NotFinite, Position
from fnn.saving.folders import Found, cleaned, locked, made, newest, numbered, step_in, whole
from fnn.saving.interrupts import Noted
from fnn.saving.packing import RUN, check_settings, fitted, packed, parsed, unpacked
from fnn.saving.settings import changes
from fnn.saving.writer import Writer, writing
from fnn.sharding import put

FEW = 3  # names in a message
TREES = "state", "best"


@contextlib.contextmanager
def saving(
    run: Any, state: State, checkpoint: Checkpointing, signals: Noted, epochs: int
) -> Iterator[tuple[Position, "Saver"]]:
    """The folder, locked, with the run at its newest whole file, or before its first step.

    Raises:
        CheckpointError: where the folder holds another run, or none of its files is whole.
        OSError: where it cannot be written, or another process has it.
    """
    directory, group = Path(checkpoint.directory), group_of(state.layout)
    with contextlib.ExitStack() as stack:

        def opened():
            made(directory)
            stack.enter_context(locked(directory))
            cleaned(directory)
            return newest("fit", directory)

        group.check_same("fit: the folder of a checkpoint", lambda: f"{directory}")
        found = group.first_does("fit: opening the folder", opened)
        known = None if found is None else found.path
        step = group.agreed(-1 if known is None else step_in(known))
        if step >= 0:  # every process reads this file
            found = group.each_does("fit: reading", lambda: found or in_file(directory, step))
        writer = stack.enter_context(writing(directory, checkpoint.keep, known))
        saver = Saver(run, state, checkpoint, signals, writer)
        yield saver.begin(state, epochs, found), saver


class Saver:
    """What is done between the pieces of a run: saving, and stopping where that is asked for."""

    def __init__(
        self, run: Any, state: State, checkpoint: Checkpointing, signals: Noted, writer: Writer
    ):
        """With the State before the first step."""
        self._run, self._checkpoint, self._signals = run, checkpoint, signals
        self._group = group_of(state.layout)
        self._facts, self._first, self._writer = facts(run, state), step_of(state), writer
        self._saved: Any = None

    def begin(self, state: State, epochs: int, found: Found | None) -> Position:
        """Where the run goes on: at the position in this file, or before its first step."""
        if found is None:
            return Position(state, (), self._run.nothing_seen(state))
        position = self._position(state, found)
        if (done := len(position.history)) > epochs:
            raise ValueError(
                f"fit: epochs must be at least {done}, as many as the run in {found.path} has "
                f"done, got {epochs}; name another folder for a shorter one."
            )
        self._saved = mark(position)
        return position

    def room(self, position: Position) -> int:
        """How many steps there may be before the next file."""
        every = self._checkpoint.every
        return every - (step_of(position.state) - self._first) % every

    def reached(self, position: Position) -> None:
        """Save where a file is due; where a signal came, save and stop.

        Raises:
            Interrupted: where a signal came.
            OSError, CheckpointError: where a file could not be written.
        """
        if position.batch == self._run.n_batches:  # its row of history comes first
            return
        number, step = self._group.largest(self._signals.signal), step_of(position.state)
        if number:
            self.at_the_end(position)
            raise Interrupted(number, step, numbered(self._checkpoint.directory, step))
        if self.room(position) == self._checkpoint.every:
            self._save(position)

    @contextlib.contextmanager
    def kept_behind_errors(self, position: Position) -> Iterator[None]:
        """Save the run where it stands, should its data fail: the next one goes on from there.

        Not where another process, which knows nothing of it, would have to help.
        """
        try:
            yield
        except (RuntimeError, TypeError, ValueError):
            if not self._group.several:
                self.at_the_end(position)
            raise

    def at_the_end(self, position: Position) -> None:
        """Save, and wait for the disk."""
        self._save(position)
        self._group.first_does("fit: saving", self._writer.finish)

    def not_finite(self, position: Position, names: tuple[str, ...], first: Any) -> None:
        """Save the last good State, and raise NotFinite; `first` is a Place, or None."""
        step, cause = step_of(position.state), None
        path = numbered(self._checkpoint.directory, step)
        try:
            self.at_the_end(position)
            saved = f"the State before it is in {path}"
        except (OSError, CheckpointError, Elsewhere) as error:
            saved, cause = f"nor could the State before it be saved: {error!s:.120}", error
        told = ", ".join(names[:FEW]) + f" and {len(names) - FEW} more" * (len(names) > FEW)
        place = "" if first is None else f", first in {first}"
        message = (
            f"fit: step {step + 1} is not finite in {told}{place} "
            f"({self._run.circumstances(position)}); it was not taken; {saved}."
        )
        raise NotFinite(message, names, step, path, first) from cause

    def _save(self, position):
        """Hand the run to the writer, unless it is saved as it stands."""
        if mark(position) == self._saved:
            return
        seen, more = self._run.kept(position)
        tree: dict[str, Any] = {"state": position.state, "seen": seen}
        if position.history:
            tree["history"] = stacked(position.history)
        tree |= {} if position.best is None else {"best": position.best}
        tree = self._group.on_host(tree)
        place = {"epochs": len(position.history), "batch": position.batch}
        place |= {"stopped": position.stopped, "read": self._group.of_all(more)}
        step = step_of(position.state)

        def offered():
            tensors, texts = packed("fit", tree, self._run.plan, None, RUN)
            texts["run"] = json.dumps(self._facts | {"position": place})
            self._writer.offer(step, tensors, texts)

        self._group.first_does("fit: saving", offered)
        self._saved = mark(position)

    def _position(self, state, found):
        """The run as a file has it."""
        path, run = f"{found.path}", self._run
        contents = unpacked(path, found.contents)
        if contents.texts.get("holds") != RUN:
            raise CheckpointError(f"{path} is no run that fit saved; name another folder.")
        check_settings(path, contents, run.plan, self._checkpoint.changed)
        said = parsed(path, "run", contents.texts.get("run", ""))
        place = self._place(path, said)
        n, batch = place["epochs"], place["batch"]
        like: dict[str, Any] = {"state": state}
        like["seen"] = run.kept_like(state, batch)
        if n:
            like["history"] = run.history_like(state, n, place)
            like |= {"best": state} if run.keeps_best else {}
        tree = fitted(path, contents.tensors, like)
        history = jax.device_get(tree.get("history"))
        rows = tuple(jax.tree.map(lambda a, i=i: a[i], history) for i in range(n))
        now, best = (jax.tree.map(placed, tree[n], state) if n in tree else None for n in TREES)
        position = Position(now, rows, None, batch, place["stopped"], best)
        return run.goes_on(position, tree["seen"], place)

    def _place(self, path, said):
        """How many epochs and batches are done, whether that is the end; of this very run."""
        here = {name: f"{value}" for name, value in self._facts.items()}
        try:
            place = said.pop("position")
            n, batch, stopped = (place[name] for name in ("epochs", "batch", "stopped"))
            place |= self._group.own(place.pop("read"))
            told = changes({name: f"{value}" for name, value in said.items()}, here)
            whole = n >= 0 and 0 <= batch < self._run.n_batches and stopped in (True, False)
            self._run.check_place(place)
        except (AttributeError, LookupError, TypeError, ValueError):
            raise CheckpointError(f"{path} does not say how far its run is.") from None
        if told:
            raise CheckpointError(f"{path} is of another run: {told}; name another folder.")
        if not whole:
            raise CheckpointError(f"{path} is at epoch {n}, batch {batch}, where no run can be.")
        return place


def facts(run: Any, state: State) -> dict[str, Any]:
    """What besides the plan decides the numbers of a run; of several processes what all say."""
    told, group = {} if run.stop is None else {"stop": repr(run.stop)}, group_of(state.layout)
    told |= {"x64": bool(jax.config.read("jax_enable_x64")), **run.facts(sha_of)}
    each = group.of_all(told)
    told = {name: [one[name] for one in each] for name in told}
    told = {name: values[0] if same(values) else values for name, values in told.items()}
    return told | {"begin": sha_of(group.on_host(state))}


def in_file(directory: Path, step: int) -> Found:
    """What the file behind this step holds."""
    path = numbered(directory, step)
    return Found(path, whole(path))


def sha_of(tree: PyTree) -> str:
    """SHA-256 of every array of a tree, with names, dtypes and shapes."""
    return digest(packed("fit", tree, None, None, RUN)[0], {})


def step_of(state: State) -> int:
    """How many steps it has taken."""
    return int(state.step)


def mark(position: Position) -> tuple[Any, ...]:
    """What tells two files of a run apart."""
    return step_of(position.state), len(position.history), position.stopped


def placed(a: jax.Array, like: jax.Array) -> jax.Array:
    """The array on the devices of another one, where these are several."""
    sharding: Any = like.sharding
    return a if len(sharding.device_set) == 1 else put(a, sharding)
