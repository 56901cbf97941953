"""KFAC: the gradient in the metric of the Fisher matrix, by Kronecker factors.

With the blocks F ≈ A ⊗ G of every layer (fnn/kronecker.py), averaged over steps,

    w ← m w + 1 − m        F̄ ← F̄ + (1 − m)/w (F − F̄)

V = ∂L/∂W the gradient of the arrays of a block as one matrix, and damping λ,

    cholesky    U = (A + π √λ)⁻¹ V (G + √λ/π)⁻¹          π² = (tr A/n) / (tr G/m)
    eigen       U = Q (Qᵀ V R / (d eᵀ + λ)) Rᵀ           A = Q d Qᵀ,  G = R e Rᵀ
    ekfac       U = Q (Qᵀ V R / (S + λ)) Rᵀ              S the average of Σ_b s_b (Qᵀ g_b R)²

    v ← μ v + c U        update = −η v        c = min(1, √(κ / (η² Σ U·V))),  1 without κ

so that η² Σ U·V, twice what the net's distribution moves in KL divergence, stays below κ. Where F̄
has a diagonal side, Q is the identity and d the diagonal; where it has but its own diagonal f,
U = V / (f + λ). Inverses and eigenvectors are made anew every `interval` steps; S begins anew with
them, as d eᵀ. λ is exact for eigen; for cholesky λ stands on both sides, which adds to it.

Source: Martens & Grosse (2015), arXiv:1503.05671, sections 2, 5 and 6.3; George, Laurent,
Bouthillier, Ballas & Vincent (2018), arXiv:1806.03884, algorithm 1; Ba, Grosse & Martens (2017),
ICLR, section 5.1, for κ.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve

from fnn.curvature.blocks import FisherPass
from fnn.curvature.fisher import check_kind
from fnn.errors import check_floating, check_interval, check_number, shown
from fnn.kronecker import Bases, Blocks, Kronecker, blockwise, each_copy, is_blocks, trace
from fnn.numerics import is_like, wide
from fnn.optim.optimizer import Optimizer, leafwise, next_step, zeros
from fnn.records import Array, Data, PyTree, integer
from fnn.rules.fisher import known

METHODS = ("cholesky", "eigen", "ekfac")


@dataclass(frozen=True, eq=False)
class Inverse(Data):
    """What solves with one block, U = left (leftᵀ V right / (S + λ)) rightᵀ; None is the identity.

    Without S left and right are inverses, U = left V right, a vector that of a diagonal side.
    """

    left: Array | None
    right: Array | None
    s: Array | None  # [n, m]


@dataclass(frozen=True, eq=False)
class Inverses(Data):
    """An Inverse for every Kronecker block of a layer."""

    each: tuple[Inverse, ...]


class KFACState(NamedTuple):
    """What KFAC remembers between steps."""

    step: Array  # updates so far, int32 []
    weight: Array  # w, of the averages
    factors: PyTree  # F̄: Blocks, nested like params; () before the first step
    inverses: PyTree  # Inverses, nested like F̄; () before the first step
    v: PyTree  # velocity, like params


@dataclass(frozen=True)
class KFAC(Optimizer[KFACState]):
    """update = −η v, v ← μ v + F⁻¹ g, F the Fisher matrix by Kronecker factors.

    In a Plan it brings its rule, which finds gradient and factors on one way back; elsewhere
    update(grads, state, params, factors=…) is given them, as from fnn.rules.kfac(). `method` says
    how a block is inverted, `sharing` and `widest` what the blocks are, as of fnn.rules.kfac.

    Raises:
        ValueError: for a known η, λ or κ that is not above 0, an interval below 1, a μ or m
            outside [0, 1), another method, kind or sharing; from update, without factors, and for
            those of another net.
        TypeError: for an interval that is no integer; from update, for factors of another kind.
        NotImplementedError: in a step, for a layer that mixes examples.
    """

    keeps_nan: ClassVar = True

    learning_rate: float | Array = 0.1  # η
    damping: float | Array = 1e-2  # λ
    momentum: float | Array = 0.9  # μ
    decay: float | Array = 0.95  # m, of the averages
    interval: int | Array = 10  # steps from one inversion to the next
    max_kl: float | Array | None = 1e-2  # κ; None: no bound
    method: str = field(default="cholesky", kw_only=True, metadata={"static": True})
    kind: str = field(default="empirical", kw_only=True, metadata={"static": True})
    samples: int = field(default=1, kw_only=True, metadata={"static": True})
    sharing: str = field(default="expand", kw_only=True, metadata={"static": True})
    widest: int = field(default=2048, kw_only=True, metadata={"static": True})

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        for name in ("learning_rate", "damping", "max_kl"):
            if getattr(self, name) is not None:
                check_number("KFAC", name, getattr(self, name), 0, open_low=True)
        for name in ("momentum", "decay"):
            check_number("KFAC", name, getattr(self, name), 0, 1)
        check_interval("KFAC", "interval", self.interval)
        if not isinstance(self.method, str) or self.method not in METHODS:
            raise ValueError(
                f"KFAC: method must be one of {', '.join(METHODS)}, got {self.method!r:.60}."
            )
        check_kind("KFAC", self.kind)
        if (n := integer("KFAC: samples", self.samples)) < 1:
            raise ValueError(f"KFAC: samples must be at least 1, got {n}.")
        object.__setattr__(self, "samples", n)
        known("KFAC", self.sharing, self.widest)

    def init(self, params):
        """v = 0, w = 0; only the first factors show what room they take."""
        step, weight = jnp.zeros((), jnp.int32), jnp.zeros((), wide(jnp.result_type(float)))
        return KFACState(step, weight, (), (), zeros(params))

    @property
    def asks(self):
        """Whether it asks for factors: it does."""
        return True

    def rule(self, state):
        """The rule that finds gradient and factors; for ekfac the moments in the bases, too."""
        own = bases(state.inverses) if self.method == "ekfac" else ()
        rule = known("KFAC", self.sharing, self.widest)
        if self.kind == "empirical":
            return rule.learning(own)
        return FisherPass(own, rule=rule, kind=self.kind, samples=self.samples)

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """F̄ and, where it is time, its inverses; then v ← μ v + c U, and −η v."""
        if factors is None:
            raise ValueError(
                "KFAC: update needs factors; a Plan has them found, elsewhere give update(grads, "
                "state, params, factors=fold(…, rule=fnn.rules.kfac()).result)."
            )
        check_factors(factors, state.factors)
        o = self.numbers(state.weight.dtype)
        w = o.decay * state.weight + (1 - o.decay)
        averages = averaged(state.factors, factors, (1 - o.decay) / w)
        inverses = self.inverted(state, averages, factors)
        u = blockwise(self.solved, averages, grads, inverses)
        c = self.clip(u, grads, w.dtype)

        def leaf(g, v, u):
            o = self.numbers(v.dtype)
            v = o.momentum * v + c.astype(v.dtype) * u.astype(v.dtype)
            return -o.learning_rate * v, v, u

        updates, v, _ = leafwise(self, leaf, grads, state.v, u)
        return updates, KFACState(next_step(state.step), w, averages, inverses, v)

    def inverted(self, state: KFACState, averages: PyTree, factors: PyTree) -> PyTree:
        """New inverses where it is time; else the old ones, S nearer to this step's moments."""
        if state.inverses == ():
            return layerwise(self.inverse, averages)
        kept = state.inverses
        if self.method == "ekfac":
            kept = jax.tree.map(self.nearer, kept, factors, is_leaf=is_inverses)
        due = state.step % jnp.maximum(jnp.asarray(self.interval), 1) == 0
        return jax.lax.cond(
            due, lambda a, _: layerwise(self.inverse, a), lambda _, i: i, averages, kept
        )

    def nearer(self, inverses: Inverses, blocks: Blocks) -> Inverses:
        """S ← S + (1 − m) (Σ s (Qᵀ g R)² − S)."""

        def one(i, k):
            if k.moments is None:
                raise ValueError(
                    'KFAC: method="ekfac" needs factors with moments, the next companion of a fold '
                    "with rule=optimizer.rule(state)."
                )
            m = jnp.asarray(self.decay).astype(i.s.dtype)
            return i.with_fields(s=i.s + (1 - m) * (k.moments - i.s))

        return Inverses(tuple(map(one, inverses.each, blocks.kronecker)))

    def inverse(self, k: Kronecker) -> Inverse:
        """(A + π √λ)⁻¹ and (G + √λ/π)⁻¹, or the eigenvectors and d eᵀ."""
        if self.method != "cholesky":
            (q, d), (r, e) = eigen(k.rows), eigen(k.columns)
            return Inverse(q, r, jnp.outer(d, e))
        a, g = trace(k.rows) / len(k.rows), trace(k.columns) / len(k.columns)
        there = (a > 0) & (g > 0)
        pi = jnp.where(there, jnp.sqrt(jnp.where(there, a, 1) / jnp.where(there, g, 1)), 1)
        root = jnp.sqrt(self.trusted(a.dtype))
        return Inverse(inverse_of(k.rows, pi * root), inverse_of(k.columns, root / pi), None)

    def solved(self, blocks: Blocks, grads: PyTree, inverses: Inverses) -> PyTree:
        """U of all arrays of a layer."""

        def leaf(g, f):
            return g.astype(f.dtype) / (f + self.trusted(f.dtype))

        if blocks.whole:
            return jax.tree.map(leaf, grads, blocks.squares)
        found = {name: leaf(getattr(grads, name), f) for name, f in blocks.squares.items()}
        for k, inverse in zip(blocks.kronecker, inverses.each, strict=True):
            found |= each_copy(self.solution, k.copies)(k, inverse, grads)
        return grads._replace(**found)

    def solution(self, k: Kronecker, i: Inverse, grads: Any) -> dict[str, Array]:
        """left V right, or left (leftᵀ V right / (S + λ)) rightᵀ."""
        v = k.matrix(grads).astype(k.rows.dtype)
        if i.s is None:
            return k.arrays(before(i.left, behind(v, i.right)))
        turned = before(turned_round(i.left), behind(v, i.right))
        turned = turned / (i.s + self.trusted(i.s.dtype))
        return k.arrays(before(i.left, behind(turned, turned_round(i.right))))

    def trusted(self, dtype: Any) -> Array:
        """λ; NaN where it, or the interval, means nothing."""
        damping = jnp.asarray(self.damping).astype(dtype)
        return jnp.where((damping > 0) & (jnp.asarray(self.interval) >= 1), damping, jnp.nan)

    def clip(self, u: PyTree, grads: PyTree, dtype: Any) -> Array:
        """c = min(1, √(κ / (η² Σ U·V)))."""
        if self.max_kl is None:
            return jnp.ones((), dtype)
        pairs = zip(jax.tree.leaves(u), jax.tree.leaves(grads), strict=True)
        slope = sum(((a * g.astype(a.dtype)).sum().astype(dtype) for a, g in pairs), 0)
        o = self.numbers(dtype)
        kl = jnp.maximum(o.learning_rate**2 * slope, jnp.finfo(dtype).tiny)
        return jnp.minimum(1, jnp.sqrt(jnp.asarray(o.max_kl) / kl))


