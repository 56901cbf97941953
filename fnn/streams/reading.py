"""The thread that reads a stream: one window ahead, never more.

    reader.first()       the first batch as it was handed over; the thread waits
    reader.admit(intake) what batches must be like; the thread goes on
    reader.take(wait)    the next window; END behind the last; None where none came in this time;
                         with filled=True only the last one has room left
    reader.close()       the thread ends with the batch that it reads, and nobody waits for it

A window is handed over when it is full, and before, where somebody waits for it: a slow reader's
batch is used as soon as it is there. What goes wrong in the thread is raised by `take`, behind the
windows that came before. The thread has the x64 and the default device of the one who made it.
"""

import threading
from collections.abc import Iterator
from typing import Any

import jax

from fnn.streams.sources import NoStream, Place, Source
from fnn.streams.windows import Filling, Intake, Window

AHEAD = 1  # windows on the device that nobody has taken yet
END = "the end"


class Reader:
    """One pass through a source from some place on, or endlessly many."""

    def __init__(self, source: Source, place: Place, voice: str, *, endless: bool, marks: bool):
        """Start the thread; with `marks` it asks after every batch where the source is."""
        self._source, self._place, self._voice = source, place, voice
        self._endless, self._marks = endless, marks
        self._state = threading.Condition()
        self._first: Any = None
        self._intake: Intake | None = None
        self._filling: Filling | None = None
        self._ready: list[Window] = []
        self._error: BaseException | None = None
        self._ended, self._closed, self._stored_in_all = False, False, 0
        config: Any = jax.config  # of the caller: a thread has its own
        self._x64, self._device = config.jax_enable_x64, config.jax_default_device
        self._thread = threading.Thread(target=self._run, name="fnn reader", daemon=True)
        self._thread.start()

    def first(self) -> Any:
        """The first batch as it was handed over.

        Raises:
            ValueError: where there is none.
        """
        with self._state:
            self._state.wait_for(lambda: self._first is not None or self._ended)
            self._raise()
            return self._first

    def admit(self, intake: Intake) -> None:
        """Let the thread go on."""
        with self._state:
            self._intake = intake
            self._state.notify_all()

    def take(self, wait: float | None = None, *, filled: bool = False) -> Any:
        """The next window, END, or None where none came in `wait` seconds; None waits for ever.

        Raises:
            RuntimeError: from what was raised by the source.
            ValueError, TypeError: for a batch that does not fit.
        """
        with self._state:
            self._state.wait_for(lambda: self._ready or self._begun(filled) or self._ended, wait)
            if self._ready:
                window = self._ready.pop(0)
                self._state.notify_all()
                return window
            if self._begun(filled):
                filling, self._filling = self._filling, None
            else:
                self._raise()
                return END if self._ended else None
        return filling.on_device()  # pyright: ignore[reportOptionalMemberAccess]

    def close(self) -> None:
        """Let the thread end; a reader that is blocked is left alone."""
        with self._state:
            self._closed = True
            self._state.notify_all()
        self._thread.join(timeout=0.2)
        self._left()

    def _left(self):
        """Let others have the iterator, once nobody wants more of it and the thread has ended."""
        if self._closed and self._ended:
            self._source.leave()

    def _begun(self, filled):
        """Whether there is a window with room left in it, and something in it, that may be had."""
        return self._filling is not None and self._filling.places and (self._ended or not filled)

    def _raise(self):
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def _run(self):
        """Read, until the end, an error, or nobody wants more."""
        error = None
        try:
            with jax.enable_x64(self._x64), jax.default_device(self._device):
                for place, batch in self._batches():
                    if not self._stored(place, batch):
                        break
        except BaseException as failed:  # it is the caller's
            error = failed
        self._source.close()
        with self._state:
            self._error, self._ended = error, True
            self._state.notify_all()
        self._left()

    def _batches(self) -> Iterator[tuple[Place, Any]]:
        """Every batch, and where the source stands behind it."""
        place = self._place
        while True:
            n, stored = place.batch, self._stored_in_all
            for behind, batch in self._turn(place):
                yield behind, batch
                n = behind.batch
            owner = self._voice.format(place.turn + 1, max(n, 1))
            if n and not place.batch and self._stored_in_all == stored:
                raise ValueError(f"{owner}: no batch is full, and drop_last leaves the others out.")
            if n == 0:
                raise ValueError(
                    f"{owner}: empty batch, there is none; where batches come from a function, it "
                    "must make a new iterator every time."
                )
            if not self._endless or self._source.once:
                return
            place = Place(place.turn + 1)

    def _turn(self, place):
        """The batches of one pass."""
        turn, n, iterator = place.turn, place.batch, None
        while True:
            try:
                iterator = self._source.opened(place) if iterator is None else iterator
                batch = next(iterator)
                mark = self._source.mark() if self._marks else None
            except StopIteration:
                return
            except NoStream:
                raise
            except BaseException as error:
                owner = self._voice.format(turn + 1, n + 1)
                told = f"{owner}: its reader failed, {type(error).__name__}: {error!s:.200}"
                raise RuntimeError(told) from error
            n += 1
            yield Place(turn, n, mark), batch

    def _stored(self, place, batch):
        """Put a batch into a window; False where nobody wants it any more."""
        with self._state:
            if self._intake is None:
                self._first = batch
                self._state.notify_all()
            self._state.wait_for(lambda: self._intake is not None or self._closed)
            if self._closed or self._intake is None:
                return False
            filling, self._filling = self._filling, None  # out of reach while it is written
        filling = filling or self._intake.window()
        try:
            n = len(filling.places)
            filling.put(place, batch)
            self._stored_in_all += len(filling.places) - n
        finally:
            with self._state:
                self._filling = filling
                self._state.notify_all()
        return not filling.full or self._delivered()

    def _delivered(self):
        """Hand a full window over, once there is room; False where nobody wants it any more."""
        with self._state:
            filling, self._filling = self._filling, None
        if filling is None:  # somebody was waiting for it
            return True
        window = filling.on_device()
        with self._state:
            self._state.wait_for(lambda: len(self._ready) < AHEAD or self._closed)
            self._ready.append(window)
            self._state.notify_all()
            return not self._closed
