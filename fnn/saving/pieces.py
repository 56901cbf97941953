"""`fit` in pieces: the same steps, with the run saved in between.

    order ← permutation(key, step)                             at the beginning of an epoch
    state, seen[i] ← step(state, rows[order[i]])               i = begin, …, end − 1: a piece
    row ← Σ seen / Σ weights, validation                       at its end

A piece is one compiled loop whose ends are data: however long it is and wherever it begins,
nothing compiles again and the numbers are the same bit for bit. Without pieces they are the same
but for rounding, as XLA may fuse a step otherwise in another loop. It takes about a second, and
ends where a file is due; behind it the host looks for signals.

A loss that is not finite ends a piece, and behind it the whole State is looked at. Where something
is not finite, the steps are taken again one by one from the beginning of the piece, to the last
State that is. A gradient shows in what it makes of the State, or in the loss (fnn/skipping.py).
"""

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from fnn.batches import Rows, counted, minibatches, taken
from fnn.carried import beside
from fnn.driver import many, run_fold
from fnn.epochs import stacked, stops
from fnn.errors import by_path
from fnn.judging import named
from fnn.microbatches import accumulated
from fnn.numerics import is_floating, ratio
from fnn.one_step import drawn_key, kept
from fnn.plan import Plan, State
from fnn.records import PyTree
from fnn.rules.telemetry import Place, first_non_finite, non_finite
from fnn.ruling import backprop
from fnn.saving.checkpointing import Checkpointing, Position
from fnn.saving.interrupts import noted
from fnn.sharding import automatic
from fnn.skipping import all_finite, new_in
from fnn.streams.evaluating import Judge

SECONDS, LONGEST = 1.0, 2**30  # that a piece shall take, steps that it may have


