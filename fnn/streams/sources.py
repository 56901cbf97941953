"""Where batches come from: what is a stream, how it begins, and from where it can go on.

    a function () → iterator, or an iterable      begun anew for every pass
    an iterator                                   for one pass
    an object with batches(epoch, begin)          begins at any batch: a Sampler

A batch is (x, target) or (x, target, weights). A source begins again at some place of some pass
exactly where it has `batches`, or its iterators have get_state and set_state. Elsewhere the
batches before that place are read and passed over, which is the same where it gives the same
batches in the same order.
"""

import base64
import contextlib
import itertools
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np


class Place(NamedTuple):
    """How far a source was read."""

    turn: int = 0  # passes before this one
    batch: int = 0  # batches of this one
    mark: str | None = None  # what its iterator said of itself


class NoStream(TypeError):  # noqa: N818
    """What was made is no iterator, or one that is read already."""


_READ: dict[int, "Source"] = {}  # by the id of an iterator that was made


def is_stream(data: Any) -> bool:
    """Whether `data` is read batch by batch, and not as arrays."""
    if isinstance(data, tuple | list | dict | str | bytes | set) or hasattr(data, "shape"):
        return False
    return callable(data) or has(data, "__iter__") or has(data, "batches")


def has(data: Any, name: str) -> bool:
    """Whether a thing has a method, which a class has for its instances only."""
    return hasattr(data, name) and not isinstance(data, type)


class Source:
    """A stream, opened pass by pass, by one thread at a time."""

    def __init__(self, owner: str, name: str, data: Any):
        """`name` is what the caller calls it."""
        self._data, self._owner, self._name = data, owner, name
        self.anywhere = has(data, "batches")
        self.once = not self.anywhere and has(data, "__next__")
        self._latest: Any = None

    def anew(self) -> "Source":
        """The same data for another thread: what this one has begun stays its own."""
        return Source(self._owner, self._name, self._data)

    def opened(self, place: Place) -> Iterator[Any]:
        """The batches of a pass from a place on."""
        self.leave()
        self._latest = iterator = self._taken(self._begun(place))
        if self.anywhere:
            return iterator
        if place.mark is not None and hasattr(iterator, "set_state"):
            iterator.set_state(revived(place.mark))
            return iterator
        return itertools.islice(iterator, place.batch, None)

    def mark(self) -> str | None:
        """What the iterator says of where it is; None where it says nothing."""
        get = getattr(self._latest, "get_state", None)
        return None if get is None or self.anywhere else lasting(get())

    @property
    def exact(self) -> bool:
        """Whether what was opened last can begin where it was left."""
        return self.anywhere or all(hasattr(self._latest, n) for n in ("get_state", "set_state"))

    def close(self) -> None:
        """End a generator that was begun, which runs what it has under `finally`."""
        if not self.once:
            with contextlib.suppress(Exception):
                self._latest.close()

    def leave(self) -> None:
        """Let others have the iterator."""
        if _READ.get(id(self._latest)) is self:
            del _READ[id(self._latest)]

    def _taken(self, iterator):
        """The iterator, which no other source may read until this one leaves it."""
        if not self.once and _READ.setdefault(id(iterator), self) is not self:
            raise NoStream(
                f"{self._owner}: {self._name} gives an iterator that is read already, as a loader "
                "does that has one for all passes (PyTorch's with persistent_workers); make "
                "another loader."
            )
        return iterator

    def _begun(self, place):
        """A new iterator."""
        data = self._data
        if self.anywhere:
            return iter(data.batches(place.turn, place.batch))
        if has(data, "__iter__"):
            return iter(data)
        made = data()
        if not hasattr(made, "__iter__"):
            raise NoStream(
                f"{self._owner}: {self._name} must be a function that makes an iterator of "
                f"batches, and it made {type(made).__name__}."
            )
        return iter(made)


def lasting(state: Any) -> str:
    """What a get_state returned, as text.

    Raises:
        TypeError: for what neither is bytes nor can be said in JSON.
    """
    if isinstance(state, bytes):
        return json.dumps({"bytes": base64.b64encode(state).decode()})
    return json.dumps({"json": state}, default=number)


def number(value: Any) -> Any:
    """A number of numpy's as Python's."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"the state of an iterator must be bytes or JSON, got {type(value).__name__}")


def revived(mark: str) -> Any:
    """What `lasting` made text of."""
    state = json.loads(mark)
    return base64.b64decode(state["bytes"]) if "bytes" in state else state["json"]
