"""`fit` on a stream: the steps of a window are one program, the epochs a loop on the host.

    window ← reader                                   read and uploaded while the one before runs
    state, seen[i] ← step(state, window[i])           i = begin, …, end − 1

How many steps a piece has is data: whatever the stream gives, one program is compiled. The State
is written where it stood from piece to piece; the caller's is copied first, unless it is given
away.
"""

from typing import Any, cast

import jax
import jax.numpy as jnp

from fnn.batches import Rows, counted
from fnn.devices.group import group_of
from fnn.donation import donatable
from fnn.epochs import by_epochs
from fnn.one_step import kept
from fnn.plan import Plan, State
from fnn.records import PyTree
from fnn.sharding import automatic
from fnn.streams.flow import Stream
from fnn.streams.totals import Totals


def fit_stream(
    stream: Stream, plan: Plan, state: State, validate: Any, ends: Any, epochs: int, gives: bool
) -> tuple[State, PyTree]:
    """(State, history) of so many epochs; validate(state) has more entries for each row.

    `ends` is (callback, stop), both of which see the State of every epoch.
    """
    shared = [not gives]  # whether somebody else has the State, too

    def epoch(state):
        if shared[0]:
            state = state._replace(key=None)
            state = jax.tree.map(jnp.copy, state)._replace(key=key)
        shared[0] = any(each is not None for each in ends) and not gives
        stream.starts(state)
        totals, latest = Totals(), cast(Any, ())
        for window, begin, end in stream.epoch():
            state, found = steps(plan, state, window.rows, window.real, begin, end)
            totals = totals.with_steps(group, *latest) if latest else totals
            latest = found, begin, end  # whose steps run while more is read
        totals = totals.with_steps(group, *latest)
        return state, totals.row(plan.metrics, latest[0][0][1].dtype) | validate(state)

    (callback, stop), key, group = ends, state.key, group_of(state.layout)
    if gives:
        state = donatable(state._replace(key=None), (plan, key))._replace(key=key)
    return by_epochs(epoch, state, callback, stop, epochs)


def steps(
    plan: Plan, state: State, rows: Rows, real: Any, begin: int, end: int
) -> tuple[State, Any]:
    """The State behind batches begin, …, end − 1 of a window, and what these steps reported.

    The State that comes in is given away, but for its key.
    """
    key = state.key
    state, found = _jit_steps(plan, state._replace(key=None), key, rows, real, begin, end)
    return state._replace(key=key), found


def _steps(plan, state, key, rows, real, begin, end):
    """A loop whose ends are data."""

    def batch(i):
        one, counts = jax.tree.map(lambda a: a[i], (rows, real))
        return counted(one, counts)

    def body(carry):
        i, state, found = carry
        state, new = _jit_kept(plan, state._replace(key=key), batch(i))
        found = jax.tree.map(lambda a, b: a.at[i].set(b), found, new)
        return i + 1, state._replace(key=None), found

    _, like = jax.eval_shape(_jit_kept, plan, state._replace(key=key), batch(0))
    n = len(rows.target)
    found = jax.tree.map(lambda a: jnp.zeros((n, *a.shape), a.dtype), like)
    begin = jnp.asarray(begin, jnp.int32)
    _, state, found = jax.lax.while_loop(lambda c: c[0] < end, body, (begin, state, found))
    return state, found


_jit_kept = jax.jit(kept)  # traced once, for its shapes and to run
_jit_steps = jax.jit(automatic(_steps), donate_argnums=1)
