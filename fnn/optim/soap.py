"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner.

For every matrix of weights, with its gradient G [a, b] and t = 1, 2, ...,

    G′ = Q_Lᵀ G Q_R
    M ← β₁ M + (1 − β₁) G            M̂ = Q_Lᵀ M Q_R / (1 − β₁ᵗ)
    S ← √(β₂ S² + (1 − β₂) G′²)      Ŝ = S / √(1 − β₂ᵗ)

    update = −η Q_L [M̂ / (Ŝ + ε)] Q_Rᵀ

    L ← β₂ L + (1 − β₂) G Gᵀ         R ← β₂ R + (1 − β₂) Gᵀ G

and at every interval-th step, the columns of Q and of S first in the order of diag(QᵀPQ),

    Q_L ← QR(L Q_L)                  Q_R ← QR(R Q_R)

one step of the power iteration. The very first gradient only begins L and R, and Q as their
eigenvectors: in the basis of its own eigenvectors a gradient has entries that are all rounding,
which Adam would scale up. An axis longer than max_size has no basis (Q = 1). Biases, scales and
tables have none at all: theirs are the steps of Adam. Matrices are the last two axes of a weight,
each of those that Repeat stacks by itself, and so is each place in the window of a convolution.

Only the directions of L and R count: they are kept in units of c², c ← max(√β₂ c, √(1 − β₂) x)
with x the largest entry of G, so that no square leaves the range of the dtype. Where all gradients
so far have one direction, the entries of G′ beside it are rounding, and so is their share in a
step once they are larger than ε.

