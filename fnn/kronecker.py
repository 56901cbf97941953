"""Kronecker factors: the Fisher matrix of a layer's weights, from the factors of its gradients.

With g_b = Σ_t a_tᵀ δ_t the gradient of example b's own loss, s_b its share in the loss, and T the
number of steps at which δ is not 0 (1, of an example that has one step),

    F = Σ_b s_b vec(g_b) vec(g_b)ᵀ ≈ A ⊗ G

    expand     A = Σ_b s_b/T Σ_t a_tᵀ a_t                   G = Σ_b s_b Σ_t δ_tᵀ δ_t
    reduce     A = Σ_b s_b ā_bᵀ ā_b,  ā = Σ_t a_t / T       G = Σ_b s_b (Σ_t δ_t)ᵀ (Σ_t δ_t)

So what is masked, ignored or comes too late to matter changes nothing; of the windows of a
convolution all count. Arrays that multiply the same δ are one block, a matrix of the rows of all:
of Dense a is [x, 1], of LSTM [x, h, 1]. Of an array that several layers share, the steps are those
of all uses; where these have other units, as a table that is the head, too, with c_u² = (tr G_u/m)
/ (tr A_u/n), for both sides of one size,

    A = k Σ_u c_u A_u      G = Σ_u G_u/c_u      k = Σ_u tr A_u tr G_u / (tr Σ c A · tr Σ G/c)

The rows of a table are a diagonal side, as 1{row = i} is, and so are a head's classes and what is
wider than `widest`. What is no sum of products has the diagonal of F, Σ_b s_b g_b². In other bases
Q and R, such as those of the eigenvectors of A and G, the diagonal of F is

    S = Σ_b s_b (Qᵀ g_b R)²

which for these is nearer to it than the products of eigenvalues (EKFAC). Everything nests like
params, with the Blocks of a layer in its place; under Repeat all arrays have the copies first.

Source: Martens & Grosse (2015), arXiv:1503.05671, section 3.1; Grosse & Martens (2016),
arXiv:1602.01407, section 3, for windows; Eschenhagen, Immer, Turner, Schneider & Hennig (2023),
arXiv:2311.00636, section 3, for expand and reduce; George, Laurent, Bouthillier, Ballas & Vincent
(2018), arXiv:1806.03884, section 3, for S.
"""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.factors import Factor
from fnn.loops import scan
from fnn.numerics import ratio, times, widened
from fnn.records import Array, Data, PyTree
from fnn.sides import Hot, Side, Sides, Vectors, side_by_side
from fnn.together import Together


class Part(NamedTuple):
    """An array of params in a block, and how it is a matrix."""

    name: str
    shape: tuple[int, ...]
    swapped: bool  # whether its rows are the last axis but one, not all but the last

    @property
    def n_rows(self) -> int:
        """The rows of its matrix."""
        return self.shape[-2] if self.swapped else math.prod(self.shape[:-1])

    def matrix(self, g: Array) -> Array:
        """g as rows times columns."""
        if self.swapped:
            return jnp.moveaxis(g, -2, 0).reshape(g.shape[-2], -1)
        return g.reshape(-1, g.shape[-1])

    def array(self, m: Array) -> Array:
        """The array of this matrix."""
        if self.swapped:
            *k, n_rows, n = self.shape
            return jnp.moveaxis(m.reshape(n_rows, *k, n), 0, -2)
        return m.reshape(self.shape)


