"""Squared norm of every example's gradient, in one backward pass.

The gradient of example b is that of its own loss L_b, the weighted mean of its own
predictions, whatever the batch: what value_and_grad gives for a batch of this example.
For a dense layer applied at T positions, with inputs a_t and δ_t = ∂L_b/∂y_t,

    ‖∂L_b/∂w‖² + ‖∂L_b/∂b‖² = ‖Σ_t a_tᵀ δ_t‖² + ‖Σ_t δ_t‖²
                            = Σ_t Σ_s (a_t·a_s + 1) (δ_t·δ_s)

The second form, the ghost norm, needs no gradient. What every layer's gradient is made of
it says itself, as `factors` (fnn/factors.py), or one backward per example finds it.

Where parameters are used in several places, their gradient is the sum over these, and its norm
has the products between them. For a table that is the head of the net, too, with ε_t what
comes to the table and a_s, δ_s at the head, w = tableᵀ,

    ‖∂L_b/∂table‖² = ‖Σ_t 1{x_t = v} ε_t‖² + ‖Σ_s a_sᵀ δ_s‖² + 2 Σ_t Σ_s (ε_t·a_s) δ_s[x_t]

Source: Goodfellow (2015), arXiv:1510.01799, section 4, for T = 1; Li, Tramèr, Liang &
Hashimoto (2022), arXiv:2110.05679, section 4, for sequences.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.factors import Alone, Zero, is_factor
from fnn.layer import Layer
from fnn.layers.frozen import Held
from fnn.numerics import wide
from fnn.records import Array, PyTree
from fnn.ruling import rule
from fnn.sequence import value


@rule(per_example=True)
def example_norms(layer, params, cache, dy):
    """‖g_b‖² of any layer, [B].

    Raises NotImplementedError for a layer that mixes examples, or whose cache has no batch.
    """
    found, dx = example_factors(layer, params, cache, dy)
    return square_norms(found, dy), dx


@rule(per_example=True)
def example_grads(layer, params, cache, dy):
    """g_b themselves, like params with an axis of examples, behind that of a Repeat."""
    found, dx = example_factors(layer, params, cache, dy)
    return jax.tree.map(
        lambda f, p: f.each().reshape(-1, *p.shape), found, params, is_leaf=is_factor
    ), dx


@rule(per_example=True)
def example_products(layer, params, cache, dy):
    """⟨g_b, g_c⟩ of all pairs of examples, [B, B]: who teaches the same as whom."""
    found, dx = example_factors(layer, params, cache, dy)
    n = len(none_of(dy))
    products = jnp.zeros((n, n), none_of(dy).dtype)
    for f in jax.tree.leaves(found, is_leaf=is_factor):
        products += f.products().astype(products.dtype)
    return products, dx


@rule(per_example=True, companion=True)
def example_slopes(layer, params, cache, dy, own):
    """⟨g_b, v⟩ with a direction v like params, [B]: the slope of every example's loss along v."""
    found, dx = example_factors(layer, params, cache, dy)
    return slopes(found, own, dy), dx


def example_factors(layer, params, cache, dy) -> tuple[PyTree, Any]:
    """The gradients of all examples, in factors, like params; and dx.

    Those that the layer says, else one backward per example.
    """
    if (said := layer.factors(params, cache, dy)) is not None:
        found, dx = said
        return params._replace(**found), dx
    _, dx = layer.backward(params, cache, dy)
    if isinstance(layer, Held):  # nothing of a frozen layer is trained, whatever its cache holds
        return jax.tree.map(lambda p: Zero(none_of(dy), p.shape), params), dx
    return one_by_one(layer, params, cache, dy), dx


def one_by_one(layer: Layer[Any, Any], params: PyTree, cache: Any, dy: Any) -> PyTree:
    """The gradients of all examples, one backward for each."""
    if any(jnp.shape(c)[:1] != none_of(dy).shape for c in jax.tree.leaves(cache)):
        raise NotImplementedError(
            f"{layer}: nothing per example here: its cache holds arrays without the batch first."
        )

    def grads_of(cache, dy):
        one = jax.tree.map(lambda c: c[None], (cache, dy))
        return layer.backward(params, *one)[0]

    return jax.tree.map(Alone, jax.vmap(grads_of)(cache, dy))


def square_norms(found: PyTree, dy: PyTree) -> Array:
    """‖g_b‖² over all arrays of a layer, [B]."""
    norms = none_of(dy)
    for f in jax.tree.leaves(found, is_leaf=is_factor):
        norms += f.square_norms().astype(norms.dtype)
    return norms


def slopes(found: PyTree, v: PyTree, dy: PyTree) -> Array:
    """⟨g_b, v⟩ over all arrays of a layer, [B]."""
    total, pairs = none_of(dy), jax.tree.map(lambda f, v: f.slopes(v), found, v, is_leaf=is_factor)
    for slope in jax.tree.leaves(pairs):
        total += slope.astype(total.dtype)
    return total


def none_of(dy: PyTree) -> Array:
    """A 0 for every example, in at least float32; dy may have several arrays."""
    first = jax.tree.leaves(value(dy))[0]
    return jnp.zeros(len(first), wide(first.dtype))


def total(norms: PyTree) -> Array:
    """The squared norms of the whole gradients, [B], or slopes: leaves and Repeat's axes summed."""
    check_arrays("total", norms, "norms")
    if not jax.tree.leaves(norms):
        raise ValueError("total: norms have no array; give what example_norms found.")
    leaves = [n.sum(tuple(range(n.ndim - 1))) for n in jax.tree.leaves(norms)]
    return functools.reduce(jnp.add, leaves)
