"""The Fisher matrix of a net's distribution of targets times a direction.

With z = net(p, x), J = ∂z/∂p, the weights dl_i = w_i / Σ w of L, and scores ε = ∂ℓ/∂z_i (z_i, t),

    exact          Σ_i dl_i J_iᵀ F_i J_i v      F_i = E_{t ~ p(·|z_i)} ε εᵀ, which is E ∂²ℓ/∂z_i²
    monte_carlo    Σ_i dl_i J_iᵀ ε_i ⟨ε_i, J_i v⟩        ε_i of a t_i drawn from p(·|z_i), the mean
                                                        of several draws; in expectation the exact
    empirical      Σ_b s_b g_b ⟨g_b, v⟩         g_b the gradient of example b's own loss at its
                                                target, s_b = Σ_t dl_bt its share in L

The exact one is the Gauss–Newton matrix for SoftmaxCrossEntropy, LinearSoftmaxCrossEntropy,
KLDivergence, SigmoidBinaryCrossEntropy, SquaredError and PoissonNLL, whose ∂²ℓ/∂z² does not depend
on t; for CrossEntropy, BinaryCrossEntropy and GaussianNLL it is another one. Predictions are
independent given z, so that their scores are multiplied one by one, whatever the net does with
examples; the empirical one needs a gradient of every example, and is not the exact one where the
net is wrong: it is no approximation of curvature there.

Source: Amari (1998), Neural Computation 10, section 3; Martens (2020), arXiv:1412.1193; the
empirical one: Kunstner, Balles & Hennig (2019), arXiv:1905.12558, eq. 3.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.composite import With
from fnn.curvature.likelihoods import Likelihood, by_position, likelihood
from fnn.curvature.products import curved, direction, penalized, sandwich
from fnn.driver import forth
from fnn.errors import check_key
from fnn.factors import Factor, is_factor
from fnn.layer import Layer
from fnn.loss import Loss, check_loss_type
from fnn.mean import normalized, spread
from fnn.numerics import times, wide
from fnn.records import Array, Key, PyTree, integer
from fnn.rules.per_example import example_factors, slopes, total
from fnn.ruling import Seen, companion, rule
from fnn.sharding import automatic

KINDS = ("empirical", "monte_carlo", "exact")
TARGETS = 0x7A67  # folded into the key of the net's draws for those of targets


def fisher_product(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    v: PyTree,
    *,
    kind: str = "empirical",
    samples: int = 1,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
) -> PyTree:
    """F v, like params: the Fisher matrix times a direction; to it the penalty's Hessian is added.

    The arguments are those of hessian_product, and

    Args:
        net: the network, a layer; for the empirical kind none that mixes examples.
        loss: −log of a known distribution, as fnn.curvature.likelihood says; for the empirical
            kind any that gives every example a loss of its own.
        params: where the derivatives are taken.
        x: the inputs, [B, ...].
        target: what y should be; its values matter to the empirical kind alone.
        v: the direction, like params.
        kind: "empirical", of the targets that came, "monte_carlo", of drawn ones, or "exact", the
            mean over all that the net thinks possible.
        samples: how many targets are drawn per prediction, for "monte_carlo".
        key: for layers that draw, and for the targets of "monte_carlo": with the same key the
            product is that with one matrix, whatever v is.
        weights: of the predictions, as in value_and_grad.
        penalty: L1, L2 or a tuple of such.

    Raises:
        ValueError, TypeError: as hessian_product, for another kind, and for "monte_carlo" without
            a key.
        NotImplementedError: for a loss that is −log of no known distribution; for the empirical
            kind of a net or a loss that mixes examples.
    """
    owner = "fisher_product"
    check_kind(owner, kind)
    options = {"key": key, "weights": weights, "penalty": penalty}
    if kind == "empirical":
        return empirical(owner, net, loss, params, x, target, v, **options)
    inner = inner_of(owner, kind, loss, samples, key)
    return sandwich(owner, inner, net, loss, params, x, target, v, **options)


def check_kind(owner: str, kind: Any) -> None:
    """Raise a ValueError for a kind of Fisher matrix that there is none of."""
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{owner}: kind must be one of {', '.join(KINDS)}, got {kind!r:.60}.")


def inner_of(owner: str, kind: str, loss: Loss[Any], samples: int, key: Key | None) -> Any:
    """c of u at every prediction, for the exact and the Monte Carlo matrix."""
    check_loss_type(owner, loss)
    likely = likelihood(loss)
    if kind == "exact":
        if likely.expected is None:
            raise NotImplementedError(
                f"{loss}: no exact Fisher matrix here: it is not the mean of second derivatives; "
                f'{owner} has kind="monte_carlo", of its scores.'
            )
        return functools.partial(expected, likely)
    return functools.partial(sampled, likely, *draws_of(owner, samples, key))


def draws_of(owner: str, samples: int, key: Key | None) -> tuple[int, Key]:
    """How many targets are drawn, and with which key: another one than the net draws with."""
    n = integer(f"{owner}: samples", samples)
    if n < 1:
        raise ValueError(f"{owner}: samples must be at least 1, got {n}.")
    if key is None:
        raise ValueError(f'{owner}: kind="monte_carlo" needs a key; pass key=jax.random.key(0).')
    check_key(owner, key)
    return n, jax.random.fold_in(key, TARGETS)


def expected(likely: Likelihood, loss: Any, z, u, target, dl, places) -> PyTree:
    """dl F u, F = E ∂²ℓ/∂z²."""
    points: Any = likely.expected
    parts = [
        jax.tree.map(lambda c, w=w: w * c, curved(likely.loss, z, u, t, dl, places))
        for w, t in points(loss, z, target)
    ]
    return functools.reduce(functools.partial(jax.tree.map, jnp.add), parts)


def sampled(likely: Likelihood, n: int, key: Key, loss: Any, z, u, target, dl, places) -> Array:
    """dl Σ ε ⟨ε, u⟩ / n of n draws."""

    def add(c, key):
        e = scores(likely, key, z, dl, places)
        slope = e * u if e.ndim == dl.ndim else (e * u).sum(-1)
        return c + spread(times(dl, slope) / n, e).astype(c.dtype), None

    c, _ = jax.lax.scan(add, jnp.zeros(z.shape, wide(z.dtype)), jax.random.split(key, n))
    return c.astype(z.dtype)


def scores(likely: Likelihood, key: Key, z: Array, dl: Array, places: Array) -> Array:
    """ε = ∂ℓ/∂z at targets drawn from p(·|z), [B, ..., n]."""
    rows = z.astype(wide(z.dtype)).reshape(dl.size, *z.shape[dl.ndim :])
    target = by_position(likely, key, rows, places.reshape(-1))
    target = target.reshape(*dl.shape, *target.shape[1:])
    return likely.loss.value_and_backward(z, target, jnp.ones_like(dl))[1]


@automatic
def empirical(
    owner: str, net, loss, params, x, target, v, *, key, weights, penalty
) -> PyTree:  # fmt: skip
    """Σ_b s_b g_b ⟨g_b, v⟩: one forward, and one fold that keeps every g_b in factors."""
    params, v = direction(owner, params, v)
    way = forth(owner, net, loss, params, x, target, (sloped,), key=key, weights=weights)
    made, _ = sloped.at(Seen(None, None), net, With(way.params, v), way.cache, way.dy)
    along, kept = (companion(net, lambda _, m, i=i: m[i] if m else (), made) for i in (0, 1))
    dl = normalized(way.weights)
    c = times(dl.sum(tuple(range(1, dl.ndim))), total(along))

    def leaf(_, found, own):
        return jax.tree.map(
            lambda f, p: like_param(f.scaled(c), p), found, own, is_leaf=is_factor
        ) if jax.tree.leaves(own) else ()  # fmt: skip

    found = companion(net, leaf, kept, way.params)
    found = jax.tree.unflatten(jax.tree.structure(way.params), jax.tree.leaves(found))
    return penalized(owner, found, params, v, penalty)


@rule(per_example=True, companion=True)
def sloped(layer, params, cache, dy, own):
    """⟨g_b, v⟩ of every layer, [B], and g_b in factors."""
    found, dx = example_factors(layer, params, cache, dy)
    return (slopes(found, own, dy), found), dx


def like_param(f: Factor, p: Array) -> Array:
    """Σ_b g_b, like p."""
    return f.gradient().reshape(p.shape).astype(p.dtype)
