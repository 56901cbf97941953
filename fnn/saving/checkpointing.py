"""What `fit` is told about saving, and how it ends when it is stopped.

    fnn.fit(plan, state, data, …, checkpoint=fnn.Checkpointing("run", every=500))

After every 500 steps, and at the end, the whole run is in a new file of the folder: State, history,
position in the data. The same call again goes on from the newest whole file, to the same
numbers bit for bit as if nothing had happened; where all epochs are done, it returns what they
made.
"""

import importlib
import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fnn.devices.group import Group, group_of
from fnn.records import PyTree, Record
from fnn.saving.settings import parts_of_plan


@dataclass(frozen=True)
class Checkpointing(Record):
    """Where `fit` saves, how often, and how many files it keeps.

    Saving goes on beside the steps, which wait for the copy off the device only; where the disk is
    slower than the steps, the newest State waits for it, and those in between are left out. Every
    file is read back before an older one is removed.

    Args:
        directory: the folder, of this run alone; made where there is none.
        every: steps from one file to the next, at least 1.
        keep: the newest files that are kept, at least 1.
        changed: parts of the Plan that may differ from those in the file to go on from, such as
            ("optimizer",); the run is then another one from there on.

    Raises:
        TypeError: for what is no path, no integer, no names.
        ValueError: for numbers below 1, and a name that is no part of a Plan.
        ImportError: where safetensors is missing, which it needs.
    """

    directory: str | os.PathLike[str]
    every: int
    keep: int = 2
    changed: tuple[str, ...] = ()

    def __post_init__(self):
        """Check every field; the path is taken from where the program is now."""
        super().__post_init__()
        if not isinstance(self.directory, str | os.PathLike) or not os.fspath(self.directory):
            raise TypeError(f"Checkpointing: directory must be a path, got {self.directory!r:.60}.")
        object.__setattr__(self, "directory", Path(self.directory).absolute())
        for name in ("every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"Checkpointing: {name} must be at least 1, got {getattr(self, name)}."
                )
        object.__setattr__(self, "changed", parts_of_plan("Checkpointing", self.changed))
        importlib.import_module("fnn.files")  # says what to install


class Interrupted(KeyboardInterrupt):
    """`fit` was asked to stop, by Ctrl-C or SIGTERM, and has saved where it stood.

    signal is the number of the signal, code what a program should end with (130, 143), step how
    many steps the State in the file `path` has taken.
    """

    def __init__(self, number: int, step: int, path: Path):
        """With what came, and what was saved."""
        name = signal.Signals(number).name
        super().__init__(f"fit: stopped by {name} after step {step}, saved in {path}.")
        self.signal, self.code, self.step, self.path = number, 128 + number, step, path


class NotFinite(FloatingPointError):  # noqa: N818
    """A step made NaN or infinity; it was not taken.

    names are the loss, gradients and parts of the State that were not finite, step how many steps
    the State in the file `path` has taken, the last good one; `first` is what
    fnn.rules.first_non_finite says of the step: the first layer, or None where no layer has any.
    """

    def __init__(
        self, message: str, names: tuple[str, ...], step: int, path: Any, first: Any = None
    ):
        """With what was found, and what was saved."""
        super().__init__(message)
        self.names, self.step, self.path, self.first = names, step, path, first


class Position(NamedTuple):
    """How far a run is."""

    state: Any
    history: tuple[PyTree, ...]  # a row of every epoch that is done
    seen: PyTree  # what the steps of the present epoch reported, [n_batches, ...]
    batch: int = 0  # how many of them there are
    stopped: bool = False  # by the callback, or early
    best: Any = None  # the State of the best epoch, where fit shall return it

    @property
    def group(self) -> Group:
        """The processes that share the State."""
        return group_of(self.state.layout)
