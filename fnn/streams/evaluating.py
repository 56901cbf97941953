"""`evaluate` on a stream: sums over all its batches, once or after every epoch."""

from typing import Any, cast

import jax
import jax.numpy as jnp

from fnn.batches import averages, counted
from fnn.devices.group import group_of
from fnn.judging import jit_net, jit_validated, judged, named
from fnn.plan import Plan, State, evaluation_net
from fnn.records import PyTree
from fnn.sharding import automatic
from fnn.streams.flow import Stream
from fnn.streams.sources import Place
from fnn.streams.totals import Totals


class Judge:
    """What loss and metrics are over a stream, State by State."""

    def __init__(self, stream: Stream, plan: Plan, calibration: PyTree):
        """Of a stream that has begun."""
        self.stream, self._plan, self._calibration = stream, plan, calibration

    def row(self, state: State) -> dict[str, Any]:
        """The averages over one pass."""
        net, params = jit_net(self._plan, state, self._calibration)
        totals, latest, group = Totals(), cast(Any, ()), group_of(state.layout)
        for window, begin, end in self.stream.epoch():
            found = _jit_judge(self._plan, net, params, window.rows, window.real, begin, end)
            totals = totals.with_batches(group, *latest) if latest else totals
            latest = found, begin, end
        totals = totals.with_batches(group, *latest)
        self.stream.place = Place()  # the same batches every time
        if totals.weight == 0:
            raise ValueError("evaluate: nothing counts: the weights of all batches are 0.")
        return totals.row(self._plan.metrics, latest[0][1].dtype)

    def like(self, state: State) -> dict[str, Any]:
        """The shapes of a row."""

        def row(state):
            net, params = evaluation_net(self._plan, state, self._calibration)
            zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), self.stream.like)
            return averages(self._plan.metrics, *judged(self._plan, net, params, zeros))

        return jax.eval_shape(row, state)


def validation_row(plan: Plan, held_out: Any, batch_size: int, state: State) -> dict[str, Any]:
    """What a row of history says of data that are held out: None, arrays, or a stream's Judge."""
    if isinstance(held_out, Judge):
        return named(held_out.row(state))
    return {} if held_out is None else jit_validated(plan, state, held_out, batch_size)


def _judge(plan, net, params, rows, real, begin, end):
    """Σ w m and Σ w of every one of these batches of a window."""

    def part(i):
        return _jit_judged(plan, net, params, counted(*jax.tree.map(lambda a: a[i], (rows, real))))

    def body(i, found):
        return jax.tree.map(lambda a, b: a.at[i].set(b), found, part(i))

    n, like = len(rows.target), jax.eval_shape(part, 0)
    zeros = jax.tree.map(lambda a: jnp.zeros((n, *a.shape), a.dtype), like)
    return jax.lax.fori_loop(begin, end, body, zeros)


_jit_judged = jax.jit(judged)  # traced once, for its shapes and to run
_jit_judge = jax.jit(automatic(_judge))
