"""One step of a Plan, watched or not: the gradient and then the update, or both on the way back."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.batches import metric_sums
from fnn.carried import beside, grown, next_companion
from fnn.composite import empty
from fnn.driver import many
from fnn.moving_average import averaged
from fnn.numerics import is_like, times
from fnn.optim.optimizer import apply_updates, next_step
from fnn.plan import State
from fnn.sequence import state_of
from fnn.sharding import by_rows, laid
from fnn.skipping import all_finite, left_out
from fnn.updating import stepped
from fnn.watching import nothing, packed


def watched_step(plan, state, rows):
    """`summed_step`, in a branch that watches or in one that does not."""
    if plan.watch is None:
        return summed_step(plan, state, rows)

    def between(state, rows):
        nexts, sums, _ = summed_step(plan.with_fields(watch=None), state, rows)
        return nexts, sums, nothing(like)

    like = jax.eval_shape(_watched, plan, state, rows)[2]
    due = plan.watch.due(state.step)
    return jax.lax.cond(due, functools.partial(_watched, plan), between, state, rows)


def kept(plan: Any, state: State, rows: Any) -> tuple[State, Any]:
    """The next State, and all that an epoch keeps of the step: ((sums, weight, results), seen)."""
    (state, _), *found = watched_step(plan, state, rows)
    return state, tuple(found)


def summed_step(plan, state, rows):
    """(The next State, that of y), Σ w m of loss and metrics with results of other rules, seen."""
    x, target, weights = by_rows(state, rows)
    key = None
    if state.key is not None:
        key = drawn_key(state, 0)
    move = _within if plan.in_backward else _behind
    done, others, params, inner, seen = move(plan, state, x, target, weights, key)
    weight = done.weights.sum()
    loss = times(done.weights, done.losses).sum() + done.penalty * weight
    sums = {"loss": loss, **metric_sums(plan.metrics, done.y, target, done.weights)}
    results = {n: r for n, r in zip(plan.names(), others, strict=True) if not empty(r)}
    companion = next_companion(plan.rule, done.companion)
    more = companion, state.skipped, averaged(plan.ema, state.ema, params), state.layout
    after = State(params, inner, state.key, next_step(state.step), *more)
    after, sums, weight = left_out(plan.skips, state, after, sums, weight)
    after = laid(after)
    seen = {"watch": packed({"step": after.step, **seen})} if plan.watch else {}
    return (after, state_of(done.y)), (sums, weight, results), seen


def _within(plan, state, x, target, weights, key):
    """What `_behind` returns, of a pass that steps on the way back."""
    rule, n = grown(plan.rule, state.companion), len(plan.names())
    parts = plan.net, plan.loss, plan.optimizer, plan.penalty, beside(rule, plan.looking())
    args = state.params, state.optimizer_state, x, target, weights, key
    done, params, inner = stepped(*parts, *args)
    seen = plan.watch.seen(plan.net, done.result[n:], ()) if plan.watch else {}
    done = done._replace(result=done.result[:n], companion=(None, *done.companion[:n]))
    return done, done.result, params, inner, seen


def _behind(plan, state, x, target, weights, key):
    """(Pass, results behind the first rule, next params and optimizer state, what was watched)."""
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
    if plan.optimizer.hides():
        told = jnp.where(all_finite(grads), done.penalty, jnp.nan)
        done = done._replace(penalty=told)  # and so the loss of the row
    moved = state.params, grads, updates
    seen = plan.watch.seen(plan.net, found, moved) if plan.watch else {}
    return done, others, apply_updates(state.params, updates), inner, seen


def drawn_key(state: State, i: int) -> Any:
    """The key of this step for layers (0) and for shuffling (1); state.key stays unused."""
    return jax.random.fold_in(jax.random.split(jax.random.clone(state.key))[i], state.step)


_watched = jax.jit(summed_step)  # traced once, for its shapes and to run
