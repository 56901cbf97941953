"""The whole of backpropagation: forward, loss, and a fold over the net.

    y, cache   = net.forward(params, x)
    losses, dy = loss.value_and_backward(y, target, dl)        dl = w / Σ w
    result, dx = rule(net, params, cache, dy)
    L          = Σ dl losses + penalty(params)

With the rule `backprop` the result is ∂L/∂params, and `value_and_grad` is that case. Another
rule computes something else from the same values: all deltas, norms per example, another
learning rule's updates.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.arrays import as_array, as_input, check_arrays
from fnn.errors import check_key
from fnn.layer import Layer, as_jax, check_layer_type
from fnn.logits import Logits
from fnn.loss import Loss, check_loss_type, compared, present
from fnn.mean import mean, merge_weights, normalized
from fnn.numerics import is_floating, is_like, like, wide
from fnn.penalties import members
from fnn.records import Array, Key, PyTree
from fnn.ruling import Given, Results, Rule, Seen, backprop, check_rule
from fnn.sequence import Sequence, renewed, select, value
from fnn.several import Several, stacked
from fnn.sharding import automatic
from fnn.targets import settled


class Pass(NamedTuple):
    """What one forward and one backward pass compute."""

    loss: Array  # L, a scalar of at least float32
    result: PyTree  # of the rule; of several rules, a tuple
    y: PyTree  # [B, ..., n], in rows of weight 0 that of zeros; a Sequence has the final state
    weights: Array  # w of every prediction, 0 where it is left out, [B, ...]
    losses: Array  # l of every prediction, 0 where it is left out, [B, ...]
    penalty: Array  # what L has of it, a scalar
    dx: PyTree  # ∂L/∂x, in the form of x; under jit free where nobody reads it
    companion: PyTree  # of rules with one: the next, where the rule learns


def value_and_grad(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> tuple[Array, PyTree]:
    """The loss L = Σ w l / Σ w + penalty, and its hand-written gradient, like params.

    Args:
        net: the network, a layer.
        loss: compares y with target, one number per prediction.
        params: of the net, as from net.init(key).
        x: the inputs, [B, ...]: an array, a Sequence, or any pytree that the net takes.
        target: what y should be; its shape is the loss's matter.
        key: for layers that draw at random (Dropout).
        weights: of the predictions, in the shape of the losses or [B]; default 1. What
            has weight 0 is left out, whatever its x and target hold; so is what the mask
            of a Sequence leaves out.
        penalty: L1, L2 or a tuple of such, added once.

    Raises:
        ValueError: for shapes that do not fit, an empty batch, weights that sum to 0,
            and values that are out of range where they are known.
        TypeError: for dtypes that are not floating, keys that are not typed.
    """
    done = run_fold(
        "value_and_grad", net, loss, params, x, target, key=key, weights=weights, penalty=penalty
    )
    return done.loss, done.result


def fold(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    rule: Rule | Given | tuple[Rule | Given, ...] = backprop,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> Pass:
    """One pass forward and one pass back, with what `rule` makes of every layer.

    The arguments are those of value_and_grad, and `rule`, what the fold computes: a Rule, one
    with its companion (rule.given(tree)), or a tuple of such, whose results are a tuple and
    of which the first sends back dx.

    Raises:
        ValueError, TypeError: as value_and_grad, and for what is not a Rule.
        NotImplementedError: where a rule per example meets a layer or a loss that mixes examples.
    """
    options = {"rule": rule, "key": key, "weights": weights, "penalty": penalty}
    return run_fold("fold", net, loss, params, x, target, **options)


@automatic
def run_fold(
    owner: str, net, loss, params, x, target, *,
    rule=backprop, key=None, weights=None, penalty=None, selected=False,
) -> Pass:  # fmt: skip
    """`fold`, on behalf of `owner`, in whose name errors speak.

    Where x is `selected`, its rows of weight 0 are what the net may see of them.
    """
    rules, companions = check_rule(owner, rule)
    if members(owner, penalty):
        check_adds(owner, rules[0])
    way = forth(
        owner, net, loss, params, x, target, rules, key=key, weights=weights, selected=selected
    )
    found, dx = back(net, way, rules, companions)
    result, companion = sorted_out(rule, rules, found, companions)
    for p in members(owner, penalty):
        result = with_gradient(owner, rule, result, p.gradient(way.params))
    value, extra = with_penalty(owner, way, penalty)
    return Pass(value, result, way.y, way.weights, way.losses, extra, dx, companion)


class Forward(NamedTuple):
    """What one forward leaves for the way back."""

    params: PyTree
    y: PyTree
    cache: Any
    dy: PyTree  # of L, or of every example's own loss
    weights: Array
    losses: Array
    target: Array
    alone: bool  # whether dy is every example's own


def forth(
    owner: str, net, loss, params, x, target, rules: tuple[Rule, ...], *,
    key=None, weights=None, selected=False,
) -> Forward:  # fmt: skip
    """The forward, the losses and dy, after all checks.

    dy is every example's own where all rules want that; where one does, dw of Logits has factors.
    """
    check_layer_type(owner, net)
    check_loss_type(owner, loss)
    check_alone(loss, rules)
    check_arrays(owner, params)
    params = as_jax(params)
    if key is not None:
        check_key(owner, key)
    x, target = as_input(owner, x), as_array(owner, "target", target)
    weights = None if weights is None else as_array(owner, "weights", weights)
    x = x if selected else weighed_in(x, weights)
    y, cache = net.forward(params, x, key=key)
    z, mask = compared(loss, y)
    counted = loss.counted(target), mask
    w = merge_weights(owner, loss.shape(z), weights, counted, wide(jax.tree.leaves(z)[0].dtype))
    target = present(loss, settled(target, weights, mask), w, weights, mask)
    alone = batched(x) and all(r.alone for r in rules)
    dl = normalized(w, per_example=alone)
    factored = isinstance(z, Logits) and any(r.per_example for r in rules)
    both = loss.value_and_factors if factored else loss.value_and_backward
    losses, dz = both(z, target, dl)
    losses = losses if weights is None and mask is None else jnp.where(w == 0, 0, losses)
    dy = renewed(y, x=value(dz), state=None, memory=None) if isinstance(y, Sequence) else dz
    return Forward(params, y, cache, dy, w, losses, target, alone)


def back(
    net: Layer[Any, Any], way: Forward, rules: tuple[Rule, ...], companions: tuple[PyTree, ...]
) -> tuple[Results, PyTree]:
    """What the rules make of every layer, and dx of L."""
    dl = normalized(way.weights)
    share = dl.sum(tuple(range(1, dl.ndim)))  # of every example in L
    begun = [None if r.begin is None else r.begin(way.y, way.target, way.dy) for r in rules]
    run = Several(rules, tuple(Seen(b, None if way.alone else share) for b in begun))
    found, dx = run(net, stacked(rules, companions, way.params), way.cache, way.dy)
    return found, shared_out(dx, share) if way.alone else dx


def with_penalty(owner: str, way: Forward, penalty: Any) -> tuple[Array, Array]:
    """L, and what it has of the penalty."""
    extra = jnp.zeros((), way.losses.dtype)
    for p in members(owner, penalty):
        extra = extra + p.value(way.params).astype(extra.dtype)
    return mean(way.losses, normalized(way.weights)) + extra, extra


def weighed_in(x: PyTree, weights: Array | None) -> PyTree:
    """x with 0 in the rows of weight 0, whatever they hold: in a sum 0 · NaN is NaN."""
    if weights is None or weights.ndim == 0:
        return x
    counts = weights.astype(bool).any(tuple(range(1, weights.ndim)))

    def leaf(a):
        if jnp.issubdtype(a.dtype, jax.dtypes.extended) or a.shape[:1] != counts.shape:
            return a
        return select(counts, a)

    if isinstance(x, Sequence):  # rows of a state may stand on another axis
        return x.with_fields(x=jax.tree.map(leaf, x.x), memory=jax.tree.map(leaf, x.memory))
    return jax.tree.map(leaf, x)


def batched(x: PyTree) -> bool:
    """Whether every array of x has examples, so that dx can be each example's own."""
    return all(jnp.ndim(a) > 0 for a in jax.tree.leaves(x))


