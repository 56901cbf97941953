"""Kronecker factors of the Fisher matrix, of targets that the net itself stands for.

With dl_i = w_i / Σ w the weight of prediction i in L, J_i = ∂z_i/∂p, and F_i = E ε εᵀ that of its
distribution of targets, ε = ∂ℓ/∂z_i at one that is drawn from it, or F_i = Σ_k r_ik r_ikᵀ,

    empirical      δ of L itself, in which F is Σ_b s_b g_b g_bᵀ                    one way back
    monte_carlo    δ of Σ_i √dl_i ε_i z_i, the mean over several draws              one for each
    exact          δ of √dl_i r_ik z_i, G the sum over all i of an example and k    one for each

The blocks are those of fnn/kronecker.py: G of monte_carlo is in expectation that of exact, which
is F itself where A and G are independent, such as in a deep linear net with one step and squared
errors. A of exact is that of all predictions at once.

Source: Martens & Grosse (2015), arXiv:1503.05671, sections 3 and 5; Dangel, Kunstner & Hennig
(2020), arXiv:1912.10985, appendix A.2, for roots; Kunstner, Balles & Hennig (2019),
arXiv:1905.12558, for what the empirical one is not.
"""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.composite import With
from fnn.curvature.diagonals import back, over_roots, roots_of
from fnn.curvature.fisher import check_kind, inner_of, scores
from fnn.driver import Forward, Pass, forth
from fnn.kronecker import Blocks, Kronecker, Weights, is_blocks
from fnn.layer import Layer
from fnn.logits import whole
from fnn.loss import Loss
from fnn.mean import mean, normalized, spread
from fnn.numerics import ratio
from fnn.penalties import members
from fnn.records import Array, Data, Key, PyTree
from fnn.rules.fisher import Fisher, known
from fnn.ruling import Seen, backprop
from fnn.sequence import value
from fnn.sharding import automatic


def fisher_blocks(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    kind: str = "empirical",
    sharing: str = "expand",
    widest: int = 2048,
    samples: int = 1,
    key: Key | None = None,
    weights: Array | None = None,
) -> PyTree:
    """The Blocks of every layer, A ⊗ G or a diagonal, nested like params.

    Args:
        net: the network, none of whose layers mixes examples.
        loss: −log of a known distribution, as fnn.curvature.likelihood says; for the empirical
            kind any that gives every example a loss of its own.
        params: of the net.
        x: the inputs, [B, ...], as in value_and_grad.
        target: what y should be; its values matter to the empirical kind alone.
        kind: "empirical", "monte_carlo" or "exact".
        sharing: "expand" or "reduce", as of fnn.rules.kfac.
        widest: of a wider side only the diagonal is kept.
        samples: how many targets are drawn per prediction, for "monte_carlo".
        key: for layers that draw, and for the targets of "monte_carlo".
        weights: of the predictions, as in value_and_grad.

    Raises:
        ValueError, TypeError: as value_and_grad, for another kind or sharing, for samples or a
            widest below 1, for "monte_carlo" without a key.
        NotImplementedError: for a layer or a loss that mixes examples; for a loss that is −log of
            no known distribution; for the exact kind of tied layers whose uses have other units.
    """
    owner = "fisher_blocks"
    check_kind(owner, kind)
    rule = known(owner, sharing, widest)
    inner = None if kind == "empirical" else inner_of(owner, kind, loss, samples, key)
    way = forth(owner, net, loss, params, x, target, (rule,), key=key, weights=weights)
    if inner is None:
        return of(net, way, way.dy, rule, ())
    return (by_draws if kind == "monte_carlo" else by_roots)(inner, net, loss, way, rule, ())