class Run:
    """A plan and its data, in pieces; what of it a file has to say is said here, too."""

    def __init__(
        self, report: Any, plan: Plan, rows: Rows, held_out: Any, how: dict[str, Any], stop: Any
    ):
        """`how` is batch_size and drop_last; see `report` in `_row`."""
        self._about(report, plan, rows, held_out, how, stop)
        size, n = min(how["batch_size"], len(rows.target)), len(rows.target)
        self.n_batches: float = n // size if how["drop_last"] else -(-n // size)

    def _about(self, report, plan, rows, held_out, how, stop):
        """What every run has."""
        self.plan, self.rows, self.how, self._report = plan, rows, how, report
        self.stop, self.keeps_best = stop, stop is not None and stop.best
        self._judge = held_out if isinstance(held_out, Judge) else None  # evaluates on the host
        self.held_out = None if self._judge else held_out
        self._length, self._pace = 1, 0.0  # steps of a piece, seconds of a step
        self._compiled = False

    def facts(self, sha: Callable[[PyTree], str]) -> dict[str, Any]:
        """What besides the plan and the first State decides the numbers."""
        held_out = self._judge.stream.told(sha) if self._judge else sha(self.held_out)
        return {**self.how, "data": sha(self.rows), "validation": held_out}

    def kept(self, position: Position) -> tuple[PyTree, dict[str, Any]]:
        """What a file has of the present epoch: arrays [batches, ...], and what JSON can say."""
        return self._steps(position), {}

    def _steps(self, position):
        """What the steps of the present epoch reported, on the host."""
        seen = position.group.on_host(position.seen)
        return jax.tree.map(lambda a: a[: position.batch], seen)

    def check_place(self, place: dict[str, Any]) -> None:
        """Raise for what `kept` cannot have said."""

    def kept_like(self, state: State, batch: int) -> PyTree:
        """The shapes of the arrays of `kept`."""
        return longer(self.step_like(state), batch)

    def history_like(self, state: State, n: int, place: dict[str, Any]) -> PyTree:
        """The shapes of the history of n epochs."""
        return longer(self.row_like(state), n)

    def goes_on(self, position: Position, kept: PyTree, place: dict[str, Any]) -> Position:
        """The position with what a file kept of its epoch, from which the run goes on."""
        rest = [(0, int(self.n_batches) - position.batch)]
        return position._replace(
            seen=jax.tree.map(lambda a: jnp.pad(a, rest + [(0, 0)] * (a.ndim - 1)), kept)
        )

    @property
    def _first(self):
        """How the first batch is found."""
        return {**self.how, "beside": False}

    def step_like(self, state: State) -> PyTree:
        """The shapes of what a step reports."""
        return _jit_first.eval_shape(self.plan, state, self.rows, **self._first)

    def nothing_seen(self, state: State) -> PyTree:
        """Zeros in the place of what the steps of an epoch will report."""
        n, like = int(self.n_batches), self.step_like(state)
        return jax.tree.map(lambda a: jnp.zeros((n, *a.shape), a.dtype), like)

    def row_like(self, state: State) -> PyTree:
        """The shapes of a row of the history."""
        row = jax.eval_shape(self._row, state, self.nothing_seen(state))
        return row | (named(self._judge.like(state)) if self._judge else {})

    def order(self, position: Position) -> Any:
        """The rows of every batch of the present epoch, and which of them count."""
        return _jit_order(position.state, position.batch, len(self.rows.target), **self.how)

    def piece(self, position: Position, order: Any, room: int) -> tuple[Position, bool]:
        """The run some steps later, at most `room`, and whether all is finite."""
        return self._paced(position, order, min(room, int(self.n_batches) - position.batch))

    def _paced(self, position, order, n):
        """The run at most n steps later, and whether all is finite; in about a second."""
        n = min(self._length, n)
        began = time.perf_counter()
        found, ok = self._advanced(position, order, position.batch + n)
        if not ok:
            return self._last_good(position, order), False
        if self._compiled:
            self._pace = (time.perf_counter() - began) / n
            fitting = int(SECONDS / max(self._pace, 1e-9))
            fitting = position.group.agreed(min(fitting, LONGEST))
            self._length = max(min(fitting, 10 * self._length), 1)
        self._compiled = True  # else most of the time was that
        return found, True

    def _last_good(self, position, order):
        """The run before the first step that is not finite, from a piece that has one."""
        while True:
            found, ok = self._advanced(position, order, position.batch + 1)
            if not ok:
                return position
            position = found

    def _advanced(self, position, order, end):
        """The run at batch `end`, or behind a loss that is not finite; whether all is."""
        args = self.plan, position.state, self.rows, position.seen, order
        batch, state, seen, ok = _jit_piece(*args, position.batch, end)
        ok = _jit_finite(state, position.state, ok)
        while not ok.is_ready():  # where a wait of JAX's would keep signals out
            time.sleep(min(0.005, self._pace))
        return position._replace(state=state, seen=seen, batch=int(batch)), bool(ok)

    def at_end_of_epoch(self, position: Position) -> Position:
        """The run with a row of history more."""
        row = self._row(position.state, position.seen)
        row |= named(self._judge.row(position.state)) if self._judge else {}
        row = position.group.on_host(row)
        return position._replace(history=(*position.history, row), batch=0)

    def _row(self, state, seen):
        """What an epoch reports: report(plan, state, seen, held_out, batch_size) → (state, row)."""
        size = self.how["batch_size"]
        args = self.plan, state, seen, self.held_out
        return _jit_report(self._report, *args, size)[1]

    def faults(self, position: Position, order: Any) -> tuple[str, ...]:
        """What is not finite of the step behind this position: loss, gradients, State."""
        args = self.plan, position.state, self.rows, order, position.batch
        finite, names = _jit_faults(*args), []

        def note(*args):
            names.extend(checked(*_first_of(_parts, *args, **self._first)))

        jax.eval_shape(note, *args[:3])
        return tuple(name for name, ok in zip(names, finite, strict=True) if not ok)

    def first(self, position: Position, order: Any) -> Place | None:
        """Where the step behind this position is not finite first; None where no layer shows it."""
        args = self.plan, position.state, self.rows, order, position.batch
        found = position.group.on_host(_jit_inside(*args))
        return first_non_finite(self.plan.net, found)

    def _loss_before(self, position):
        """The loss of the last step of this epoch that was not left out; None without one."""
        (sums, weight, _), _ = self._steps(position)
        kept = np.flatnonzero(~np.isnan(weight))
        return float(ratio(sums["loss"], weight)[kept[-1]]) if len(kept) else None

    def circumstances(self, position: Position) -> str:
        """Where the next step is, and what it starts from, in words."""
        told = [f"epoch {len(position.history) + 1}, batch {position.batch + 1}"]
        if (loss := self._loss_before(position)) is not None:
            told += [f"the loss before was {loss:.4g}"]
        with contextlib.suppress(TypeError):  # an optimizer without one rate
            rate = self.plan.optimizer.rate(position.state.optimizer_state)
            told += [f"learning rate {float(rate):.4g}"]
        if position.state.skipped is not None:
            told += [f"{int(position.state.skipped)} steps were left out"]
        return ", ".join(told)


