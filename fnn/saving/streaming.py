"""`fit` on a stream in pieces, with the run saved in between.

A piece is some batches of a window, which stand batch beside batch; else it is one of arrays. A
file says of the epoch what its steps added up to, exactly, and where the source stood:

    sums, weight        of the epoch so far, as hexadecimal floats
    turn, at, mark      passes before this one, batches of it, what its iterator said of itself
    lengths             steps of the epochs that are done

A source that cannot say where it is begins anew, and its first batches are passed over, with a
warning.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batches import reported
from fnn.judging import named, validated
from fnn.plan import Plan, State
from fnn.records import PyTree
from fnn.saving.checkpointing import Position
from fnn.saving.pieces import Beside, Run, longer
from fnn.streams.evaluating import validation_row
from fnn.streams.flow import Stream
from fnn.streams.sources import Place
from fnn.streams.totals import Totals, shown

WAIT = 0.05  # seconds between looks at signals, while a reader is waited for


class Read(NamedTuple):
    """What a position has of a stream, in the place of what the steps of an epoch reported."""

    totals: Totals = Totals()
    place: Place = Place()
    lengths: tuple[int, ...] = ()  # steps of the epochs that are done


class StreamRun(Run):
    """A plan and a stream, in pieces."""

    def __init__(self, stream: Stream, plan: Plan, held_out: Any, how: dict[str, Any], stop: Any):
        """Of a stream that has begun; `how` is batch_size and drop_last."""
        slots, size = stream.slots, stream.like.target.shape[0]
        how = how | {"batch_size": size}
        self._about(None, plan, longer(stream.like, slots), held_out, how, stop)
        self.how["steps"], self._held_out = stream.steps, held_out
        self._stream, self._size = stream, size
        self._inside: Any = None  # the order in a window, and the position there
        self._nothing: Any = None  # zeros in the place of what the steps of a window report
        self.n_batches = math.inf

    def facts(self, sha: Any) -> dict[str, Any]:
        """What is known of a stream."""
        told = self._stream.told(sha)
        held_out = self._judge.stream.told(sha) if self._judge else sha(self.held_out)
        several = {"processes": self._stream.processes} if self._stream.processes > 1 else {}
        return {**self.how, **several, "data": told, "validation": held_out}

    def nothing_seen(self, state: State) -> Any:
        """Nothing was read."""
        return Read()

    def order(self, position: Position) -> None:
        """An epoch begins, or goes on."""
        self._stream.starts(position.state, position.batch)
        self.n_batches = self._stream.steps or math.inf

    def piece(self, position: Position, order: Any, room: int) -> tuple[Position, bool]:
        """The run some steps later, and whether all is finite; no step, where no batch came."""
        most = int(min(room, self._length, self.n_batches - position.batch))
        piece = self._stream.piece(most, WAIT)
        if piece is None:
            self._stream.check_endless(position.batch)
            self.n_batches = position.batch
        if not piece:
            return position, True
        window, begin, end = piece
        self.rows, order = window.rows, Beside(window.real)
        found, ok = self._paced(self._within(position, begin), order, end - begin)
        self._inside = order, found
        n, read = found.batch - begin, position.seen
        if n:
            totals = read.totals.with_steps(found.group, found.seen, begin, found.batch)
            read = read._replace(totals=totals, place=window.places[found.batch - 1])
        return position._replace(state=found.state, seen=read, batch=position.batch + n), ok

    def _within(self, position, begin):
        """The position in a window."""
        if self._nothing is None:
            like = longer(self.step_like(position.state), len(self.rows.target))
            self._nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
        return position._replace(seen=self._nothing, batch=begin)

    def faults(self, position: Position, order: Any) -> tuple[str, ...]:
        """What is not finite of the step behind this position."""
        order, inside = self._inside
        return super().faults(inside, order)

    def first(self, position: Position, order: Any) -> Any:
        """Where the step behind this position is not finite first."""
        order, inside = self._inside
        return super().first(inside, order)

    def at_end_of_epoch(self, position: Position) -> Position:
        """The run with a row of history more."""
        totals, _, lengths = position.seen
        (_, weight, _), _ = self.step_like(position.state)
        row = totals.row(self.plan.metrics, weight.dtype)
        row |= validation_row(self.plan, self._held_out, self._size, position.state)
        if self._stream.steps is None:
            self._stream.next_pass()
        read = Read(Totals(), self._stream.place, (*lengths, position.batch))
        history = (*position.history, jax.device_get(row))
        return position._replace(history=history, seen=read, batch=0)

    def kept(self, position: Position) -> tuple[PyTree, dict[str, Any]]:
        """Results step by step, and what JSON can say: the sums, and where the source stood."""
        (sums, weight, each), place, lengths = position.seen
        known = {name: float(s).hex() for name, s in (sums or {}).items()}
        more = {"sums": known, "weight": float(weight).hex(), "lengths": lengths}
        more |= {"turn": place.turn, "at": place.batch, "mark": place.mark}
        return jax.tree.map(lambda *parts: np.concatenate(parts), *each) if each else {}, more

    def check_place(self, place: dict[str, Any]) -> None:
        """Raise for what `kept` cannot have said."""
        turn, at, mark, lengths = (place[name] for name in ("turn", "at", "mark", "lengths"))
        numbers = [turn, at, *lengths]
        if any(type(n) is not int or n < 0 for n in numbers) or len(lengths) != place["epochs"]:
            raise ValueError("no numbers of batches")
        if not isinstance(mark, str | None):
            raise TypeError("a mark is a text")
        names = {"loss", *dict(self.plan.metrics)} if place["batch"] else set()
        if {*place["sums"]} != names:
            raise ValueError("other metrics")
        for number in (place["weight"], *place["sums"].values()):
            float.fromhex(number)

    def kept_like(self, state: State, batch: int) -> PyTree:
        """The shapes of what is kept step by step."""
        return longer(self._each_like(state), batch) if batch else {}

    def row_like(self, state: State, steps: int = 1) -> PyTree:
        """The shapes of a row of the history of so many steps."""
        (sums, weight, _), _ = self.step_like(state)

        def row(each):
            means = {name: jnp.zeros((), weight.dtype) for name in sums}
            return reported(self.plan.metrics, means) | shown(each)

        like = jax.eval_shape(row, longer(self._each_like(state), steps))
        if self._judge:
            return like | named(self._judge.like(state))
        validate = functools.partial(validated, self.plan, batch_size=self._size)
        return like | jax.eval_shape(validate, state, self.held_out)

    def history_like(self, state: State, n: int, place: dict[str, Any]) -> PyTree:
        """The shapes of the history of n epochs."""
        return longer(self.row_like(state, max(place["lengths"])), n)

    def goes_on(self, position: Position, kept: PyTree, place: dict[str, Any]) -> Position:
        """The position with what a file kept of its epoch; the source is brought there."""
        sums = {name: np.float64(float.fromhex(s)) for name, s in place["sums"].items()}
        each = (jax.device_get(kept),) if jax.tree.leaves(kept) else ()
        weight = np.float64(float.fromhex(place["weight"]))
        totals = Totals(sums, weight, each) if position.batch else Totals()
        where = Place(place["turn"], place["at"], place["mark"])
        self._stream.go_to(where, f"epoch {len(position.history) + 1}")
        return position._replace(seen=Read(totals, where, tuple(place["lengths"])))

    def _each_like(self, state):
        """The shapes of what a step reports besides sums."""
        (_, _, results), seen = self.step_like(state)
        return results | seen

    @property
    def _first(self):
        """How the first batch of a window is found."""
        return {"batch_size": self._size, "drop_last": self.how["drop_last"], "beside": True}

    def _loss_before(self, position):
        """The loss of the step before, where it stands in the same window."""
        return super()._loss_before(self._inside[1])
