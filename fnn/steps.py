"""Steps, epochs and evaluations as pure functions, not yet jitted: what `fnn.train` is made of.

    one_step      a batch                    the next State, averages over the batch
    one_epoch     a scan over minibatches    the next State, averages over the epoch
    epoch_row     with validation            the next State, a row of history
    averages_of   the evaluation network     averages of loss and metrics

`summed_step` has the arithmetic of all: gradient, update, Σ w m of everything that is reported.
"""

import functools
import math
from typing import Any

import jax

from fnn.batches import (
    AT_ONCE,
    averages,
    metric_sums,
    minibatches,
    taken,
)
from fnn.composite import empty
from fnn.driver import many, weighed_in
from fnn.loss import compared, present
from fnn.mean import merge_weights
from fnn.numerics import is_like, times, wide
from fnn.optim.optimizer import apply_updates, next_step
from fnn.plan import (
    Plan,
    State,
    evaluation_net,
    next_companion,
)
from fnn.records import PyTree
from fnn.sequence import state_of, value
from fnn.watching import by_turns, nothing, packed


def one_step(plan, state, rows):
    """The next State, and the averages over the batch."""
    rows = rows._replace(x=weighed_in(rows.x, rows.weights))
    (state, final), (sums, weight, results) = summed_step(plan, state, rows)
    carried = {} if empty(final) else {"state": final}
    return state, averages(plan.metrics, sums, weight) | results | carried


def summed_step(plan, state, rows):
    """`advanced`, watched or not: by a branch, so that what nobody watches costs nothing."""
    if plan.watch is None:
        return advanced(plan, state, rows)

    def between(state, rows):
        nexts, (sums, weight, results) = advanced(plan.with_fields(watch=None), state, rows)
        return nexts, (sums, weight, results | {"watch": nothing(like)})

    like = jax.eval_shape(jit_watched, plan, state, rows)[1][2]["watch"]
    due = plan.watch.due(state.step)
    return jax.lax.cond(due, functools.partial(jit_watched, plan), between, state, rows)


def advanced(plan, state, rows):
    """(The next State, that of y), and Σ w m of loss and metrics with results of other rules."""
    x, target, weights = rows
    key = None
    if state.key is not None:
        key = drawn_key(state, 0)
    done, others, params, inner, seen = moved(plan, state, x, target, weights, key)
    weight = done.weights.sum()
    loss = times(done.weights, done.losses).sum() + done.penalty * weight
    sums = {"loss": loss, **metric_sums(plan.metrics, done.y, target, done.weights)}
    results = {n: r for n, r in zip(plan.names(), others, strict=True) if not empty(r)}
    companion = next_companion(plan.rule, done.companion)
    state = State(params, inner, state.key, next_step(state.step), companion)
    if plan.watch:
        results["watch"] = packed({"step": state.step, **seen})
    return (state, state_of(done.y)), (sums, weight, results)


def moved(plan, state, x, target, weights, key):
    """(Pass, results of other rules, next params and optimizer state, what a Watch saw)."""
    done, found = plan.run("step", state, x, target, weights, key)
    grads, *others = done.result if many(plan.rule) else (done.result,)
    if not is_like(grads, state.params):
        raise ValueError(
            f"Plan: the result of {plan.rule!r:.60} must be like params, to be the gradient; "
            "put a rule whose result is in front, rule=(fnn.rules.backprop, ...)."
        )
    updates, inner = plan.optimizer.update(
        grads, state.optimizer_state, state.params, value=done.loss, factors=plan.factors(done)
    )
    moved = state.params, grads, updates
    seen = plan.watch.seen(plan.net, found, moved) if plan.watch else {}
    return done, others, apply_updates(state.params, updates), inner, seen


def drawn_key(state: State, i: int) -> Any:
    """The key of this step for layers (0) and for shuffling (1); state.key stays unused."""
    return jax.random.fold_in(jax.random.split(jax.random.clone(state.key))[i], state.step)


def one_epoch(plan, state, rows, *, batch_size, drop_last):
    """`lax.scan` of steps over minibatches."""
    key = None
    if state.key is not None:
        key = drawn_key(state, 1)

    def body(plan, state, chosen):
        (state, _), seen = advanced(plan, state, taken(rows, *chosen))
        return state, seen

    def watched(state, chosen):
        state, (sums, weight, results) = body(plan, state, chosen)
        packed = results.pop("watch")
        return state, ((sums, weight, results), packed)

    def between(state, chosen):
        state, seen = body(plan.with_fields(watch=None), state, chosen)
        return state, (seen,)

    chosen = minibatches(len(rows.target), batch_size, key, drop_last)
    if plan.watch is None:
        state, (sums, weight, results) = jax.lax.scan(functools.partial(body, plan), state, chosen)
    else:
        steps = by_turns(watched, between, lambda s: plan.watch.due(s.step), state, chosen)
        state, (sums, weight, results), results["watch"] = steps
    return state, averaged(plan, [(sums, weight, results)])


def averaged(plan, seen):
    """What an epoch reports of all that its steps did."""
    ((sums, weight, results),) = seen
    return averages(plan.metrics, sums, weight) | results


def averages_of(plan, state, rows, calibration, *, batch_size):
    """The averages of loss and metrics, chunk by chunk."""
    net, params = evaluation_net(plan, state, calibration)

    def body(_, chosen):
        x, target, weights = taken(rows, *chosen)
        y, _ = net.forward(params, x)
        z, mask = compared(plan.loss, y)
        counted, dtype = (plan.loss.counted(target), mask), wide(jax.tree.leaves(z)[0].dtype)
        w = merge_weights("evaluate", plan.loss.shape(z), weights, counted, dtype)
        losses, _ = plan.loss.forward(z, present(plan.loss, target, w, weights, mask))
        sums = {"loss": times(w, losses).sum(), **metric_sums(plan.metrics, y, target, w)}
        return None, (sums, w.sum())

    chosen = minibatches(len(rows.target), batch_size, None, drop_last=False)
    return averages(plan.metrics, *jax.lax.scan(body, None, chosen)[1])


def epoch_row(plan, state, rows, held_out, **how):
    """One epoch and its row of history, validation included."""
    state, row = one_epoch(plan, state, rows, **how)
    return state, row | validated(plan, state, held_out, how["batch_size"])


def validated(plan, state, held_out, batch_size):
    """What a row of history says of data that are held out."""
    if held_out is None:
        return {}
    rows, calibration = held_out
    size = max(batch_size, AT_ONCE // predictions_per_row(plan, state, rows.x))
    validation = averages_of(plan, state, rows, calibration, batch_size=size)
    return {f"validation_{name}": value for name, value in validation.items()}


def seen_step(plan, state, rows):
    """The next State, and all that an epoch keeps of the step."""
    (state, _), *seen = summed_step(plan, state, rows)
    return state, seen


def row_of(plan, state, seen, held_out, batch_size):
    """The row of history of an epoch whose steps were kept so."""
    return state, averaged(plan, seen) | validated(plan, state, held_out, batch_size)


def predictions_per_row(plan: Plan, state: State, x: PyTree) -> int:
    """How many losses a row of x has, at least 1: as many as positions of a sequence."""

    def outputs(params, x):
        return value(plan.net.forward(params, x, key=state.key)[0])

    y = jax.eval_shape(outputs, state.params, x)
    return max(math.prod(plan.loss.shape(y)[1:]), 1)


jit_watched = jax.jit(advanced)  # traced once, for its shapes and to run
