"""Training: one step, one epoch, many epochs, each a pure function of a Plan and a State.

Everything runs on the device. An epoch is one `lax.scan` over minibatches; without a
callback the epochs are a scan too, and `fit` is itself jit- and vmap-able.

Minibatches are rows of a fresh permutation. The last one, if rows are missing, is filled up
with the first of them, whose weight there is 0: loss and gradient leave them out, so that every
step has one shape and compiles once. The statistics of BatchNorm count them, which are then of
as many different rows as everywhere; `drop_last=True` leaves the last batch out instead. A
loss that mixes examples (InfoNCE) compares rows of weight 0 with nothing.

Data are (x, target) or (x, target, weights) everywhere; x is an array, a Sequence (with a state
in `step` alone), or any pytree of arrays with the rows first. `fit` and `evaluate` take streams of
such, too, which are read while the steps run, and large memory-mapped arrays in the same way.

Where several processes share a State, all make the same call, each with rows or a stream of its
own, which stand side by side; whatever else is given is the same in all. What is wrong in one is
an error in all: its own there, a RuntimeError that names it in the others.
"""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import jax

from fnn.arrays import as_input
from fnn.batches import AT_ONCE, Rows, as_rows, averages, count, minibatches, taken
from fnn.composite import empty
from fnn.devices.group import group_of
from fnn.devices.rows import on_devices
from fnn.donation import donatable
from fnn.driver import weighed_in
from fnn.epochs import by_epochs
from fnn.given import begun, checked, held_out, trained_on
from fnn.judging import jit_evaluated, validated
from fnn.one_step import drawn_key, summed_step, watched_step
from fnn.plan import Plan, State, check_plan, check_state, check_trained, with_room
from fnn.records import Array, PyTree, flag
from fnn.saving.checkpointing import Checkpointing
from fnn.saving.pieces import Run, fit_in_pieces
from fnn.saving.streaming import StreamRun
from fnn.sharding import automatic
from fnn.stopping import EarlyStopping, check_stop
from fnn.streams.evaluating import Judge, validation_row
from fnn.streams.flow import Stream, streams
from fnn.streams.training import fit_stream
from fnn.watching import by_turns, shown

Batch = tuple[Any, ...]  # (x, target) or (x, target, weights)
Row = dict[str, Any]  # what one step or epoch reports: name → number


def step(plan: Plan, state: State, batch: Batch, *, donate: bool = False) -> tuple[State, Row]:
    """One update from one batch: (state, {"loss": ..., **metrics}), jitted.

    Of several rules, the row has the results of all but the first under their names, where they
    have any. x may be a Sequence with a state: row["state"] is the final one, to begin the next
    part with. Values out of range give NaN instead of an error.

    With donate=True the next State is written where this one stood: there are no two sets of
    params, and this State is gone, the params that `start` was given for it, too; not its key.

    Raises:
        TypeError, ValueError: for arguments that are not a Plan, a State and a batch, and
            for shapes and dtypes that do not fit; for a State that is gone.
    """
    check_plan("step", plan)
    check_state("step", plan, state)
    rows = on_devices("step", state.layout, plan.net, as_rows("step", "batch", batch), cut=True)
    run = _program(_jit_step, flag("step: donate", donate))
    return run(plan, roomy(plan, state, rows), rows)


def epoch(
    plan: Plan,
    state: State,
    data: Batch,
    *,
    batch_size: int,
    drop_last: bool = False,
    donate: bool = False,
) -> tuple[State, Row]:
    """One update from every minibatch: (state, {"loss": ..., **metrics}), jitted.

    The row averages over the epoch's predictions; results of several rules are stacked, step
    by step. Arguments are those of `fit`.

    Raises:
        ValueError, TypeError: as fit does.
    """
    rows = checked("epoch", plan, state, data)
    size, drops = count("epoch: batch_size", batch_size), flag("epoch: drop_last", drop_last)
    run = _program(_jit_epoch, flag("epoch: donate", donate))
    return run(plan, roomy(plan, state, rows), rows, batch_size=size, drop_last=drops)


def evaluate(
    plan: Plan,
    state: State,
    data: Any,
    *,
    batch_size: int | None = None,
    calibration: PyTree | None = None,
) -> Row:
    """{"loss": ..., **metrics} of inference(net, params), over all predictions, jitted.

    `data` are arrays or a stream, as in `fit`. `batch_size` (1024 rows; of a stream those of its
    first batch) bounds the memory; the result depends on it by rounding alone, but for a loss that
    mixes examples, which compares those of a batch. There is no penalty in this loss.
    `calibration` are inputs x for layers that mix examples (BatchNorm), as of inference(net,
    params, x); without them a plan with fnn.rules.running_averages(net) has the averages that the
    State gathered.

    Raises:
        ValueError: as fit does, for known params that are not finite, and without calibration
            where a layer needs one.
        TypeError: as fit does.
    """
    calibration = as_input("evaluate", calibration)
    size = _size("evaluate", batch_size)
    if streams("evaluate", "data", data, state):
        stream = begun("evaluate", "data", data, plan, state, (calibration,), batch_size=size)
        check_trained("evaluate", state)
        with stream:
            return Judge(stream, plan, calibration).row(state)
    rows = checked("evaluate", plan, state, data, evaluates=(calibration,))
    check_trained("evaluate", state)
    size = AT_ONCE if size is None else size
    return jit_evaluated(plan, state, rows, calibration, batch_size=size)