@dataclass(frozen=True, eq=False)
class Kronecker(Data):
    """F ≈ A ⊗ G of the arrays of `parts`."""

    rows: Array  # A, [n, n] or [n]
    columns: Array  # G, [m, m] or [m]
    moments: Array | None = None  # S [n, m], the diagonal of F in given bases
    parts: tuple[Part, ...] = field(default=(), kw_only=True, metadata={"static": True})
    diagonal: tuple[bool, bool] = field(
        default=(False, False), kw_only=True, metadata={"static": True}
    )
    mixed: bool = field(default=False, kw_only=True, metadata={"static": True})  # of other units

    @property
    def copies(self) -> int:
        """The number of axes that Repeat has put in front."""
        return self.rows.ndim - (1 if self.diagonal[0] else 2)

    def matrix(self, grads: Any) -> Array:
        """The gradients of these arrays, [n, m], in at least float32."""
        return jnp.concatenate([p.matrix(*widened(getattr(grads, p.name))) for p in self.parts])

    def arrays(self, m: Array) -> dict[str, Array]:
        """The arrays of a matrix, by name."""
        ends = np.cumsum([p.n_rows for p in self.parts])[:-1]
        pieces = jnp.split(m, ends.tolist())
        return {p.name: p.array(a) for p, a in zip(self.parts, pieces, strict=True)}

    def whole(self) -> Array:
        """A ⊗ G, [n m, n m]: of the arrays of the matrix row by row."""
        return jnp.kron(*(jnp.diag(a) if a.ndim == 1 else a for a in (self.rows, self.columns)))


@dataclass(frozen=True, eq=False)
class Blocks(Data):
    """The blocks of one layer."""

    kronecker: tuple[Kronecker, ...]
    squares: PyTree  # the diagonal of F of the other arrays, by name
    whole: bool = field(default=False, metadata={"static": True})  # squares are like params


def is_blocks(a: Any) -> bool:
    """Whether `a` is the Blocks of a layer."""
    return isinstance(a, Blocks)


def each_copy(f: Callable[..., PyTree], copies: int) -> Callable[..., PyTree]:
    """f over the axes that Repeat has put in front."""
    for _ in range(copies):
        f = jax.vmap(f)
    return f


def blockwise(f: Callable[..., PyTree], blocks: PyTree, params: PyTree, *trees: PyTree) -> PyTree:
    """f(Blocks of a layer, *its entries), nested like params; 0 where nothing is learned."""
    if isinstance(blocks, Blocks):
        return f(blocks, params, *trees)
    if type(blocks) is dict:
        entries = {n: [t.get(n, ()) for t in (blocks, params, *trees)] for n in params}
        return {n: blockwise(f, *entry) for n, entry in entries.items()}
    if blocks and not hasattr(params, "frozen"):
        return tuple(blockwise(f, *entry) for entry in zip(blocks, params, *trees, strict=True))
    return jax.tree.map(jnp.zeros_like, params)


@dataclass(frozen=True, eq=False)
class Bases(Data):
    """Q and R of every Kronecker block of a layer; None of a diagonal side."""

    each: tuple[tuple[Array | None, Array | None], ...]


class Weights(NamedTuple):
    """What the examples weigh."""

    s: Array  # [B], the share of each in the loss
    c: Array  # [B], what its δ² weigh: s of δ of its own loss, 1/s of those of the batch's


class How(NamedTuple):
    """How blocks are made, at every layer the same."""

    sharing: str
    widest: int
    weights: Weights
    learns: bool = False  # whether the gradient is wanted, too