@dataclass(frozen=True)
class FisherPass(Data):
    """A step's gradient, and the blocks of targets that the net stands for: run of a Plan."""

    bases: PyTree  # in which the blocks have moments; () of none
    rule: Fisher = field(kw_only=True, metadata={"static": True})
    kind: str = field(kw_only=True, metadata={"static": True})
    samples: int = field(kw_only=True, metadata={"static": True})

    def run(self, net, loss, params, x, target, *, key=None, weights=None, penalty=None) -> Pass:
        """The gradient of L as the result, the blocks as the companion."""
        if key is None and self.kind == "monte_carlo":
            raise ValueError('KFAC: kind="monte_carlo" needs a key; give fnn.start one.')
        inner = inner_of("KFAC", self.kind, loss, self.samples, key)
        rules = backprop, self.rule
        way = forth("KFAC", net, loss, params, x, target, rules, key=key, weights=weights)
        gradient, dx = backprop.at(None, net, way.params, way.cache, way.dy)
        find = by_draws if self.kind == "monte_carlo" else by_roots
        blocks = find(inner, net, loss, way, self.rule, self.bases)
        total, extra = mean(way.losses, normalized(way.weights)), jnp.zeros((), way.losses.dtype)
        for p in members("KFAC", penalty):
            extra = extra + p.value(params).astype(extra.dtype)
            gradient = jax.tree.map(jnp.add, gradient, p.gradient(params))
        return Pass(total + extra, gradient, way.y, way.weights, way.losses, extra, dx, blocks)


def of(net: Any, way: Forward, dy: Any, rule: Fisher, bases: PyTree) -> PyTree:
    """The blocks of a cotangent whose δ² have the share of an example in them; of L's, twice."""
    dl = normalized(way.weights)
    s = dl.sum(tuple(range(1, dl.ndim)))
    weights = Weights(s, ratio(jnp.ones_like(s), s) if dy is way.dy else jnp.ones_like(s))
    given = rule if bases == () else rule.within(bases).rule
    params = way.params if bases == () else With(way.params, bases)
    return given.at(Seen(weights, None), net, params, way.cache, dy)[0]


@automatic
def by_draws(inner: Any, net, loss, way: Forward, rule: Fisher, bases: PyTree) -> PyTree:
    """The mean of the blocks of several draws."""
    likely, n, draws = inner.args
    z, dl = whole(value(way.y)), normalized(way.weights)
    places = jnp.arange(dl.size, dtype=jnp.int32).reshape(dl.shape)

    def draw(key):
        e = spread(jnp.sqrt(dl), scores(likely, key, z, dl, places)).astype(z.dtype)
        return of(net, way, back(way, e), rule, bases)

    if n == 1:
        return draw(jax.random.split(draws, 1)[0])
    found = jax.lax.map(draw, jax.random.split(draws, n))
    return jax.tree.map(lambda a: a.mean(0), found)


@automatic
def by_roots(inner: Any, net, loss, way: Forward, rule: Fisher, bases: PyTree) -> PyTree:
    """G of all √dl r_ik one by one, and A of all at once."""
    form, size, roots = roots_of(inner, loss, way)
    roots = jnp.where(size[..., None, :] > 0, roots, 0)  # below 0 by rounding alone

    def one(r, *_):
        return of(net, way, back(way, form.values(r)), rule, bases)

    whole_one = one(roots.sum(-1))
    jax.tree.map(check_units, whole_one, is_leaf=is_blocks)
    none = jax.tree.map(jnp.zeros_like, whole_one)
    found = over_roots(form, roots, one, none)
    return jax.tree.map(with_rows, found, whole_one, is_leaf=is_blocks)


def check_units(blocks: Blocks) -> None:
    """Raise a NotImplementedError for arrays in uses of other units, whose A is made of G."""
    for k in blocks.kronecker:
        if k.mixed:
            names = ", ".join(p.name for p in k.parts)
            raise NotImplementedError(
                f'fisher_blocks: kind="exact" is not known of {names}, which has uses of other '
                'units, such as a table that is the head, too; take kind="monte_carlo".'
            )


def with_rows(blocks: Blocks, first: Blocks) -> Blocks:
    """The blocks with A of the first."""

    def one(k: Kronecker, f: Kronecker) -> Kronecker:
        return k.with_fields(rows=f.rows)

    pairs = zip(blocks.kronecker, first.kronecker, strict=True)
    return blocks.with_fields(kronecker=tuple(one(*pair) for pair in pairs))
