"""`evaluate` on a stream: sums over all its batches, once or after every epoch."""

from typing import Any, cast

import jax
import jax.numpy as jnp

from fnn.batches import counted
from fnn.judging import jit_net, jit_validated, judged, named
from fnn.plan import Plan, State
from fnn.records import PyTree
from fnn.sharding import automatic
from fnn.streams.flow import Stream
from fnn.streams.totals import Totals


class Judge:
    """What loss and metrics are over a stream, State by State."""

    def __init__(self, stream: Stream, plan: Plan, calibration: PyTree):
        """Of a stream that has begun."""
        self.stream, self._plan, self._calibration = stream, plan, calibration

    def row(self, state: State) -> dict[str, Any]:
        """The averages over one pass."""
        net, params = jit_net(self._plan, state, self._calibration)
        totals, latest = Totals(), cast(Any, ())
        for window, begin, end in self.stream.epoch():
            found = _jit_judge(self._plan, net, params, window.rows, window.real, begin, end)
            totals = totals.plus(*latest) if latest else totals
            latest = found
        totals = totals.plus(*latest)
        if totals.weight == 0:
            raise ValueError("evaluate: nothing counts: the weights of all batches are 0.")
        return totals.row(self._plan.metrics, latest[1].dtype)


def validation_row(plan: Plan, held_out: Any, batch_size: int, state: State) -> dict[str, Any]:
    """What a row of history says of data that are held out: None, arrays, or a stream's Judge."""
    if isinstance(held_out, Judge):
        return named(held_out.row(state))
    return {} if held_out is None else jit_validated(plan, state, held_out, batch_size)


def _judge(plan, net, params, rows, real, begin, end):
    """Σ w m and Σ w of some batches of a window."""

    def part(i):
        return _jit_judged(plan, net, params, counted(*jax.tree.map(lambda a: a[i], (rows, real))))

    def body(i, total):
        return jax.tree.map(jnp.add, total, part(i))

    like = jax.eval_shape(part, 0)
    return jax.lax.fori_loop(
        begin, end, body, jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), like)
    )


_jit_judged = jax.jit(judged)  # traced once, for its shapes and to run
_jit_judge = jax.jit(automatic(_judge))
