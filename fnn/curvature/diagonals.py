"""Diagonals of the Gauss–Newton and Fisher matrices: what one parameter alone is curved by.

With a root of what the loss has at prediction i, dl_i H_i = R Σ R ᵀ, Σ a diagonal of signs,

    Gauss–Newton          Σ_i Σ_k sign_ik (J_iᵀ r_ik)²       r_ik the columns of R, k = 1 … n
    Fisher, exact         the same of F_i
            monte_carlo   Σ_i (J_iᵀ √dl_i ε_i)²              ε_i a score, the mean of several draws
            empirical     Σ_b s_b g_b²

each square entry by entry. The first two take one backward pass for every output of an example,
steps T times n, after one forward; the others one. Signs are all 1 where the loss is convex in z.
The squares of single examples come from the factors of their gradients (factors.py): of a dense
layer with one position Σ_b (aᵀδ)² = (a²)ᵀ(δ²), without any gradient of an example.

In the Monte Carlo one the scores of the steps of one example are drawn independently and summed:
it is the exact one in expectation.

Source: Schraudolph (2002), Neural Computation 14, section 3; Dangel, Kunstner & Hennig (2020),
arXiv:1912.10985, appendix A.2, for roots sent back one by one.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.curvature.fisher import check_kind, inner_of, scores
from fnn.curvature.products import back_in, curved, penalized
from fnn.driver import Forward, forth
from fnn.factors import is_factor
from fnn.layer import Layer
from fnn.layers.frozen import Held
from fnn.logits import Logits, whole
from fnn.loss import Loss, compared
from fnn.mean import normalized, spread
from fnn.numerics import wide
from fnn.records import Array, Key, PyTree
from fnn.rules.per_example import example_factors
from fnn.ruling import Seen, rule
from fnn.sequence import value
from fnn.sharding import automatic


def gauss_newton_diagonal(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> PyTree:
    """diag(Jᵀ H J), like params: exact, by one backward pass for every output of an example.

    The arguments are those of value_and_grad, with a net whose layers do not mix examples. The
    Hessian's own diagonal has the second derivatives of the net besides.

    Raises:
        ValueError, TypeError: as value_and_grad.
        NotImplementedError: for a layer or a loss that mixes examples.
    """
    options = {"key": key, "weights": weights, "penalty": penalty}
    return by_outputs("gauss_newton_diagonal", curved, net, loss, params, x, target, **options)


def fisher_diagonal(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    kind: str = "empirical",
    samples: int = 1,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> PyTree:
    """The diagonal of the Fisher matrix, like params.

    The arguments are those of fisher_product, without a direction: "empirical" takes one fold,
    "monte_carlo" one for every sample, "exact" one for every output of an example.

    Raises:
        ValueError, TypeError: as fisher_product.
        NotImplementedError: as fisher_product, and of every kind for a layer that mixes examples.
    """
    owner = "fisher_diagonal"
    check_kind(owner, kind)
    args, options = (net, loss, params, x, target), {"key": key, "weights": weights}
    if kind == "empirical":
        return own_squares(owner, *args, **options, penalty=penalty)
    inner = inner_of(owner, kind, loss, samples, key)
    if kind == "exact":
        return by_outputs(owner, inner, *args, **options, penalty=penalty)
    return by_draws(owner, inner, *args, **options, penalty=penalty)


def ones(y: Any, target: Any, dy: Any) -> Array:
    """Every example counts once."""
    first = jax.tree.leaves(value(y))[0]
    return jnp.ones(len(first), wide(first.dtype))


@rule(per_example=True, begin=ones)
def squares(layer, params, cache, dy, c):
    """Σ_b c_b g_b² of every layer, entry by entry, like params."""
    found, dx = example_factors(layer, params, cache, dy)

    def leaf(f, p):
        return f.squares(c).reshape(p.shape).astype(p.dtype)

    return jax.tree.map(leaf, found, params, is_leaf=is_factor), dx


@squares.register(Held)
def _(layer, params, cache, dy, c):
    """0: nothing of a frozen layer is trained."""
    _, dx = layer.backward(params, cache, dy)
    return jax.tree.map(jnp.zeros_like, params), dx


def summed(net: Any, way: Forward, dy: Any, c: Array) -> PyTree:
    """Σ_b c_b g_b² of the cotangent dy, like params."""
    found, _ = squares.at(Seen(c, None), net, way.params, way.cache, dy)
    return jax.tree.unflatten(jax.tree.structure(way.params), jax.tree.leaves(found))


@automatic
def own_squares(owner: str, net, loss, params, x, target, *, key, weights, penalty) -> PyTree:
    """Σ_b s_b g_b²."""
    way = forth(owner, net, loss, params, x, target, (squares,), key=key, weights=weights)
    share = normalized(way.weights).sum(tuple(range(1, way.weights.ndim)))
    return with_penalty(owner, way, summed(net, way, way.dy, share), penalty)


@automatic
def by_draws(
    owner: str, inner: Any, net, loss, params, x, target, *, key, weights, penalty
) -> PyTree:  # fmt: skip
    """Σ_i (J_iᵀ √dl_i ε_i)², the mean over the draws of `inner`."""
    likely, n, draws = inner.args
    way = forth(owner, net, loss, params, x, target, (squares,), key=key, weights=weights)
    z, dl = whole(value(way.y)), normalized(way.weights)
    places = jnp.arange(dl.size, dtype=jnp.int32).reshape(dl.shape)

    def add(total, key):
        e = spread(jnp.sqrt(dl / n), scores(likely, key, z, dl, places)).astype(z.dtype)
        more = summed(net, way, back(way, e), ones(way.y, None, None))
        return jax.tree.map(jnp.add, total, more), None

    zeros = jax.tree.map(jnp.zeros_like, way.params)
    found, _ = jax.lax.scan(add, zeros, jax.random.split(draws, n))
    return with_penalty(owner, way, found, penalty)


@automatic
def by_outputs(
    owner: str, inner: Any, net, loss, params, x, target, *, key, weights, penalty
) -> PyTree:  # fmt: skip
    """Σ_i Σ_k sign_ik (J_iᵀ r_ik)²."""
    way = forth(owner, net, loss, params, x, target, (squares,), key=key, weights=weights)
    form, size, roots = roots_of(inner, loss, way)

    def one(r, p, k):
        sign = jnp.sign(size[:, p, k]).astype(wide(form.dtype))
        return summed(net, way, back(way, form.values(r)), sign)

    zeros = jax.tree.map(jnp.zeros_like, way.params)
    return with_penalty(owner, way, over_roots(form, roots, one, zeros), penalty)


def roots_of(inner: Any, loss: Any, way: Forward) -> tuple["Form", Array, Array]:
    """The form of z; λ [B, P, n] of every dl_i H_i = q λ qᵀ, and √|λ| q [B, P, n, k]."""
    z = jax.tree.map(whole, compared(loss, way.y)[0], is_leaf=lambda a: isinstance(a, Logits))
    form, dl = outputs(loss, z), normalized(way.weights)
    places = jnp.arange(dl.size, dtype=jnp.int32).reshape(dl.shape)

    def column(k):
        u = jnp.zeros(form.shape, form.dtype).at[..., k].set(1)
        return form.rows(inner(loss, z, form.values(u), way.target, dl, places))

    h = jnp.moveaxis(jax.lax.map(column, jnp.arange(form.shape[-1])), 0, -1)
    size, q = jnp.linalg.eigh((h + h.mT) / 2)
    return form, size, q * jnp.sqrt(abs(size))[..., None, :]


def over_roots(form: "Form", roots: Array, one: Any, zeros: PyTree) -> PyTree:
    """Σ one(r, p, k) over all roots r, each alone in an array like z."""
    n = form.shape[-1]

    def add(total, at):
        p, k = at // n, at % n
        r = jnp.zeros(form.shape, form.dtype).at[:, p].set(roots[:, p, :, k])
        return jax.tree.map(jnp.add, total, one(r, p, k)), None

    return jax.lax.scan(add, zeros, jnp.arange(form.shape[1] * n))[0]


class Form(NamedTuple):
    """The outputs of all examples as [B, P, n]: P predictions of n outputs each."""

    shape: tuple[int, int, int]
    dtype: Any
    rows: Any  # values of z → [B, P, n]
    values: Any  # the other way


def outputs(loss: Loss[Any], z: Any) -> Form:
    """What the loss sums over is a prediction; all of an example where it says otherwise."""
    leaves, tree = jax.tree.flatten(value(z))
    shape, n_rows = loss.shape(z), len(leaves[0])
    apart = len(leaves) == 1 and leaves[0].shape in (shape, (*shape, leaves[0].shape[-1]))
    places = math.prod(shape[1:]) if apart else 1
    n = sum(a.size for a in leaves) // (n_rows * places)
    dtype = jnp.result_type(*(wide(a.dtype) for a in leaves))

    def rows(values):
        flat = [a.reshape(n_rows, -1).astype(dtype) for a in jax.tree.leaves(values)]
        return jnp.concatenate(flat, -1).reshape(n_rows, places, n)

    def values(rows):
        flat, found, start = rows.reshape(n_rows, -1), [], 0
        for a in leaves:
            stop = start + a.size // n_rows
            found.append(flat[:, start:stop].reshape(a.shape).astype(a.dtype))
            start = stop
        return tree.unflatten(found)

    return Form((n_rows, places, n), dtype, rows, values)


def back(way: Forward, dz: Any) -> Any:
    """dz as a cotangent of y; of Logits dw is in factors."""
    y = value(way.y)
    return back_in(way.y, y.factors(dz) if isinstance(y, Logits) else dz)


def with_penalty(owner: str, way: Forward, found: PyTree, penalty: Any) -> PyTree:
    """The diagonal with that of the penalty, which looks at every entry by itself."""
    return penalized(owner, found, way.params, jax.tree.map(jnp.ones_like, way.params), penalty)
