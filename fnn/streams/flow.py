"""A stream in pieces: some batches of a window, pass by pass or on and on.

Without `steps` an epoch is a pass through the source, which is opened anew for the next; with them
it is so many batches of one flow, in which a source that ends is opened again.
"""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.core

from fnn.batches import AT_ONCE, Rows, is_large
from fnn.devices.group import group_of
from fnn.errors import by_path
from fnn.records import PyTree, Record
from fnn.sharding import Layout, layout_of
from fnn.streams.mapped import Mapped
from fnn.streams.reading import END, Reader
from fnn.streams.sharing import Shared
from fnn.streams.sources import Place, Source, is_stream
from fnn.streams.windows import Intake, Window, form_of
from fnn.texts import text

WORDS = {False: "epoch", True: "pass"}  # what one pass through a source is, without and with steps
Piece = tuple[Window, int, int]  # batches begin, …, end − 1 of a window


class Stream:
    """Batches for `fit` or `evaluate`; a context, at whose end nothing reads any more."""

    def __init__(
        self, owner: str, name: str, data: Any, voice: str, *,
        steps: int | None = None, marks: bool = False, layout: Layout | None = None,
    ):  # fmt: skip
        """Nothing is read yet. `voice` begins errors, with {} for pass and batch."""
        self._group = group_of(layout)
        self._shared = Shared(layout, steps) if layout and self._group.several else None
        self.source, self.steps, self.data = Source(owner, name, data), steps, data
        self._owner, self._name, self._voice, self._marks = owner, name, voice, marks
        self._intake: Any = None
        self.like: Any = None  # the shapes of a batch, once it has begun
        self._reader: Reader | None = None
        self._rest: tuple[Any, int] = None, 0  # a window, and how many of its batches are used
        self.place = Place()  # behind what was used
        self._behind: Any = None  # where to go on, and how that is called

    def __enter__(self) -> "Stream":
        """Read from here on."""
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop reading."""
        self.close()

    def begin(self, trained: Any, size: int | None = None, drop_last: bool = False) -> Rows:
        """The shapes of a batch, after a look at the first one; see `Intake`."""
        reader = self._opened()

        def begun():
            first = reader.first()
            return first, Intake(self._voice, trained, first, size, drop_last)

        first, self._intake = self._group.each_does(f"{self._owner}: {self._name} begin", begun)
        if self._shared:
            self._intake = self._shared.intake(self._voice, trained, first, self._intake)
        reader.admit(self._intake)
        self.like = jax.tree.map(self._of_all, self._intake.like)
        return self.like

    def _of_all(self, a):
        """The shape of an array of a batch with the rows of all processes."""
        return jax.ShapeDtypeStruct((len(a) * self.processes, *a.shape[1:]), a.dtype)

    @property
    def processes(self) -> int:
        """How many read a part of every batch."""
        return self._group.size

    def starts(self, state: Any, batch: int = 0) -> None:
        """Say that an epoch begins at this State, or that so many of its batches are behind it."""
        if isinstance(self.data, Mapped):
            self.data.starts(state, batch)

    def epoch(self) -> Iterator[Piece]:
        """The pieces of an epoch.

        Raises:
            ValueError: where the source ends for good before `steps` batches.
        """
        done = 0
        while done != self.steps:
            piece = self.piece(None if self.steps is None else self.steps - done)
            if not piece:
                break
            done += piece[2] - piece[1]
            yield piece
        if self.steps is None:
            self.next_pass()
        else:
            self.check_endless(done)

    def check_endless(self, done: int) -> None:
        """Raise where the source ended for good, `done` steps into an epoch of more.

        Raises:
            ValueError: with how many batches there were.
        """
        if self.steps is not None and done < self.steps:
            raise ValueError(
                f"{self._owner}: {self._name} ended after {self.place.batch} batches, in an epoch "
                f"of {self.steps} steps, and cannot begin again; give a function that makes an "
                "iterator."
            )

    def piece(self, most: int | None = None, wait: float | None = None) -> Piece | tuple[()] | None:
        """At most so many batches more; None at the end of a pass, () where none came in time."""
        self._gone_on()
        window, begin = self._rest
        if window is None or begin == len(window.places):
            window, begin = self._taken(self._opened(), wait), 0
            if window is END or window is None:
                return None if window is END else ()
        end = len(window.places) if most is None else min(len(window.places), begin + most)
        self._rest, self.place = (window, end), window.places[end - 1]
        return window, begin, end

    def _taken(self, reader, wait):
        """The next window."""
        return self._shared.take(reader, wait, self.place) if self._shared else reader.take(wait)

    def go_to(self, place: Place, where: str) -> None:
        """The next piece is the one behind this place, reached in `where`."""
        self._behind = None if place == self.place else (place, where)

    def _gone_on(self):
        """Bring the source to the place that was asked for, now that more is wanted."""
        if self._behind is None:
            return
        (place, where), self._behind = self._behind, None
        if not self.source.exact:
            told = f"{self._owner}: going on in {where}, {self._name} cannot say where it is: "
            passed = f"its first {place.batch} batches are passed over; where they come in another "
            passed += "order now, some rows are used twice and others not."
            anew = "it begins anew, as in a first epoch."
            warnings.warn(told + (passed if place.batch else anew), stacklevel=2)
        if self.source.once and place.mark is None:
            self._check_alone()
            while self.place.batch < place.batch:
                if not self.piece(place.batch - self.place.batch):
                    raise ValueError(
                        f"{self._owner}: {self._name} ended after {self.place.batch} batches, of "
                        f"which {place.batch} were used before."
                    )
            return
        self.close()
        self.place = place

    def _check_alone(self):
        """Raise for an iterator of one of several processes, each of which passes others over."""
        if self._shared:
            raise NotImplementedError(
                f"{self._owner}: {self._name} is an iterator that cannot say where it is, and "
                "several processes do not go on with it; give a function that makes one."
            )

    def told(self, sha: Callable[[PyTree], str]) -> str:
        """What is known of the data, for a run to be told from another."""
        data = text(self.data) if isinstance(self.data, Record) else "a stream"
        if isinstance(self.data, Mapped):
            data = f"{self.data.n} rows, {sha(self.data.some())}"
        forms = [f"{name} {form_of(a)}" for name, a in by_path("", self.like).items()]
        return f"{data} of {', '.join(forms)}"

    @property
    def slots(self) -> int:
        """How many batches a window has room for."""
        return self._intake.slots

    def next_pass(self) -> None:
        """The next piece is of the pass behind this one."""
        self.close()
        self.place = Place(self.place.turn + 1)

    def close(self) -> None:
        """Read no more."""
        if self._shared:
            self._shared.begins_anew()
        if self._reader is not None:
            self._reader.close()
        self._reader, self._rest = None, (None, 0)

    def _opened(self):
        """The reader of the present pass."""
        if self._reader is None:
            how = {"endless": self.steps is not None, "marks": self._marks}
            self.source = self.source.anew()
            self._reader = Reader(self.source, self.place, self._voice, **how)
            if self._intake is not None:
                self._reader.admit(self._intake)
        return self._reader


def streamed(
    owner: str, name: str, data: Any, trained: Any, *, first: Any = None,
    epochs: int = 1, steps: int | None = None, batch_size: int | None = None,
    drop_last: bool = False, marks: bool = False, layout: Layout | None = None,
) -> Stream:  # fmt: skip
    """A stream that has begun, of data that stream or of large memory-mapped arrays.

    The order of the rows is that of the `first` State, where one is given.

    Raises:
        ValueError: for an iterator that is wanted in several epochs, steps of arrays, and under
            jit and vmap.
    """
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((trained, first))):
        raise ValueError(f"{owner}: a stream is read on the host; call it outside jit and vmap.")
    large, part = not is_stream(data), "" if name == "data" else f"{name} "
    if large:
        if owner == "fit" and name == "data":
            check_arrays_only(owner, steps, batch_size)
        size, rest = divmod(batch_size or AT_ONCE, n := group_of(layout).size)
        if rest or not size:
            raise ValueError(f"{owner}: batch_size must be a multiple of the {n} processes.")
        data = Mapped(owner, name, data, size, drop_last)
    turn = f"{WORDS[steps is not None]} {{0}}, " if (owner, name) == ("fit", "data") else ""
    voice = f"{owner}, {turn}{part}batch {{1}}"
    stream = Stream(owner, name, data, voice, steps=steps, marks=marks, layout=layout)
    if first is not None:
        stream.starts(first)
    if stream.source.once and steps is None and epochs > 1:
        raise ValueError(
            f"{owner}: {name} is an iterator, whose batches come once, where {epochs} epochs want "
            "them; give a function that makes one, or the steps of an epoch."
        )
    try:
        stream.begin(trained, None if large else batch_size, drop_last)
    except BaseException:
        stream.close()
        raise
    return stream


def streams(owner: str, name: str, data: Any, state: Any) -> bool:
    """Whether data come batch by batch: a stream, or memory-mapped arrays that are large.

    Of several processes that share the State all do where those of one are large.
    """
    kinds = group_of(layout_of(state)).numbers(2 if is_stream(data) else int(is_large(data)))
    if kinds.max() == 2 != kinds.min():
        raise ValueError(f"{owner}: {name} must be a stream in all processes, or in none.")
    return bool(kinds.max())


def check_arrays_only(owner: str, steps: Any, batch_size: Any) -> None:
    """Raise for arrays without a batch size, or with the steps of an epoch."""
    if steps is not None:
        raise ValueError(
            f"{owner}: steps are for data that stream; an epoch of arrays is all their rows."
        )
    if batch_size is None:
        raise TypeError(f"{owner}: give batch_size, the rows of a step.")
