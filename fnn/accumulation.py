"""Gradient accumulation: the gradient of a batch that is walked a few rows at a time.

    W_i = Σ w of microbatch i        g_i = the gradient of its own weighted mean
    g   = Σ_i W_i g_i / Σ_i W_i

This is the gradient of the mean over the whole batch, whatever the weights are, and not the mean of
the g_i. Only one microbatch has a forward and a backward at a time (fnn/microbatches.py).
"""

import functools
from typing import Any

import jax

from fnn.composite import inside
from fnn.driver import Forward, Pass, many, run_fold, with_gradient, with_penalty
from fnn.layer import Layer, as_jax
from fnn.microbatches import accumulated, apart, checked_rows, counted, together
from fnn.numerics import ratio, times, wide
from fnn.penalties import members
from fnn.ruling import backprop


def in_microbatches(
    owner: str, net, loss, params, x, target, *, key, weights, penalty, size: int
) -> Pass:  # fmt: skip
    """One pass of backprop over a batch, `size` rows at a time; its y has no final state."""
    how = {"key": key, "weights": weights}
    rows = checked_rows(owner, net, loss, params, x, target, (backprop,), **how)
    run = functools.partial(run_fold, owner, net, loss, params, selected=True)

    def part(rows, key):
        done = run(rows.x, rows.target, weights=rows.weights, key=key)
        y, shared = apart(done.y)
        sums = jax.tree.map(lambda g: weighed(done.weights.sum(), g), done.result)
        return sums, (done.losses, done.weights, y), shared

    sums, (losses, weights, y), shared = accumulated(part, rows, key, size)
    params, total = as_jax(params), weights.sum()
    grads = jax.tree.map(lambda s, p: ratio(s, total.astype(s.dtype)).astype(p.dtype), sums, params)
    for p in members(owner, penalty):
        grads = with_gradient(owner, backprop, grads, p.gradient(params))
    way = Forward(params, together(y, shared), None, None, weights, losses, target, alone=False)
    value, extra = with_penalty(owner, way, penalty)
    return Pass(value, grads, way.y, weights, losses, extra, None, None)


def weighed(w: Any, g: Any) -> Any:
    """w g in at least float32, 0 where w is."""
    dtype = wide(g.dtype)
    return times(w.astype(dtype), g.astype(dtype))


def check_microbatch(plan: Any) -> int | None:
    """The number of rows at a time, at least 1, or None; raise where sums would not be the same."""
    size = counted("Plan", plan.microbatch)
    if size is None:
        return None
    if plan.in_backward:
        raise TypeError(
            "Plan: microbatch sums gradients, which in_backward=True never has together; leave one "
            "of them out."
        )
    if plan.rule != backprop or plan.optimizer.asks:
        rule = plan.rule[-1] if many(plan.rule) else plan.rule
        who = type(plan.optimizer).__name__ if rule == backprop else f"{rule!r:.60}"
        raise TypeError(
            f"Plan: microbatch sums gradients of backprop alone, and {who} wants more of a pass; "
            "leave microbatch out (fnn.Clipping has one of its own)."
        )
    if plan.watch is not None and plan.watch.rules:
        names = ", ".join(n for n in plan.watch.names if n not in plan.watch.functions)
        raise TypeError(
            f"Plan: {names} of watch join a pass of the whole batch, which microbatch cuts; watch "
            "functions (layer, params, grads, updates)."
        )
    if plan.loss.mixes_examples:
        raise NotImplementedError(f"Plan: {plan.loss} {MIXES}, or take another loss.")
    check_apart(plan.net)
    return size


MIXES = "mixes the examples of a batch, which microbatch cuts; leave microbatch out"


def check_apart(layer: Layer[Any, Any]) -> None:
    """Raise a NotImplementedError for the first layer that mixes examples, by its path."""
    if layer.mixes_examples:
        raise NotImplementedError(f"Plan: {layer} {MIXES}, or take GroupNorm for BatchNorm.")
    for f in inside(layer):
        check_apart(f)
