"""The optimizer's step inside the backward pass: where a gradient is made it is used, and dies.

At each layer, with p its parameters, s the optimizer's state for them and g their gradient,

    g     = ∂L/∂p + ∂penalty/∂p
    u, s′ = update(g, s, p)
    p′    = p + u

dx comes of p as it was. What clips by the norm of the whole gradient needs a fold for that before,

    ‖g‖² = Σ over all layers ‖g_l‖²

and a fold more costs what a backward pass costs. The step of a layer is what the optimizer makes of
all layers at once where it moves every entry by itself (`elementwise`).

Source: Lv, Yang, Liu, Gao, Guo & Qiu (2023), arXiv:2306.09782, section 3.1 and 3.2 (LOMO).
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.composite import Composite, empty
from fnn.errors import dotted
from fnn.layer import Layer, check_layer_type
from fnn.numerics import global_norm, like, moved
from fnn.penalties import is_frozen, members
from fnn.records import Array, Data, PyTree, Static
from fnn.ruling import Backprop, Given, Results, companion, transposed
from fnn.skipping import all_finite


@dataclass(frozen=True)
class Stepping(Data):
    """What a layer needs for its own step: a companion's entry."""

    optimizer: Any
    state: Any  # the optimizer's, for this layer's params
    penalty: Any = None
    value: Any = None  # L, for optimizers that ask for it
    clip: Any = None  # what clips by the norm of the whole gradient
    norm: Any = None  # that norm; behind the fold of norms that of the layer
    taken: Any = None  # whether the step is taken, a boolean; None: it is
    paths: Any = None  # of the arrays in the whole net, for `select`
    whole: Any = None  # behind the step, whether the gradient was finite; None: nobody looks

    def gradient(self, grads: PyTree, params: PyTree) -> PyTree:
        """g = ∂L/∂p + ∂penalty/∂p."""
        g = like(grads, params)
        for p in members("update", self.in_net(self.penalty)):
            g = jax.tree.map(jnp.add, g, p.gradient(params))
        return g

    def stepped(self, grads: PyTree, params: PyTree) -> tuple[PyTree, "Stepping"]:
        """p′ = p + u and s′, where the step is taken."""
        g = given = self.gradient(grads, params)
        if self.clip is not None:
            g = self.clip.clipped(g, self.norm)
        optimizer = self.in_net(self.optimizer)
        updates, state = optimizer.update(g, self.state, params, value=self.value)
        found = jax.tree.map(moved, params, updates), state
        if self.taken is not None:
            found = chosen(self.taken, found, (params, self.state))
        whole = None if self.whole is None else all_finite(given)
        return found[0], self.with_fields(state=found[1], whole=whole)

    def measured(self, grads: PyTree, params: PyTree) -> tuple[PyTree, "Stepping"]:
        """p as it is, and ‖g‖ of this layer."""
        norm = global_norm(self.gradient(grads, params))
        return params, self.with_fields(norm=norm.astype(self.norm.dtype))

    def in_net(self, part: Any) -> Any:
        """An optimizer or penalty whose `select` is given the paths in the whole net."""
        if self.paths is None:
            return part
        leaves, _ = jax.tree_util.tree_flatten_with_path(self.paths, is_leaf=is_path)
        paths = {dotted("", path): full.value for path, full in leaves}

        def selecting(part):
            if not selects(part):
                return part
            return part.with_fields(select=lambda path: part.select(paths[path]))

        return jax.tree.map(selecting, part, is_leaf=selects)


def update(net: Layer[Any, Any], optimizer: Any, params: PyTree, *, penalty: Any = None) -> Given:
    """The rule that steps inside the backward pass, before the first step.

        rule = fnn.rules.update(net, fnn.optim.Adam(1e-3), params)
        done = fnn.fold(net, loss, params, x, target, rule=rule)
        params, rule = done.result, rule._replace(companion=done.companion)

    done.result are the new params. `Plan(…, in_backward=True)` does this in step, epoch and fit,
    and clips besides. In the companion each layer has an optimizer of its own: other rates compile
    nothing, and layers may differ in theirs. A step is taken whatever the loss is.

    Args:
        net: as it is trained.
        optimizer: of fnn.optim, one that is elementwise.
        params: of the net.
        penalty: L1, L2 or a tuple of such; fold itself takes none with this rule.

    Raises:
        TypeError: for an optimizer that is not elementwise, and for what is no net, optimizer or
            penalty.
    """
    check_layer_type("update", net)
    check_arrays("update", params)
    members("update", penalty)
    check_elementwise("update", optimizer)
    states = layer_states(net, optimizer, params)
    return updated.given(stepping(net, params, states, optimizer, penalty))