def is_inverses(a: Any) -> bool:
    """Whether `a` is the Inverses of a layer."""
    return isinstance(a, Inverses)


def check_factors(factors: PyTree, averages: PyTree) -> None:
    """Raise a TypeError unless factors are Blocks, and those that were averaged so far."""
    layers = jax.tree.leaves(factors, is_leaf=is_blocks)
    if not all(map(is_blocks, layers)):
        raise TypeError(
            "KFAC: factors must be Blocks, nested like params, as fold(…, rule=fnn.rules.kfac()) "
            f"finds them, got {shown(factors)}."
        )
    for k in (k for b in layers for k in b.kronecker):
        check_block(k)
    plain = jax.tree.map(without_moments, factors, is_leaf=is_blocks)
    if averages != () and not is_like(plain, averages):
        raise ValueError(
            "KFAC: factors must be those of the net that state.factors are of; another net, "
            "sharing or widest begins with a state of its own, init(params)."
        )


def check_block(k: Kronecker) -> None:
    """Raise unless A and G are floating, of the sizes of the arrays of the block."""
    n = sum(p.n_rows for p in k.parts)
    m = math.prod(k.parts[0].shape) // k.parts[0].n_rows
    leads = []
    for name, a, size, diagonal in zip(
        ("rows", "columns"), (k.rows, k.columns), (n, m), k.diagonal, strict=True
    ):
        check_floating("KFAC", f"{name} of factors", a)
        tail = (size,) if diagonal else (size, size)
        leads.append(a.shape[: -len(tail)])
        if a.shape[-len(tail) :] != tail or leads[0] != leads[-1]:
            raise ValueError(
                f"KFAC: {name} of factors must have shape [..., {', '.join(map(str, tail))}], "
                f"with the copies of Repeat first, got {list(a.shape)}."
            )