def _first_of(f, plan, state, rows, *, batch_size, drop_last, beside):
    """`f` of the first batch, for its shapes; rows that are `beside` are [batches, size, ...]."""
    if beside:
        real = None if drop_last else jnp.ones(rows.target.shape[1], bool)
        return f(plan, state, counted(_at(rows, 0), real))
    size, n = min(batch_size, len(rows.target)), len(rows.target)
    real = None if drop_last or n % size == 0 else jnp.ones(size, bool)
    return f(plan, state, taken(rows, jnp.arange(size), real))


def _first(plan, state, rows, **how):
    """What the first step of an epoch reports."""
    return _first_of(kept, plan, state, rows, **how)[1]


def _order(state, batch, n, *, batch_size, drop_last):
    """The minibatches of an epoch of which `batch` are done."""
    key = None if state.key is None else drawn_key(state._replace(step=state.step - batch), 1)
    return minibatches(n, batch_size, key, drop_last)


def _piece(plan, state, rows, seen, order, begin, end):
    """(i, state, seen, whether the losses are finite) at i = end, or behind the first that is not.

    Nothing more is looked at in here: XLA would fuse the operations of a step otherwise than
    elsewhere, and round them otherwise.
    """

    def going_on(carry):
        i, _, seen, first = carry
        return (i < end) & (first | finite(_at(seen, i - 1)))

    def body(carry):
        i, state, seen, _ = carry
        state, new = kept(plan, state, batch_of(rows, order, i))
        return i + 1, state, jax.tree.map(lambda a, b: a.at[i].set(b), seen, new), False

    def finite(seen):
        return jnp.isfinite(seen[0][0]["loss"])

    i = jnp.asarray(begin, jnp.int32)
    i, state, seen, first = jax.lax.while_loop(going_on, body, (i, state, seen, True))
    return i, state, seen, first | finite(_at(seen, i - 1))


class Beside(NamedTuple):
    """The order of rows [batches, size, ...] that stand batch beside batch."""

    real: Any  # [batches, size], which rows count; None: all


def batch_of(rows: Rows, order: Any, i: Any) -> Rows:
    """The batch i."""
    if isinstance(order, Beside):
        return counted(_at(rows, i), _at(order.real, i))
    return taken(rows, *_at(order, i))


def _at(tree, i):
    """The entries i."""
    return jax.tree.map(lambda a: a[i], tree)