def fit(
    plan: Plan,
    state: State,
    data: Any,
    *,
    epochs: int,
    batch_size: int | None = None,
    steps: int | None = None,
    validation: Any | None = None,
    calibration: PyTree | None = None,
    callback: Callable[[State, Row], Any] | None = None,
    drop_last: bool = False,
    donate: bool = False,
    checkpoint: Checkpointing | None = None,
    stop: EarlyStopping | None = None,
) -> tuple[State, dict[str, Array]]:
    """Train for `epochs` epochs: (state, history), history: name → array [epochs].

    Averages are over the predictions of an epoch, each at the params of its own step; that of
    the loss has the penalty in it. What a Watch saw has an axis of steps, too, [epochs, steps].

    Args:
        plan: what is trained, and how.
        state: where to begin: start(plan, key), or what an earlier fit returned.
        data: (x, target) or (x, target, weights), the rows to learn from; memory-mapped arrays
            of more than 256 MiB are read batch by batch. Or a stream of such batches: a function
            () → iterator, or an iterable, begun anew in every epoch (a generator function, a
            loader); or one iterator, for one epoch. It runs in a thread of its own, one
            window ahead, and may use its arrays again at once.
        epochs: how often to go through them, at least 1.
        batch_size: rows per step, of all processes together; 1 is one-sample descent, len(x) or
            more is the whole set in every step. Of a stream the most rows of a batch, in each
            process; None: those of the first.
        steps: of a stream without an end: how many batches an epoch has. The next one goes on
            behind them.
        validation: data to evaluate after every epoch, a stream too, without penalty and with
            the evaluation network: history["validation_loss"] and so on.
        calibration: inputs x for the evaluation of layers that mix examples (BatchNorm), where
            the plan has no fnn.rules.running_averages(net), or they shall not be used.
        callback: called on the host after each epoch with the State and the row of
            history; a true result stops the training, and history ends there. Without one,
            fit does nothing on the host and can be jitted and vmapped whole.
        drop_last: leave the rows of an incomplete last batch out; of a stream every batch
            with fewer rows than the most.
        donate: write the next State where `state` stood, which is gone then, as in `step`; so is
            each State that the callback sees, after the next epoch, unless it copies.
        checkpoint: where to save the run, and how often. The same call again goes on from there,
            to the same numbers bit for bit; a callback sees the epochs that are left. It works
            on the host, as a callback does, and gives no State away. Several processes see one
            folder; the first one writes, and a signal to any stops all.
        stop: when to stop early, and whether to return the State of the best epoch, of which then
            none is given away. It works on the host, too.

    Raises:
        ValueError: for shapes that do not fit, and, where they are known, labels and
            weights out of range and numbers that are not finite; rows of weight 0 may hold
            anything.
        TypeError: for dtypes, keys and arguments of another kind.
        RuntimeError: with the number of the batch, from what a stream raised; of several processes
            for what is wrong in another one.
        CheckpointError: with a checkpoint, where the folder holds another run, or no whole file.
        OSError: where a checkpoint could not be written.
        NotFinite: with a checkpoint, for a step that makes NaN or infinity, which is not taken.
        Interrupted: with a checkpoint, behind Ctrl-C or SIGTERM, when all is saved.
    """
    epochs, gives = count("fit: epochs", epochs), flag("fit: donate", donate)
    how = {"batch_size": _size("fit", batch_size), "drop_last": flag("fit: drop_last", drop_last)}
    steps = None if steps is None else count("fit: steps", steps)
    if callback is not None and not callable(callback):
        raise TypeError(f"fit: callback must be a function (state, row), got {callback!r:.60}.")
    with contextlib.ExitStack() as stack:
        options = {"epochs": epochs, "steps": steps, "marks": checkpoint is not None, **how}
        rows = trained_on(plan, state, data, stack, **options)
        given = validation, as_input("fit", calibration)
        tested = held_out(plan, state, *given, epochs, how["batch_size"], stack)
        size = how["batch_size"] or AT_ONCE
        state = roomy(plan, state, rows.like if isinstance(rows, Stream) else rows)
        check_stop(stop, plan.metrics, validation is not None, (plan, state, rows))
        gives = gives and not (stop and stop.best)
        if checkpoint is not None:
            run = _in_pieces(plan, rows, tested, how, stop)
            return fit_in_pieces(run, state, checkpoint, callback, epochs)
        if isinstance(rows, Stream):
            validate = functools.partial(validation_row, plan, tested, size)
            return fit_stream(rows, plan, state, validate, (callback, stop), epochs, gives)
        host = callback is not None or stop is not None or isinstance(tested, Judge)
        if not group_of(state.layout).largest(host):  # of several processes all, or none
            return _program(_jit_fit, gives)(plan, state, rows, tested, epochs=epochs, **how)
        epoch = _epoch_on_host(plan, rows, tested, gives, how)
        return by_epochs(epoch, state, callback, stop, epochs)


