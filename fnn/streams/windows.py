"""Windows: a few batches of a stream side by side, in the host's memory, then on the device.

    rows[i]    batch i, filled up to the size of all with its own rows, from the first on
    real[i]    which of its rows count

The first batch says the form of all: arrays, dtypes, shapes but for the rows, and the most rows,
where the caller does not. What a batch holds is copied at once, and checked as arrays are.
"""

import contextlib
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fnn.arrays import as_host
from fnn.batches import Rows, as_rows, check_stateless, check_values, predicted
from fnn.errors import by_path
from fnn.streams.sources import Place

ALIGNED = 64  # bytes
BYTES, MOST = 2**22, 32  # of a window of more than one batch; the most batches


class Filled(NamedTuple):
    """A batch that is full, of whose rows some do not count."""

    rows: Rows  # [size, ...]
    real: np.ndarray  # [size]


class Window(NamedTuple):
    """Batches on the device."""

    rows: Rows  # [slots, size, ...]
    real: Any  # [slots, size]; None where all rows count
    places: tuple[Place, ...]  # where the source stood behind each batch that there is


class Intake:
    """What every batch of a stream must be like, and how it gets into a window."""

    def __init__(
        self, voice: str, trained: Any, first: Any, size: int | None = None,
        drop_last: bool = False, upload: Any = None,
    ):  # fmt: skip
        """Of the first batch. `trained` is (net, loss, params, key); `voice` begins errors.

        `upload` (rows, real, n) brings a window of n batches onto the devices.
        """
        self.voice, self.drop_last, self.loss = voice, drop_last, trained[1]
        self.upload = upload or (lambda rows, real, n: jax.device_put((rows, real)))
        with speaking_of(voice.format(1, 1)) as owner:
            rows = self._rows(owner, first)
            check_stateless(owner, "it", rows.x)
            if len(rows.target) == 0:
                raise ValueError(f"{owner}: empty batch, there are no rows.")
            self.size = len(rows.target) if size is None else size
            self.said = size is not None
            self.like = jax.tree.map(
                lambda a: jax.ShapeDtypeStruct((self.size, *a.shape[1:]), a.dtype), rows
            )
            self._form = jax.tree.structure(self.like)
            self.y = predicted(trained, self.like.x)
        self.bytes = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(self.like))
        self.slots = max(min(BYTES // max(self.bytes, 1), MOST), 1)

    def window(self) -> "Filling":
        """An empty one."""
        return Filling(self)

    def rows_of(self, owner: str, batch: Any) -> Filled | None:
        """A batch with the form of all, not yet copied; None where it is left out."""
        rows = self._rows(owner, batch)
        n = len(rows.target)
        real = np.arange(self.size) < n
        real[:n] &= batch.real if isinstance(batch, Filled) else True
        self._check_form(owner, rows)
        if n > self.size:
            most = "batch_size" if self.said else "those of the first batch"
            hint = "" if self.said else "; say batch_size, the most rows of a batch"
            raise ValueError(f"{owner}: it has {n} rows, more than {most}, {self.size}{hint}.")
        return None if n == 0 or (self.drop_last and n < self.size) else Filled(rows, real)

    def _rows(self, owner, batch):
        """What a reader handed over, as numpy's arrays."""
        batch = batch.rows if isinstance(batch, Filled) else batch
        return as_rows(owner, "a batch", batch, as_host)

    def _check_form(self, owner, rows):
        """Raise unless all but the number of rows is as in the first batch."""
        pairs = zip(*map(jax.tree.leaves, (rows, self.like)), strict=False)
        if jax.tree.structure(rows) == self._form and all(
            (a.shape[1:], a.dtype) == (b.shape[1:], b.dtype) for a, b in pairs
        ):
            return
        got, want = by_path("", rows), by_path("", self.like)
        if got.keys() != want.keys() or jax.tree.structure(rows) != self._form:
            raise ValueError(
                f"{owner}: it must have the arrays of the first batch, {', '.join(want)}, got "
                f"{', '.join(got)}."
            )
        for name, a in got.items():
            like = want[name]
            if (a.shape[1:], a.dtype) != (like.shape[1:], like.dtype):
                raise ValueError(
                    f"{owner}: {name} must be {form_of(like)} as in the first batch, got "
                    f"{form_of(a)}; batches may differ in the number of rows alone."
                )


class Filling:
    """A window in the host's memory, batch by batch."""

    def __init__(self, intake: Intake):
        """With room for as many as a window has."""
        self._intake, n = intake, intake.slots
        self._rows = jax.tree.map(lambda a: aligned((n, *a.shape), a.dtype), intake.like)
        self._real = None if intake.drop_last else np.zeros((n, intake.size), bool)
        self.places: tuple[Place, ...] = ()

    @property
    def full(self) -> bool:
        """Whether there is no room left."""
        return len(self.places) == self._intake.slots

    def put(self, place: Place, batch: Any) -> None:
        """Copy a batch, and check what it holds."""
        intake, i = self._intake, len(self.places)
        with speaking_of(intake.voice.format(place.turn + 1, place.batch)) as owner:
            filled = intake.rows_of(owner, batch)
            if filled is None:
                return
            n = len(filled.rows.target)
            for a, b in zip(*map(jax.tree.leaves, (self._rows, filled.rows)), strict=True):
                a[i, :n] = b
                if n < intake.size:
                    a[i, n:] = a[i, np.arange(n, intake.size) % n]
            mine = jax.tree.map(lambda a: a[i], self._rows)
            check(owner, intake, mine)
        if self._real is not None:
            self._real[i] = filled.real
        self.places = (*self.places, place)

    def on_device(self) -> Window:
        """The window, which is not written any more."""
        rows, real = self._intake.upload(self._rows, self._real, len(self.places))
        return Window(rows, real, self.places)


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An empty array whose memory a CPU device takes as it is."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + ALIGNED, np.uint8)
    begin = -memory.ctypes.data % ALIGNED
    return memory[begin : begin + size].view(dtype).reshape(shape)


def check(owner: str, intake: Intake, rows: Rows) -> None:
    """Check values as those of arrays are; a batch may hold nothing that counts."""
    counts = intake.loss.counted(rows.target)
    if counts is None or np.asarray(counts).any():
        check_values(owner, "", intake.loss, intake.y, rows)


@contextlib.contextmanager
def speaking_of(owner: str) -> Iterator[str]:
    """Errors say where they come from, "fit, epoch 1, batch 7"."""
    try:
        yield owner
    except (TypeError, ValueError, NotImplementedError) as error:
        said = f"{error.args[0]}" if error.args else ""
        if not said.startswith(owner):
            error.args = (f"{owner}: {said}", *error.args[1:])
        raise


def form_of(a: Any) -> str:
    """float32[B, 784]."""
    return f"{a.dtype}[{', '.join(['B', *map(str, a.shape[1:])])}]"