def longer(like: PyTree, n: int) -> PyTree:
    """The shapes of n such trees, stacked."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((n, *a.shape), a.dtype), like)


def checked(seen: PyTree, state: State, before: State, grads: PyTree) -> dict[str, Any]:
    """What must be finite, by name: the loss, the gradients, what is new in the State."""
    named = {"loss": seen[0][0]["loss"]}
    named |= {f"the gradient of {name or 'params'}": a for name, a in by_path("", grads).items()}
    named |= new_in(state, before)
    return {name: a for name, a in named.items() if is_floating(a)}


def _finite(state, before, ok):
    """Whether all that is new in the State is finite, and `ok` besides."""
    return ok & all_finite(new_in(state, before))


def _parts(plan, state, rows):
    """What a step reports, the State behind and before it, and gradients where these are known."""
    now, seen = kept(plan, state, rows)
    if plan.in_backward:  # there never are gradients of all layers
        return seen, now, state, ()
    key = None if state.key is None else drawn_key(state, 0)
    args = rows.x, rows.target, rows.weights, key
    result = plan.with_fields(watch=None).run("fit", state, *args)[0].result
    return seen, now, state, result[0] if many(plan.rule) else result


def _faults(plan, state, rows, order, i):
    """Whether each of what is checked is finite behind step i."""
    named = checked(*_parts(plan, state, batch_of(rows, order, i)))
    return [all_finite(a) for a in named.values()]


def _inside(plan, state, rows, order, i):
    """What the rule non_finite finds in step i, summed over microbatches."""
    rule = plan.first(state)
    rule = backprop if hasattr(rule, "run") else rule  # of one that is not a fold
    key = None if state.key is None else drawn_key(state, 0)

    def run(rows, key):
        how = {"key": key, "weights": rows.weights, "rule": beside(rule, (non_finite,))}
        args = plan.net, plan.loss, state.params, rows.x, rows.target
        return run_fold("fit", *args, selected=True, **how).result[-1], (), ()

    rows = batch_of(rows, order, i)
    if plan.microbatch is None:
        return run(rows, key)[0]
    return accumulated(run, rows, key, plan.microbatch)[0]


def fit_in_pieces(run: Run, state: State, checkpoint: Checkpointing, callback: Any, epochs: int):
    """`fit` with a checkpoint: (state, history)."""
    check_checkpoint(checkpoint, (run.plan, state, run.rows, run.held_out))
    from fnn.saving.resuming import saving  # needs safetensors

    with noted() as signals, saving(run, state, checkpoint, signals, epochs) as (position, saver):
        while len(position.history) < epochs and not position.stopped:
            order = run.order(position)
            while position.batch < run.n_batches:
                with saver.kept_behind_errors(position):
                    position, ok = run.piece(position, order, saver.room(position))
                if not ok:
                    saver.not_finite(
                        position, run.faults(position, order), run.first(position, order)
                    )
                saver.reached(position)
            position = run.at_end_of_epoch(position)
            over = stops(position.group, callback, position.state, position.history[-1])
            position = position._replace(stopped=over)
            if run.stop is not None:
                over, best = run.stop.looked(position.history, position.state, position.best)
                position = position._replace(stopped=position.stopped or over, best=best)
            saver.reached(position)
        saver.at_the_end(position)
    state = position.best if run.keeps_best else position.state
    return state, jax.tree.map(jnp.asarray, stacked(position.history))


def check_checkpoint(checkpoint: Any, given: PyTree) -> None:
    """Raise for what is no Checkpointing, and under jit and vmap, where nothing is known."""
    if not isinstance(checkpoint, Checkpointing):
        raise TypeError(f"fit: checkpoint must be a fnn.Checkpointing, got {checkpoint!r:.60}.")
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(given)):
        raise ValueError(
            "fit: with a checkpoint it works on the host; call it outside jit and vmap."
        )


_SIZES = ("batch_size", "drop_last")
_jit_order = jax.jit(automatic(_order), static_argnums=2, static_argnames=_SIZES)
_jit_first = jax.jit(automatic(_first), static_argnames=(*_SIZES, "beside"))
_jit_piece = jax.jit(automatic(_piece))
_jit_finite = jax.jit(automatic(_finite))
_jit_faults = jax.jit(automatic(_faults))
_jit_inside = jax.jit(automatic(_inside))
_jit_report = jax.jit(lambda f, *args: automatic(f)(*args), static_argnums=(0, 5))