Source: Vyas, Morwani, Zhao, Kwun, Shapira, Brandfonbrener, Janson & Kakade (2024),
arXiv:2409.11321, algorithms 3 and 4; the first step and the order of Q are those of their code.
"""

import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_interval, check_like, check_number, dotted
from fnn.numerics import ratio, wide
from fnn.optim.optimizer import Optimizer, next_step, zeros
from fnn.penalties import Select, is_frozen
from fnn.records import Array, PyTree, integer


class Side(NamedTuple):
    """One side of N matrices."""

    p: Array  # L or R, in units of c², [N, k, k]
    q: Array  # its basis, in columns, [N, k, k]
    c: Array  # [N, 1, 1]


class SOAPState(NamedTuple):
    """What SOAP remembers between steps."""

    step: Array  # gradients seen so far: int32 []
    m: PyTree  # first moment, like params, at least float32
    s: PyTree  # root of the second moment in the basis, like params, at least float32
    sides: tuple[tuple[Side | None, Side | None], ...]  # of every leaf


@dataclass(frozen=True)
class SOAP(Optimizer[SOAPState]):
    """update = −η Q_L [M̂ / (Ŝ + ε)] Q_Rᵀ; the first one is 0.

    `interval` is the number of steps between two bases, `max_size` the longest axis that has one.
    `select` (path → bool) may say which params have bases; by itself the weights that a params
    class declares do, and in params of no such class what has two axes or more.

    Raises:
        ValueError: for a known η that is not above 0, β₁ or β₂ outside [0, 1), ε below 0, an
            interval or max_size below 1.
    """

    keeps_nan: ClassVar = True

    learning_rate: float | Array = 3e-3  # η
    b1: float | Array = 0.95  # β₁
    b2: float | Array = 0.95  # β₂
    eps: float | Array = 1e-8  # ε
    interval: int | Array = 10
    max_size: int = field(default=10_000, kw_only=True, metadata={"static": True})
    select: Select | None = field(default=None, kw_only=True, repr=False, metadata={"static": True})

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("SOAP", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("SOAP", "b1", self.b1, 0, 1)
        check_number("SOAP", "b2", self.b2, 0, 1)
        check_number("SOAP", "eps", self.eps, 0)
        check_interval("SOAP", "interval", self.interval)
        object.__setattr__(self, "max_size", integer("SOAP: max_size", self.max_size))
        check_number("SOAP", "max_size", self.max_size, 1)
        if self.select is not None and not callable(self.select):
            raise TypeError(f"SOAP: select must be a function of a path, got {self.select!r:.60}.")

    def init(self, params):
        """t = 0, M = S = L = R = 0, Q = 1."""
        turns = jax.tree.leaves(self.turns(params))
        pairs = zip(turns, jax.tree.leaves(params), strict=True)
        sides = tuple(self.begin(matrices(p)) if turn else (None, None) for turn, p in pairs)
        return SOAPState(jnp.zeros((), jnp.int32), zeros(params), zeros(params), sides)

    def begin(self, w: Array) -> tuple[Side | None, Side | None]:
        """Both sides of matrices [N, a, b], None where they are too long."""

        def side(k):
            p = jnp.zeros((len(w), k, k), wide(w.dtype))
            q = p + jnp.eye(k, dtype=p.dtype)
            return Side(p, q, p[:, :1, :1]) if k <= self.max_size else None

        return side(w.shape[1]), side(w.shape[2])

    def turns(self, params: PyTree) -> PyTree:
        """Whether a leaf has matrices, its last two axes, that are turned into a basis."""

        def node(path, p):
            if is_frozen(p):
                return jax.tree.map(lambda _: False, p)
            names = getattr(type(p), "weights", ())

            def leaf(more, a):
                chosen = not ends(p) or more[0].name in names
                if self.select is not None:
                    chosen = bool(self.select(dotted("", path + more)))
                return a.ndim > 1 and chosen

            return jax.tree_util.tree_map_with_path(leaf, p)

        def ends(p):
            return isinstance(getattr(type(p), "weights", None), tuple)

        return jax.tree_util.tree_map_with_path(node, params, is_leaf=ends)

    def update(self, grads, state, params=None, *, value=None):
        """One step of algorithm 3."""
        for part in (state.m, state.s):
            check_like("SOAP", "grads", grads, "its state", part)
        step, rows = next_step(state.step), []
        columns = (grads, self.turns(grads), state.m, state.s)
        for g, turn, m, s, sides in zip(*map(jax.tree.leaves, columns), state.sides, strict=True):
            update, *rest = self.leaf(step, turn, g.astype(m.dtype), m, s, sides)
            rows.append((update.astype(g.dtype), *rest))
        updates, m, s, sides = zip(*rows, strict=True) if rows else ((),) * 4
        tree = jax.tree.structure(grads).unflatten
        return tree(updates), SOAPState(step, tree(m), tree(s), sides)

    def leaf(self, step: Array, turn: bool, g: Array, m: Array, s: Array, sides: Any) -> Any:
        """update, M, S and both sides of one array."""
        o, t = self.numbers(m.dtype), jnp.maximum(step - 1, 1).astype(m.dtype)
        first, shape = step == 1, g.shape
        g, m, s = (matrices(a) if turn else a for a in (g, m, s))
        m2 = jnp.where(first, m, o.b1 * m + (1 - o.b1) * g)
        s2 = jnp.hypot(jnp.sqrt(o.b2) * s, jnp.sqrt(1 - o.b2) * turned(sides, g))
        s2 = jnp.where(first, s, s2)
        m_hat, s_hat = turned(sides, m2) / (1 - o.b1**t), s2 / jnp.sqrt(1 - o.b2**t)
        update = -o.learning_rate * turned_back(sides, ratio(m_hat, s_hat + o.eps))
        update = jnp.where(first, 0, update)
        interval = jnp.asarray(self.interval)
        update = jnp.where(interval >= 1, update, jnp.nan)
        due = first | ((step - 1) % jnp.maximum(interval, 1).astype(step.dtype) == 0)
        new = []
        for axis, side in enumerate(sides, 1):
            if side is not None:
                side = seen(side, g if axis == 1 else g.mT, o.b2)
                side, s2 = jax.lax.cond(due, lambda *a, x=axis: renewed(first, x, *a),
                                        lambda *a: a, side, s2)  # fmt: skip
            new.append(side)
        return *(a.reshape(shape) for a in (update, m2, s2)), tuple(new)


def matrices(a: Array) -> Array:
    """[N, a, b]: the last two axes."""
    return a.reshape(math.prod(a.shape[:-2]), *a.shape[-2:])


def turned(sides: tuple[Side | None, ...], a: Array) -> Array:
    """Q_Lᵀ a Q_R."""
    left, right = sides
    a = a if left is None else left.q.mT @ a
    return a if right is None else a @ right.q


def turned_back(sides: tuple[Side | None, ...], a: Array) -> Array:
    """Q_L a Q_Rᵀ."""
    left, right = sides
    a = a if left is None else left.q @ a
    return a if right is None else a @ right.q.mT


def seen(side: Side, g: Array, b2: Any) -> Side:
    """P ← β₂ P + (1 − β₂) G Gᵀ."""
    largest = abs(g).max((1, 2), keepdims=True, initial=0)
    c = jnp.maximum(jnp.sqrt(b2) * side.c, jnp.sqrt(1 - b2) * largest)
    unit = jnp.where(c == 0, 1, c)
    u = g / unit
    return Side(b2 * (side.c / unit) ** 2 * side.p + (1 - b2) * u @ u.mT, side.q, c)


def renewed(first: Array, axis: int, side: Side, s: Array) -> tuple[Side, Array]:
    """The next basis, of the first gradient its eigenvectors; S in the order of its columns."""
    p, q, c = side

    def begun(q, s):
        return jnp.linalg.eigh(p)[1][..., ::-1], s

    def iterated(q, s):
        order = jnp.argsort(-jnp.einsum("nik,nij,njk->nk", q, p, q), -1)
        q = jnp.take_along_axis(q, order[:, None], 2)
        at = order[..., None] if axis == 1 else order[:, None]
        return jnp.linalg.qr(p @ q)[0], jnp.take_along_axis(s, at, axis)

    q, s = jax.lax.cond(first, begun, iterated, q, s)
    return Side(p, q, c), s