def averaged(old: PyTree, new: PyTree, share: Array) -> PyTree:
    """F̄ + share (F − F̄) without moments, which are of bases that change; F where there is no F̄."""
    new = jax.tree.map(without_moments, new, is_leaf=is_blocks)
    if old == ():
        return new
    return jax.tree.map(lambda a, f: a + share.astype(a.dtype) * (f.astype(a.dtype) - a), old, new)


def without_moments(blocks: Blocks) -> Blocks:
    """The blocks, but for S."""
    return blocks.with_fields(
        kronecker=tuple(k.with_fields(moments=None) for k in blocks.kronecker)
    )


def layerwise(f: Callable[[Kronecker], Inverse], blocks: PyTree) -> PyTree:
    """Inverses of every layer, nested like the blocks."""

    def layer(b):
        return Inverses(tuple(each_copy(f, k.copies)(k) for k in b.kronecker))

    return jax.tree.map(layer, blocks, is_leaf=is_blocks)


def bases(inverses: PyTree) -> PyTree:
    """Q and R of every block."""

    def layer(i):
        return Bases(tuple((one.left, one.right) for one in i.each))

    return jax.tree.map(layer, inverses, is_leaf=is_inverses)


def eigen(a: Array) -> tuple[Array | None, Array]:
    """Eigenvectors, None of a diagonal, and eigenvalues, at least 0."""
    if a.ndim == 1:
        return None, a
    d, q = jnp.linalg.eigh(a)
    return q, jnp.maximum(d, 0)


def inverse_of(a: Array, damping: Array) -> Array:
    """(a + damping)⁻¹; of a diagonal its diagonal."""
    if a.ndim == 1:
        return 1 / (a + damping)
    eye = jnp.eye(len(a), dtype=a.dtype)
    return cho_solve(cho_factor(a + damping * eye), eye)


def turned_round(q: Array | None) -> Array | None:
    """qᵀ."""
    return None if q is None else q.T


def before(a: Array | None, v: Array) -> Array:
    """a v, a a matrix, the diagonal of one, or None for the identity."""
    if a is None:
        return v
    return a[:, None] * v if a.ndim == 1 else a @ v


def behind(v: Array, a: Array | None) -> Array:
    """v a of the same."""
    if a is None:
        return v
    return v * a if a.ndim == 1 else v @ a
