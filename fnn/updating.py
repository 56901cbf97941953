"""A step inside the backward pass, as a Plan with in_backward=True asks for it.

    y, L, dy       of the forward; the step is taken if L is finite
    ‖g‖            of a fold for the norms, only where the optimizer clips by it, √Σ ‖g_l‖²; then
                   the step is taken if ‖g‖ is finite, too
    p_l, s_l       of a fold for the updates, layer by layer (rules/stepping.py)

Rules beside run in the first of the folds. The second begins when the norm is known, or XLA would
see that both make the same gradients, and keep them all from one to the other.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.driver import Forward, Pass, back, forth, many, with_penalty
from fnn.layer import Layer
from fnn.numerics import global_norm, is_floating
from fnn.optim.chain import Chain
from fnn.optim.clip_by_norm import ClipByNorm
from fnn.optim.optimizer import Optimizer
from fnn.records import Array, Key, PyTree
from fnn.rules import stepping
from fnn.ruling import Rule, backprop, check_rule


class Stepped(NamedTuple):
    """A pass that has stepped on the way back."""

    done: Pass  # its result and companion are tuples, of the rules beside
    params: PyTree
    optimizer_state: PyTree


def parted(optimizer: Optimizer[Any]) -> tuple[ClipByNorm | None, Optimizer[Any]]:
    """What clips by the norm of the whole gradient, and what is behind it."""
    if not (isinstance(optimizer, Chain) and isinstance(optimizer.links[0], ClipByNorm)):
        return None, optimizer
    clip, rest = optimizer.links[0], optimizer.links[1:]
    if not rest:
        return None, optimizer
    return clip, rest[0] if len(rest) == 1 else Chain(*rest)


def begun(net: Layer[Any, Any], optimizer: Optimizer[Any], params: PyTree) -> PyTree:
    """The optimizer's state for each layer, nested like params."""
    return stepping.layer_states(net, parted(optimizer)[1], params)


def stepped(
    net: Layer[Any, Any], loss: Any, optimizer: Optimizer[Any], penalty: Any, rule: Any,
    params: PyTree, states: PyTree, x: PyTree, target: PyTree, weights: Array | None,
    key: Key | None,
) -> Stepped:  # fmt: skip
    """One pass forward and back that takes its step on the way back.

    `rule` is backprop, or a tuple that begins with it, with the companions that it has by now.
    """
    rules, companions = check_rule("Plan", rule)
    run = {"key": key, "weights": weights, "selected": True}
    way = forth("step", net, loss, params, x, target, rules, **run)
    value, extra = with_penalty("step", way, penalty)
    clip, optimizer = parted(optimizer)
    taken, beside, others = jnp.isfinite(value), rules[1:], ()
    shared: dict[str, Any] = {"value": value}
    if clip is not None:
        own = stepping.stepping(net, way.params, (), None, penalty, norm=jnp.zeros(()))
        (_, own), others, _ = folded(net, way, (stepping.measured, *beside), (own, *companions[1:]))
        norm = global_norm(stepping.field_of(net, own, "norm"))
        taken, shared = taken & jnp.isfinite(norm), {**shared, "clip": clip, "norm": norm}
        way, beside = behind(way, norm), ()
        value, extra = (jnp.where(taken, a, jnp.nan) for a in (value, extra))
    hides = optimizer.hides()
    shared["whole"] = jnp.array(True) if hides else None
    own = stepping.stepping(net, way.params, states, optimizer, penalty, taken=taken, **shared)
    theirs = companions[1:] if beside else ()
    (new, own), more, dx = folded(net, way, (stepping.updated, *beside), (own, *theirs))
    if hides:
        whole = jnp.stack([a.all() for a in jax.tree.leaves(stepping.field_of(net, own, "whole"))])
        value, extra = (jnp.where(whole.all(), a, jnp.nan) for a in (value, extra))
    results, nexts = learned(rules[1:], companions[1:], (*others, *more), taken)
    done = Pass(value, results, way.y, way.weights, way.losses, extra, dx, nexts)
    return Stepped(done, new, stepping.field_of(net, own, "state"))


def folded(
    net: Layer[Any, Any], way: Forward, rules: tuple[Rule, ...], companions: tuple[PyTree, ...]
) -> tuple[tuple[PyTree, PyTree], tuple[PyTree, ...], PyTree]:
    """(params, companion) of the rule in front, what those behind it made, and dx."""
    found, dx = back(net, way, rules, companions)
    return found.each[0].each, found.each[1:], dx


def learned(
    rules: tuple[Rule, ...], companions: tuple[PyTree, ...], found: tuple[PyTree, ...], taken: Array
) -> tuple[tuple[PyTree, ...], tuple[PyTree, ...]]:
    """Results and next companions of the rules beside, which learn where the step is taken."""
    results, nexts = [], []
    for rule, own, made in zip(rules, companions, found, strict=True):
        result, new = made.each if rule.learns else (made, own)
        results.append(result)
        nexts.append(stepping.chosen(taken, new, own))
    return tuple(results), tuple(nexts)


def behind(way: Forward, norm: Array) -> Forward:
    """The same forward, its dy known only when the norm is: NaN if it is NaN."""

    def leaf(d):
        return jnp.where(jnp.isnan(norm), jnp.nan, d).astype(d.dtype) if is_floating(d) else d

    return way._replace(dy=jax.tree.map(leaf, way.dy))


def check_in_backward(optimizer: Optimizer[Any], rule: Any) -> None:
    """Raise a TypeError unless optimizer and rules of a Plan can step inside the backward pass."""
    whole = parted(optimizer)[1].whole()
    if whole is not None:
        clips = isinstance(whole, ClipByNorm)
        remedy = "write Chain(ClipByNorm(1.0), Adam())" if clips else "leave in_backward out"
        raise TypeError(
            f"Plan: in_backward=True steps layer by layer, and {type(whole).__name__} may see more "
            f"than one entry at a time; take an optimizer that is elementwise, such as Adam, or "
            f"{remedy}."
        )
    first = rule[0] if many(rule) else rule
    if first != backprop:
        raise TypeError(
            "Plan: in_backward=True steps along gradients of backprop, which must be the rule, or "
            f"the first of several, got {first!r:.60}; leave in_backward out."
        )