def layer_states(net: Layer[Any, Any], optimizer: Any, params: PyTree) -> PyTree:
    """The optimizer's state for every layer by itself, nested like params."""

    def begin(_, params):
        return optimizer.init(params) if jax.tree.leaves(params) else ()

    return companion(net, begin, moving(params))


def stepping(
    net: Layer[Any, Any],
    params: PyTree,
    states: PyTree,
    optimizer: Any,
    penalty: Any,
    **shared: Any,
) -> PyTree:
    """The companion of `updated` and `measured`, with what all layers share."""

    def entry(_, params, state, *paths):
        if not jax.tree.leaves(params):
            return ()
        own = Stepping(optimizer, state, penalty, paths=paths[0] if paths else None)
        return own.with_fields(**shared)

    free = moving(params)
    if not any(map(selects, jax.tree.leaves((optimizer, penalty), is_leaf=selects))):
        return companion(net, entry, free, states)
    paths = jax.tree_util.tree_map_with_path(lambda path, _: Static(dotted("", path)), free)
    return companion(net, entry, free, states, paths)


def field_of(net: Layer[Any, Any], own: PyTree, name: str) -> PyTree:
    """One field of every layer's Stepping, nested like params."""
    return companion(net, lambda _, own: () if empty(own) else getattr(own, name), own)


def moving(params: PyTree) -> PyTree:
    """Params without those that are frozen."""
    return jax.tree.map(lambda p: () if is_frozen(p) else p, params, is_leaf=is_frozen)


def at_layer(f: Callable[..., tuple[PyTree, Any]], layer, params, cache, dy, own, masters) -> Any:
    """((p′, own′), dx) of f(own, g, p); where a composite's backward is its own, layer by layer."""
    grads, dx = layer.backward(params, cache, dy)

    def part(layer, grads, own, params):
        if empty(own):  # without params, or frozen
            return params, own
        if not isinstance(layer, Composite):
            return f(own, grads, params)
        pairs = layer.each(lambda *entries: Results(part(*entries)), grads, own, params)
        return transposed(layer, pairs, 2).each

    return part(layer, grads, own, masters), dx


def _updated(layer, params, cache, dy, own, masters):
    """p′ = p + u and s′, where the gradient is."""
    return at_layer(Stepping.stepped, layer, params, cache, dy, own, masters)


def _measured(layer, params, cache, dy, own, masters):
    """‖g‖ of the layer."""
    return at_layer(Stepping.measured, layer, params, cache, dy, own, masters)


def _rule(formula: Callable[..., Any], name: str) -> Backprop:
    """A rule in place that goes where backpropagation goes."""
    formula.__qualname__ = formula.__name__ = name
    dispatch = functools.singledispatch(formula)
    return Backprop(dispatch, companion=True, learns=True, in_place=True)


updated, measured = _rule(_updated, "updated"), _rule(_measured, "measured")


def chosen(taken: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where the step is taken, else `old`."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(taken, a, b), new, old)


def selects(part: Any) -> bool:
    """Whether an optimizer or penalty says by the paths of params what weights are."""
    return getattr(part, "select", None) is not None


def is_path(a: Any) -> bool:
    """Whether `a` is the path of an array."""
    return isinstance(a, Static)


def check_elementwise(owner: str, optimizer: Any) -> None:
    """Raise a TypeError unless the optimizer moves every entry by itself."""
    ask = getattr(optimizer, "whole", None)
    if isinstance(optimizer, type) or not callable(ask):
        raise TypeError(
            f"{owner}: inside the backward pass there must be an optimizer of fnn.optim, got "
            f"{optimizer!r:.60}."
        )
    if (part := ask()) is not None:
        raise TypeError(
            f"{owner}: {type(part).__name__} may see more than one entry at a time, so it cannot "
            "step layer by layer, inside the backward pass; step behind it, or take an optimizer "
            "that is elementwise, such as Adam."
        )