def check_alone(loss: Loss[Any], rules: tuple[Rule, ...]) -> None:
    """Raise a NotImplementedError for a rule per example where examples have no own loss."""
    for rule in rules:
        if rule.per_example and loss.mixes_examples:
            raise NotImplementedError(
                f"{loss}: nothing per example here, as {rule} wants it: the loss of a row depends "
                "on other rows of y."
            )


def sorted_out(
    rule: Any, rules: tuple[Rule, ...], found: Results, companions: tuple[PyTree, ...]
) -> tuple[PyTree, PyTree]:
    """The result and the next companion, tuples of them for a tuple of rules."""
    triples = zip(rules, found.each, companions, strict=True)
    pairs = [r.each if f.learns else (r, own) for f, r, own in triples]
    results, nexts = zip(*pairs, strict=True)
    return (results, nexts) if many(rule) else (results[0], nexts[0])


def shared_out(dx: PyTree, share: Array) -> PyTree:
    """dx of the batch's loss, of dx of every example's own; free where nobody reads it."""

    def leaf(d):
        s = share.reshape(-1, *(1,) * (d.ndim - 1))
        return like(d * s.astype(d.dtype), d) if is_floating(d) else d

    return jax.tree.map(leaf, dx)


def many(rule: Any) -> bool:
    """Whether `rule` is a tuple of rules."""
    return isinstance(rule, tuple) and not isinstance(rule, Given)


def check_adds(owner: str, rule: Rule) -> None:
    """Raise a ValueError where a result is no gradient, to which a penalty's could be added."""
    if rule.in_place:
        raise ValueError(
            f"{owner}: {rule} makes new params, to which no penalty is added; give the penalty to "
            "the rule, fnn.rules.update(net, optimizer, params, penalty=...)."
        )


def with_gradient(owner: str, rule: Any, result: PyTree, gradient: PyTree) -> PyTree:
    """result + gradient, of several results the first, for rules whose result is like params."""
    if many(rule):
        return with_gradient(owner, None, result[0], gradient), *result[1:]
    if not is_like(result, gradient):
        raise ValueError(
            f"{owner}: a penalty needs a rule whose result is like params; leave the penalty out, "
            "or put backprop first, rule=(fnn.rules.backprop, ...)."
        )
    return jax.tree.map(jnp.add, result, gradient)