def _in_pieces(plan, rows, held_out, how, stop):
    """The run that a checkpoint cuts into pieces."""
    if isinstance(rows, Stream):
        return StreamRun(rows, plan, held_out, how, stop)
    return Run(_row_of_kept, plan, rows, held_out, how, stop)


def _epoch_on_host(plan, rows, held_out, gives, how):
    """state → (state, row), an epoch on arrays; validation may be a stream."""
    run, judges = _program(_jit_epoch_row, gives), isinstance(held_out, Judge)

    def epoch(state):
        state, row = run(plan, state, rows, None if judges else held_out, **how)
        return state, row | (validation_row(plan, held_out, AT_ONCE, state) if judges else {})

    return epoch


def _size(owner, batch_size):
    """A checked batch size; None where it is not said."""
    return None if batch_size is None else count(f"{owner}: batch_size", batch_size)


def roomy(plan: Plan, state: State, rows: Rows) -> State:
    """The State with room for what only a step shows the size of, where the optimizer asks."""
    if not plan.asks:
        return state
    made, _ = jax.eval_shape(_step, plan.with_fields(skips=None), state, rows)
    return state._replace(optimizer_state=with_room(state.optimizer_state, made.optimizer_state))


def _step(plan, state, rows):
    """The next State, and the averages over the batch."""
    rows = rows._replace(x=weighed_in(rows.x, rows.weights))
    (state, final), (sums, weight, results), seen = watched_step(plan, state, rows)
    carried = {} if empty(final) else {"state": final}
    return state, averages(plan.metrics, sums, weight) | results | carried | seen


def _epoch(plan, state, rows, *, batch_size, drop_last):
    """`lax.scan` of steps over minibatches."""
    key = None
    if state.key is not None:
        key = drawn_key(state, 1)

    def body(plan, state, chosen) -> Any:
        (state, _), *seen = summed_step(plan, state, taken(rows, *chosen))
        return state, tuple(seen)

    chosen = minibatches(len(rows.target), batch_size, key, drop_last)
    watched, between = (functools.partial(body, p) for p in (plan, plan.with_fields(watch=None)))
    if plan.watch is None:
        state, found = jax.lax.scan(between, state, chosen)
    else:
        state, found = by_turns(plan.watch, watched, between, state, chosen)
    return state, _averaged(plan, found)


def _averaged(plan, found):
    """What an epoch reports of all that its steps did."""
    (sums, weight, results), seen = found
    return averages(plan.metrics, sums, weight) | results | seen


def _epoch_row(plan, state, rows, held_out, **how):
    """One epoch and its row of history, validation included."""
    state, row = _epoch(plan, state, rows, **how)
    return state, row | validated(plan, state, held_out, how["batch_size"])


def _row_of(plan, state, found, held_out, batch_size):
    """The State, and the row of history of an epoch whose steps were kept so."""
    return state, _averaged(plan, found) | validated(plan, state, held_out, batch_size)


def _fit(plan, state, rows, held_out, *, epochs, **how):
    """`lax.scan` of epochs."""

    def body(state, _):
        return _epoch_row(plan, state, rows, held_out, **how)

    return jax.lax.scan(body, state, None, length=epochs)


def _donating(f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """f, jitted, that is given the State but for its key."""

    def of_parts(plan, state, key, *args, **how):
        return f(plan, state._replace(key=key), *args, **how)

    jitted = jax.jit(of_parts, donate_argnums=1, **options)

    def run(plan, state, *args, **how):
        given, key = state._replace(key=None), state.key
        return jitted(plan, donatable(given, (plan, key, args)), key, *args, **how)

    return run


def _program(jitted: Any, donates: bool) -> Callable[..., Any]:
    """The jitted function, or the one that is given the State."""
    return _given[jitted] if donates else jitted


_RUN = ("batch_size", "drop_last")
_steps = {
    shown(_step): (),
    shown(_epoch): _RUN,
    shown(_epoch_row): _RUN,
    shown(_fit): (*_RUN, "epochs"),
}
_kept = {f: jax.jit(automatic(f), static_argnames=names) for f, names in _steps.items()}
_jit_step, _jit_epoch, _jit_epoch_row, _jit_fit = _kept.values()
_given = {_kept[f]: _donating(automatic(f), static_argnames=n) for f, n in _steps.items()}
_row_of_kept = shown(_row_of)
