"""What a step shows of its inside, layer by layer: rules and functions for `fnn.Watch`.

Rules see a layer in the pass itself, δ = ∂L/∂y, and y of an activation with limits l (Elementwise):

    delta_norms      ‖δ‖, over the batch
    dead_units       the share of units whose y is l for the whole batch: nothing goes back there
    saturation       the share of y within (l₁ − l₀)/40 of l₀ or l₁, where σ′ and tanh′ are less
                     than a tenth of their largest
    non_finite       the shares of params, cache and δ that are NaN or infinite

Functions see what the optimizer got and made, all arrays p of a layer together:

    gradient_norms   ‖g‖, the penalty's gradient in it
    update_norms     ‖Δp‖
    weight_norms     ‖p‖, before the update
    update_ratios    ‖Δp‖ / ‖p‖

A unit is an entry of the last axis, a channel of an image. What a mask or a weight leaves out
counts as the zeros that the layer was given there.

Sources: δ and saturation: Glorot & Bengio (2010), AISTATS, section 3; dead units: Lu, Shin, Su &
Karniadakis (2020), arXiv:1903.06733, section 1; ‖Δp‖ / ‖p‖: You, Gitman & Ginsburg (2017),
arXiv:1708.03888, section 4.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.arrays import check_arrays
from fnn.composite import Composite, Wrapper
from fnn.errors import type_of
from fnn.factors import is_factor
from fnn.layer import Layer, check_layer_type
from fnn.layers.activations import Elementwise
from fnn.layers.frozen import Held
from fnn.layers.repeat import Repeat
from fnn.layers.shared import Shared, Uses
from fnn.numerics import global_norm, is_floating, widened
from fnn.records import Array, PyTree
from fnn.ruling import rule
from fnn.sequence import value

MARGIN = 1 / 40  # of the way between two limits


@rule
def delta_norms(layer, params, cache, dy):
    """‖δ‖ of any layer; of Logits in factors that of (∂L/∂h, ∂L/∂w)."""
    _, dx = layer.backward(params, cache, dy)
    return norm(value(dy)), dx


@delta_norms.register(Shared)
def _(layer, params, cache, dy):
    """Of every use its own."""
    _, dx = layer.backward(params, cache, dy)
    return Uses(tuple(norm(value(d)) for d in dy.each)), dx


@rule
def dead_units(layer, params, cache, dy):
    """Nothing of a layer without limits."""
    _, dx = layer.backward(params, cache, dy)
    return (), dx


@dead_units.register(Elementwise)
def _(layer, params, cache, dy):
    """The share of units with y = l for the whole batch."""
    _, dx = layer.backward(params, cache, dy)
    return (share(stuck(layer, outputs(layer, cache))) if layer.limits else ()), dx


@rule
def saturation(layer, params, cache, dy):
    """Nothing of a layer without two limits."""
    _, dx = layer.backward(params, cache, dy)
    return (), dx


@saturation.register(Elementwise)
def _(layer, params, cache, dy):
    """The share of y within (l₁ − l₀)/40 of l₀ or l₁."""
    _, dx = layer.backward(params, cache, dy)
    if len(layer.limits) < 2:
        return (), dx
    (low, high), y = layer.limits, outputs(layer, cache)
    near = MARGIN * (high - low)
    return share((y < low + near) | (y > high - near)), dx


class NonFinite(NamedTuple):
    """Shares of numbers that are NaN or infinite."""

    params: Any
    cache: Any  # what the layer keeps: its input, its output, or both
    delta: Any


@rule
def non_finite(layer, params, cache, dy):
    """The shares of params, cache and δ that are not finite."""
    _, dx = layer.backward(params, cache, dy)
    return NonFinite(lost(params), lost(cache), lost(value(dy))), dx


@non_finite.register(Shared)
def _(layer, params, cache, dy):
    """Of every use its own."""
    _, dx = layer.backward(params, cache, dy)
    each = zip(cache.each, dy.each, strict=True)
    return Uses(tuple(NonFinite(lost(params), lost(c), lost(value(d))) for c, d in each)), dx


for each in (dead_units, saturation):

    @each.register(Held)
    def _(layer, params, cache, dy, each=each):
        """That of the layer that is frozen."""
        return each.formula(layer.inner, params, cache, dy)


def gradient_norms(layer: Layer[Any, Any], params: PyTree, grads: PyTree, updates: PyTree) -> Any:
    """‖g‖ of a layer's params together; () of a layer without any."""
    return norm_of("gradient_norms", "grads", grads)


def update_norms(layer: Layer[Any, Any], params: PyTree, grads: PyTree, updates: PyTree) -> Any:
    """‖Δp‖ of a layer's params together; () of a layer without any."""
    return norm_of("update_norms", "updates", updates)


def weight_norms(layer: Layer[Any, Any], params: PyTree, grads: PyTree, updates: PyTree) -> Any:
    """‖p‖ of a layer's params together, before the update; () of a layer without any."""
    return norm_of("weight_norms", "params", params)