class Term(NamedTuple):
    """One use of the arrays of a block: g_b = Σ_t [rows, 1]ᵀ columns."""

    rows: Side | None
    ones: bool
    columns: Side
    flipped: bool  # whether the rows are δ

    def there(self) -> Array:
        """1 where a step counts, else 0, [B, T]."""
        d = self.rows if self.flipped and self.rows is not None else self.columns
        every = self.columns.all_count or (self.rows is not None and self.rows.all_count)
        shown = jnp.ones(d.shape[:2], bool) if every or d.shape[1] == 1 else d.there()
        inside = None if self.rows is None else self.rows.inside()
        shown = shown if inside is None else shown & inside
        return shown.astype(self.columns.dtype)

    def factors(self, how: How, *, classes: bool) -> tuple[Array, Array]:
        """A and G."""
        there, (s, c) = self.there(), how.weights
        each = ratio(there, there.sum(1, keepdims=True))
        inputs, cotangents = (each, s), (there, c)
        first, second = (cotangents, inputs) if self.flipped else (inputs, cotangents)
        columns = 0 if classes else how.widest
        return (
            second_moment(self.rows, self.ones, *first, how.sharing, how.widest),
            second_moment(self.columns, False, *second, how.sharing, columns),
        )

    def turned(self, q: Array | None, r: Array | None) -> tuple[Any, Array]:
        """[rows, 1] q and columns r; a table's rows stay places."""
        columns = self.columns.vectors() if r is None else self.columns.turned(r)
        if isinstance(self.rows, Hot) and q is None and not self.ones:
            return self.rows, columns
        one = jnp.ones((*columns.shape[:2], 1), columns.dtype)
        if q is None:
            given = [] if self.rows is None else [self.rows.vectors()]
            return jnp.concatenate(given + [one] * self.ones, 2), columns
        n = 0 if self.rows is None else self.rows.shape[2]
        a = 0 if self.rows is None else self.rows.turned(q[:n])
        return a + one * q[n] if self.ones else a, columns


def second_moment(
    side: Side | None, ones: bool, each: Array, w: Array, sharing: str, widest: int
) -> Array:
    """Σ_b w_b Σ_t each aᵀ a of a = [side, 1], or, reduced, of Σ_t each a; or its diagonal."""
    diagonal = side is not None and (side.diagonal or side.shape[2] + ones > widest)
    if sharing == "reduce":
        side = None if side is None else Vectors(side.sums(each)[:, None])
        each = (each != 0).any(1, keepdims=True).astype(each.dtype)
    w = w.astype(each.dtype)[:, None] * each
    if side is None:
        return w.sum().reshape(1, 1)
    found = side.squares(w) if diagonal else side.gram(w)
    last = w.sum().astype(found.dtype).reshape(1)
    if not ones:
        return found
    if diagonal:
        return jnp.concatenate([found, last])
    m = side.total(w)
    return jnp.block([[found, m[:, None]], [m[None], last[None]]])


def blocks_of(
    params: Any, found: Mapping[str, Factor], how: How, bases: Bases | None, *, classes: bool
) -> Blocks:
    """The blocks of a layer whose gradients have these factors, by name."""
    groups, alone = grouped(found)
    each = [(None, None)] * len(groups) if bases is None else bases.each
    pairs = zip(groups, each, strict=True)
    kronecker = tuple(
        block(params, group, how, None if bases is None else pair, classes=classes)
        for group, pair in pairs
    )
    return Blocks(kronecker, {n: f.squares(how.weights.c) for n, f in alone.items()})


Group = dict[str, tuple[Sides, ...]]  # name → its sides in every use


def grouped(found: Mapping[str, Factor]) -> tuple[list[Group], dict[str, Factor]]:
    """The arrays that multiply the same δ, and those that are no sums of products."""
    groups: dict[Any, Group] = {}
    alone: dict[str, Factor] = {}
    for name, factor in found.items():
        uses = factor.uses if isinstance(factor, Together) else (factor,)
        sides = tuple(side for side in (use.sides() for use in uses) if side is not None)
        if len(sides) < len(uses):
            alone[name] = factor
            continue
        key: Any = tuple((id(s.source), s.flipped, s.swapped) for s in sides)
        key = key if key not in groups or fits(groups[key], sides) else (key, name)
        groups.setdefault(key, {})[name] = sides
    return [dict(sorted(g.items(), key=is_bias)) for g in groups.values()], alone


def is_bias(named: tuple[str, tuple[Sides, ...]]) -> bool:
    """Whether its rows are 1: they stand last."""
    return named[1][0].rows is None


def fits(group: Group, sides: tuple[Sides, ...]) -> bool:
    """Whether these rows go beside those of the group: vectors beside vectors, one bias."""
    rows = [s.rows for held in (*group.values(), sides) for s in held[:1]]
    known = [r for r in rows if r is not None]
    return len(rows) - len(known) <= 1 and side_by_side(known, 2) is not None


