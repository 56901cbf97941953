"""Weighed sums of the gradients of single examples, with weights that depend on their norms.

    G = Σ_b c_b g_b        c_b = c(n_b)        n_b² = ‖g_b‖² + ROUNDINGS ε size_b²

One forward and one fold find the factors of every layer's g_b (factors.py) and their norms; then G
is the sum of the factors, each times c_b. Where these would be more than MORE times what the net
keeps for the way back, as behind a Recompute of whole blocks, they are not kept: a second fold
makes them again. n_b is larger than the norm by what rounding may hide of it where the steps of an
example cancel, for G sums in another order than the norms do. What is formed and kept is summed
itself, and nothing of it is hidden.

An example whose norm is not finite, or whose weights are all 0, has c_b = 0: it is left out,
whatever its cache holds.

Source: Bu, Wang, Zha & Karypis (2023), arXiv:2210.00038, section 2.3, for a sum from what one
backward kept; Lee & Kifer (2021), arXiv:2009.03106, for a second one.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from fnn.batches import Rows
from fnn.composite import With
from fnn.driver import forth
from fnn.factors import Alone, is_factor
from fnn.layer import as_jax
from fnn.mean import mean, normalized
from fnn.microbatches import accumulated, apart, checked_rows, together
from fnn.records import Array, Key, PyTree
from fnn.rules.per_example import example_factors, square_norms, total
from fnn.ruling import Seen, companion, rule
from fnn.sharding import automatic

ROUNDINGS = 8.0  # of size², that a square may be too small by
MORE = 3  # times what the net keeps is what factors may take


class Weighed(NamedTuple):
    """What is known of all examples of a batch."""

    gradient: PyTree  # G
    norms: PyTree  # [B], per layer nested like params
    losses: Array  # [B, ...]
    weights: Array  # [B, ...]
    y: PyTree

    @property
    def loss(self) -> Array:
        """L = Σ w l / Σ w."""
        return mean(self.losses, normalized(self.weights))


@automatic
def weighed_gradient(
    owner: str, c, net, loss, params, x, target, *, per_layer, key, weights, microbatch
) -> Weighed:  # fmt: skip
    """G and the norms, at once or microbatch by microbatch."""
    how = {"per_layer": per_layer}
    if microbatch is None:
        found = at_once(owner, c, net, loss, params, x, target, weights, key, **how)
    else:
        ready = {"key": key, "weights": weights}
        rows = checked_rows(owner, net, loss, params, x, target, (measured,), **ready)
        run = functools.partial(at_once, owner, c, net, loss, params, **how)
        found = in_turn(run, rows, key, microbatch)
    form, leaves = jax.tree.structure(params), jax.tree.leaves(found.gradient)
    like = zip(leaves, jax.tree.leaves(as_jax(params)), strict=True)
    return found._replace(gradient=form.unflatten(g.astype(p.dtype) for g, p in like))


def in_turn(run: Callable[..., Weighed], rows: Rows, key: Key | None, size: int) -> Weighed:
    """The same, microbatch by microbatch; y has no final state."""

    def part(rows, key):
        found = run(*rows, key)
        y, shared = apart(found.y)
        norms = jax.tree.map(lambda n: jnp.moveaxis(n, -1, 0), found.norms)
        return found.gradient, (norms, found.losses, found.weights, y), shared

    gradient, (norms, losses, weights, y), shared = accumulated(part, rows, key, size)
    norms = jax.tree.map(lambda n: jnp.moveaxis(n, 0, -1), norms)
    return Weighed(gradient, norms, losses, weights, together(y, shared))


def at_once(
    owner, c, net, loss, params, x, target, weights, key, *, per_layer
) -> Weighed:  # fmt: skip
    """G, in at least float32, from factors that one fold kept, or that a second one makes again."""
    way = forth(owner, net, loss, params, x, target, (measured,), key=key, weights=weights)
    alone = Seen(None, None)
    made, _ = measured.at(alone, net, way.params, way.cache, way.dy)
    squares, slack, more, kept = (
        companion(net, lambda _, m, i=i: m[i] if m else (), made) for i in range(4)
    )
    again = n_bytes(kept) > MORE * n_bytes((way.cache, way.dy))
    slack = more if again else slack
    whole, bound = total(squares), total(squares) + total(slack)
    there = (way.weights != 0).any(tuple(range(1, way.weights.ndim)))
    counts, finite = there & jnp.isfinite(whole), jnp.isfinite(whole).all()

    def factor(_, square, more, params):
        if not jax.tree.leaves(params):
            return ()
        n = jnp.sqrt(square + more if per_layer else bound)
        return jnp.where(counts, c(n), 0), finite

    own = companion(net, factor, squares, slack, way.params)
    if again:
        gradient, _ = weighed.at(alone, net, With(way.params, own), way.cache, way.dy)
    else:
        gradient = companion(net, lambda _, *trees: weighed_sum(*trees), kept, way.params, own)
    norms = jax.tree.map(jnp.sqrt, squares) if per_layer else jnp.sqrt(whole)
    return Weighed(gradient, norms, way.losses, way.weights, way.y)


@rule(per_example=True)
def measured(layer, params, cache, dy):
    """‖g_b‖², what rounding may hide of it, formed or not, and g_b in factors, of every layer."""
    found, dx = example_factors(layer, params, cache, dy)
    formed = jax.tree.map(lambda f: f.formed(), found, is_leaf=is_factor)
    squares = square_norms(formed, dy)
    return (squares, hidden(formed, squares), hidden(found, squares), formed), dx


@rule(per_example=True, companion=True)
def weighed(layer, params, cache, dy, own):
    """Σ_b c_b g_b of every layer, own being (c, whether all g_b are finite)."""
    found, dx = example_factors(layer, params, cache, dy)
    return weighed_sum(found, params, own), dx


def weighed_sum(found: PyTree, params: PyTree, own: tuple[Array, ...]) -> PyTree:
    """Σ_b c_b g_b of a layer, like params."""

    def leaf(f, p):
        return f.weighed(*own).reshape(p.shape)

    return jax.tree.map(leaf, found, params, is_leaf=is_factor)


def hidden(found: PyTree, squares: Array) -> Array:
    """What rounding may hide of ‖g_b‖² in another order of sums; of g_b that are kept nothing."""
    slack = jnp.zeros_like(squares)
    for f in jax.tree.leaves(found, is_leaf=is_factor):
        if not isinstance(f, Alone):
            slack += ROUNDINGS * jnp.finfo(slack.dtype).eps * f.size().astype(slack.dtype) ** 2
    return slack


def n_bytes(tree: PyTree) -> int:
    """The bytes of all arrays of a tree."""
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