def update_ratios(layer: Layer[Any, Any], params: PyTree, grads: PyTree, updates: PyTree) -> Any:
    """‖Δp‖ / ‖p‖ of a layer's params together; infinite where p is 0, () of a layer without any."""
    moved = norm_of("update_ratios", "updates", updates)
    length = norm_of("update_ratios", "params", params)
    return moved / length if isinstance(moved, Array) and isinstance(length, Array) else ()


class Place(NamedTuple):
    """Where the first number is that is not finite."""

    step: int  # of the entries of `found`; 0 where it is of one step
    what: str  # "params", "cache" or "delta"
    path: str  # of the layer, as in errors
    copy: tuple[int, ...]  # which one of the Repeats around it, the outermost first

    def __str__(self) -> str:
        """In words: δ of layer blocks.attention, copy 2."""
        what = {"params": "the params", "cache": "what forward keeps", "delta": "δ"}[self.what]
        copy = "".join(f", copy {i + 1}" for i in self.copy)
        return f"{what} of layer {self.path}{copy}"


def first_non_finite(net: Layer[Any, Any], found: PyTree) -> Place | None:
    """The first layer with a number that is not finite; None where all are.

    Of the first step that has any: in the order of forward the first layer with some in its params
    or cache; where no layer has, in the order of backward the first with some in its δ. A layer
    may keep nothing but its input, which the one before it made.

    Args:
        net: the net.
        found: what the rule non_finite found, nested like it: of one step, or of several on a
            first axis, as `watched` gives them.

    Raises:
        ValueError, TypeError: for what is not nested like the net, or not what non_finite finds.
    """
    check_layer_type("first_non_finite", net)
    check_arrays("first_non_finite", found, "found")
    places = list(places_of(net, found, (), ()))
    sizes = {np.shape(a) for *_, f in places for a in f}
    if len(sizes) > 1 or any(len(shape) > 1 for shape in sizes):
        raise ValueError(
            "first_non_finite: found must be of one step or have one axis of steps, got shapes "
            f"{sorted(sizes)}; give fnn.watched(history['watch'])['non_finite']."
        )
    order = [(p, what) for p in places for what in ("params", "cache")]
    order += [(p, "delta") for p in reversed(places)]
    for step in range(max(map(math.prod, sizes), default=0)):
        for (path, copy, f), what in order:
            if np.atleast_1d(getattr(f, what))[step] > 0:
                return Place(step, what, path, copy)
    return None


def places_of(
    net: Layer[Any, Any], found: Any, path: tuple[str, ...], copies: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, tuple[int, ...], NonFinite]]:
    """(path, copy, what was found) of every leaf and every copy, in the order of forward.

    `copies` are (which, of how many) of the Repeats around.
    """
    if isinstance(net, Repeat):
        for i in range(net.n):
            yield from places_of(net.inner, found, path, (*copies, (i, net.n)))
    elif isinstance(net, Composite):
        parts = net.parts(found)
        for name, layer in net.children.items():
            below = path if isinstance(net, Wrapper) else (*path, str(name))
            yield from places_of(layer, parts[name], below, copies)
    else:
        copy, many = (tuple(c[i] for c in copies) for i in (0, 1))
        fits = isinstance(found, NonFinite) and all(
            np.shape(a)[max(np.ndim(a) - len(many), 0) :] == many for a in found
        )
        if not fits:
            raise TypeError(
                "first_non_finite: found must be what the rule non_finite finds in this net, got "
                f"{type_of(found)} at layer {'.'.join(path)}."
            )
        yield ".".join(path), copy, NonFinite(*(np.asarray(a)[(..., *copy)] for a in found))


def norm(dy: PyTree) -> Array:
    """The norm of all floating arrays in a cotangent, those of factors multiplied out."""
    whole = jax.tree.map(lambda d: d.gradient() if is_factor(d) else d, dy, is_leaf=is_factor)
    return global_norm([d for d in jax.tree.leaves(whole) if is_floating(d)])


def norm_of(owner: str, name: str, tree: PyTree) -> Any:
    """The norm of all arrays; () where there is none."""
    check_arrays(owner, tree, name)
    return global_norm(tree) if jax.tree.leaves(tree) else ()


def outputs(layer: Elementwise, cache: Any) -> Array:
    """y, from the cache."""
    (a,) = widened(cache.a)
    return a if layer.of_y else layer.f(a)


def stuck(layer: Elementwise, y: Array) -> Array:
    """Whether a unit is at a limit for the whole batch, [n]."""
    at_limit = functools.reduce(jnp.logical_or, (y == limit for limit in layer.limits))
    return at_limit.all(tuple(range(max(y.ndim - 1, 1))))


def lost(tree: PyTree) -> Array:
    """The share of the floating numbers in a tree that are not finite; 0 of none."""
    arrays = [a for a in jax.tree.leaves(tree) if is_floating(a) and a.size]
    none = jnp.zeros((), jnp.result_type(float))
    # counted as numbers, in a third of the time that booleans take
    counts = (jnp.where(jnp.isfinite(a), none, 1).sum() for a in arrays)
    return sum(counts, none) / max(sum(a.size for a in arrays), 1)


def share(hits: Array) -> Array:
    """How many of all are."""
    return hits.mean(dtype=jnp.result_type(float))