def block(params: Any, group: Group, how: How, bases: Any, *, classes: bool) -> Kronecker:
    """A and G of the arrays of a group, and S in the bases."""
    terms = [term(use) for use in zip(*group.values(), strict=True)]
    together = united(terms)
    pairs = [t.factors(how, classes=classes) for t in together]
    rows, columns = pairs[0] if len(pairs) == 1 else balanced(pairs)
    parts = tuple(Part(n, getattr(params, n).shape, s[0].swapped) for n, s in group.items())
    diagonal = rows.ndim == 1, columns.ndim == 1
    moments = None if bases is None else squared([t.turned(*bases) for t in terms], how.weights.c)
    mixed = len(pairs) > 1
    return Kronecker(rows, columns, moments, parts=parts, diagonal=diagonal, mixed=mixed)


def term(use: tuple[Sides, ...]) -> Term:
    """One use of several arrays as one."""
    rows = [s.rows for s in use if s.rows is not None]
    side = side_by_side(rows, 2) if rows else None
    return Term(side, len(rows) < len(use), use[0].columns, use[0].flipped)


def united(terms: list[Term]) -> list[Term]:
    """Uses of one kind as one with the steps of all; others as they are."""
    rows = [t.rows for t in terms if t.rows is not None]
    columns = side_by_side([t.columns for t in terms], 1)
    side = side_by_side(rows, 1) if rows else None
    unlike = len({t.flipped for t in terms}) > 1 or (rows and side is None)
    if columns is None or unlike or len(rows) not in (0, len(terms)):
        return terms
    return [Term(side, terms[0].ones, columns, terms[0].flipped)]


def balanced(pairs: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """A and G of uses that have other units."""
    firsts, seconds = (alike(side) for side in zip(*pairs, strict=True))
    first, second = [trace(a) for a in firsts], [trace(g) for g in seconds]
    n, m = len(firsts[0]), len(seconds[0])
    c = [jnp.sqrt(ratio(g / m, a / n)) for a, g in zip(first, second, strict=True)]
    rows = functools.reduce(jnp.add, [x * a for x, a in zip(c, firsts, strict=True)])
    columns = functools.reduce(
        jnp.add, [ratio(jnp.ones_like(x), x) * g for x, g in zip(c, seconds, strict=True)]
    )
    whole = functools.reduce(jnp.add, [a * g for a, g in zip(first, second, strict=True)])
    return ratio(whole, trace(rows) * trace(columns)) * rows, columns


def alike(sides: tuple[Array, ...]) -> list[Array]:
    """All as they are, or all as diagonals."""
    if all(a.ndim == 2 for a in sides):
        return list(sides)
    return [jnp.diag(a) if a.ndim == 2 else a for a in sides]


def trace(a: Array) -> Array:
    """tr a; of a diagonal its sum."""
    return a.sum() if a.ndim == 1 else jnp.trace(a)


def squared(uses: list[tuple[Any, Array]], c: Array) -> Array:
    """Σ_b c_b (Σ_t aᵀ d)², of all uses together."""
    a, d = uses[0]
    if len(uses) == 1 and d.shape[1] == 1 and not isinstance(a, Hot):
        return (a[:, 0] ** 2).T @ times(c[:, None].astype(d.dtype), d[:, 0] ** 2)

    def add(total, inputs):
        each, c = inputs
        g = functools.reduce(jnp.add, [product(a, d) for a, d in each])
        return total + times(c, g**2), None

    def product(a, d):
        if isinstance(a, Hot):
            return jnp.zeros((a.n, d.shape[-1]), d.dtype).at[a.places()].add(d, mode="drop")
        return a.T @ d

    n = a.n if isinstance(a, Hot) else a.shape[-1]
    none = jnp.zeros((n, d.shape[-1]), d.dtype)
    return scan(add, none, (uses, c.astype(d.dtype)))[0]
