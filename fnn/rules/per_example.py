"""Squared norm of every example's gradient, in one backward pass.

The gradient of example b is that of its own loss L_b, the weighted mean of its own
predictions, whatever the batch: what value_and_grad gives for a batch of this example.
For a dense layer applied at T positions, with inputs a_t and δ_t = ∂L_b/∂y_t,

    ‖∂L_b/∂w‖² + ‖∂L_b/∂b‖² = ‖Σ_t a_tᵀ δ_t‖² + ‖Σ_t δ_t‖²
                            = Σ_t Σ_s (a_t·a_s + 1) (δ_t·δ_s)

The second form, the ghost norm, needs no gradient; it is the cheaper one while
2 T² < n_in n_out. Without a bias the 1 and ‖Σ_t δ_t‖² are missing. For an embedding, with the
tokens x_t,

    ‖∂L_b/∂table‖² = Σ_v ‖Σ_t 1{x_t = v} δ_t‖² = Σ_t Σ_s 1{x_t = x_s} δ_t·δ_s

is summed up over the tokens v that the example has, T at most, never over the whole table.

Where parameters are used in several places, their gradient is the sum over these, and its norm
has the products between them. For a table that is the head of the net, too, with ε_t what
comes to the table and a_s, δ_s at the head, w = tableᵀ,

    ‖∂L_b/∂table‖² = ‖Σ_t 1{x_t = v} ε_t‖² + ‖Σ_s a_sᵀ δ_s‖² + 2 Σ_t Σ_s (ε_t·a_s) δ_s[x_t]

Source: Goodfellow (2015), arXiv:1510.01799, section 4, for T = 1; Li, Tramèr, Liang &
Hashimoto (2022), arXiv:2110.05679, section 4, for sequences.
"""

import functools

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.layers.dense import Dense
from fnn.layers.embedding import Embedding
from fnn.layers.frozen import Held
from fnn.layers.shared import Shared, same, to_dense
from fnn.numerics import wide, widened
from fnn.records import Array, PyTree
from fnn.ruling import rule
from fnn.sequence import value


@rule(per_example=True)
def example_norms(layer, params, cache, dy):
    """Any layer: one backward per example, then its squared norm [B].

    Raises NotImplementedError for a layer that mixes examples, or whose cache has no batch.
    """
    norms = none_of(dy)
    if any(jnp.shape(c)[:1] != norms.shape for c in jax.tree.leaves(cache)):
        raise NotImplementedError(
            f"{layer}: nothing per example here: its cache holds arrays without the batch first."
        )

    def grads_of(cache, dy):
        one = jax.tree.map(lambda c: c[None], (cache, dy))
        return layer.backward(params, *one)[0]

    for g in jax.tree.leaves(jax.vmap(grads_of)(cache, dy)):
        norms += square_sum(g).astype(norms.dtype)
    _, dx = layer.backward(params, cache, dy)
    return norms, dx


@example_norms.register(Dense)
def _(layer, params, cache, dy):
    """Σ_t Σ_s (a_t·a_s + 1) (δ_t·δ_s), or ‖Σ_t a_tᵀ δ_t‖² + ‖Σ_t δ_t‖² where that is cheaper."""
    _, dx = layer.backward(params, cache, dy)
    return of_dense(layer, cache.x, dy), dx


@example_norms.register(Embedding)
def _(layer, params, cache, dy):
    """Σ_v ‖Σ_t 1{x_t = v} δ_t‖², with room for the example's own tokens: no larger than dy."""
    _, dx = layer.backward(params, cache, dy)
    return of_embedding(*tokens(layer, cache.x, dy)), dx


@example_norms.register(Shared)
def _(layer, params, cache, dy):
    """Any uses: one backward of all per example; of a table and its head, the three terms."""
    kinds = [(type(use.layer), use.share) for use in layer.uses]
    if sorted(kinds, key=str) != sorted([(Embedding, same), (Dense, to_dense)], key=str):
        return example_norms.formula.dispatch(object)(layer, params, cache, dy)
    _, dx = layer.backward(params, cache, dy)
    i, j = (kinds.index(kind) for kind in ((Embedding, same), (Dense, to_dense)))
    x, e = tokens(layer.uses[i].layer, cache.each[i].x, dy.each[i])
    a, d = cache.each[j].x, dy.each[j]
    norms = of_embedding(x, e) + of_dense(layer.uses[j].layer, a, d)
    return norms + 2 * between(x, e, a, d), dx


def of_dense(layer: Dense, a: Array, d: Array) -> Array:
    """‖∂L_b/∂w‖² + ‖∂L_b/∂b‖²; the 1 and Σ_t δ_t are the bias's: without one they are missing."""
    a, d = widened(a, d)
    a, d = a.reshape(len(d), -1, layer.n_in), d.reshape(len(d), -1, layer.n_out)
    n, one = a.shape[1], int(layer.bias)
    if n == 1:
        return (square_sum(a) + one) * square_sum(d)
    if 2 * n**2 < layer.n_in * layer.n_out:
        return ((a @ a.mT + one) * (d @ d.mT)).sum((1, 2))
    norms = square_sum(a.mT @ d)
    return norms + square_sum(d.sum(1)) if layer.bias else norms


def tokens(layer: Embedding, x: Array, dy: Array) -> tuple[Array, Array]:
    """x [B, T] and δ [B, T, n], 0 where x is no row of the table, as in Embedding.backward."""
    x, (d,) = x.reshape(len(dy), -1), widened(dy.reshape(len(dy), -1, layer.n))
    return x, jnp.where(((x >= 0) & (x < layer.n_vocab))[..., None], d, 0)


def of_embedding(x: Array, d: Array) -> Array:
    """Σ_v ‖Σ_t 1{x_t = v} δ_t‖² of every example."""

    def norm(x, d):
        _, which = jnp.unique(x, return_inverse=True, size=x.size)  # which of its tokens
        return (jax.ops.segment_sum(d, which, x.size) ** 2).sum()

    return jax.vmap(norm)(x, d)


def between(x: Array, e: Array, a: Array, d: Array) -> Array:
    """Σ_t Σ_s (ε_t·a_s) δ_s[x_t] of every example."""
    a, d = widened(a.reshape(len(x), -1, a.shape[-1]), d.reshape(len(x), -1, d.shape[-1]))
    e, a, d = widened(e, a, d)
    at_tokens = jnp.take_along_axis(d, x[:, None], 2, mode="fill", fill_value=0)  # [B, S, T]
    return jnp.einsum("btn,bsn,bst->b", e, a, at_tokens)


@example_norms.register(Held)
def _(layer, params, cache, dy):
    """0, whatever the cache holds: nothing of a frozen layer is trained."""
    _, dx = layer.backward(params, cache, dy)
    return none_of(dy), dx


def none_of(dy: PyTree) -> Array:
    """A 0 for every example, in at least float32; dy may have several arrays."""
    first = jax.tree.leaves(value(dy))[0]
    return jnp.zeros(len(first), wide(first.dtype))


def square_sum(g: Array) -> Array:
    """‖g_b‖² of every example: [B, ...] → [B], summed in at least float32."""
    (g,) = widened(g)
    return (g**2).sum(tuple(range(1, g.ndim)))


def total(norms: PyTree) -> Array:
    """The squared norms of the whole gradients, [B]: leaves and Repeat's axes summed."""
    check_arrays("total", norms, "norms")
    if not jax.tree.leaves(norms):
        raise ValueError("total: norms have no array; give what example_norms found.")
    leaves = [n.sum(tuple(range(n.ndim - 1))) for n in jax.tree.leaves(norms)]
    return functools.reduce(jnp.add, leaves)
