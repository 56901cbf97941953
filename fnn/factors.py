"""A gradient that is a sum of outer products, kept as its factors.

Of most weights, with a what the weight multiplies and δ the derivative of what that makes,

    dw = Σ_b Σ_t a[b,t]ᵀ δ[b,t]

so that whatever is asked of the examples' own gradients g_b = Σ_t aᵀ δ needs no g_b:

    Σ_b c_b g_b     = Σ_b Σ_t aᵀ (c_b δ)
    ‖g_b‖²          = Σ_t Σ_s (a_t·a_s) (δ_t·δ_s)         while 2 T² < n_in n_out, else formed
    ⟨g_b, v⟩        = Σ_t a_t v δ_tᵀ
    ⟨g_b, g_c⟩      = Σ_t Σ_s (a_bt·a_cs) (δ_bt·δ_cs)     while T² (n_in + n_out) < n_in n_out
    Σ_b c_b g_b²    = (a²)ᵀ(c δ²), entry by entry         of T = 1, else g_b after g_b

The second form of ‖g_b‖² is a difference of large numbers where the steps of an example cancel: it
is right to some roundings of size² = (Σ_t ‖a_t‖ ‖δ_t‖)², and at least 0. Of a bias a is 1; of a
table's row number a[b,t] is 1{row = i[b,t]}; what is no such sum is `Alone`, one gradient per
example. So is, `formed`, what takes no more memory than its factors twice: then the product
that gives ‖g_b‖² is that of Σ_b c_b g_b, too.

Source: Goodfellow (2015), arXiv:1510.01799, section 4, for T = 1; Li, Tramèr, Liang &
Hashimoto (2022), arXiv:2110.05679, section 4, for sequences.
"""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.by_example import (
    combined,
    in_turn,
    lengths,
    scaled,
    selected,
    square_sum,
    steps,
)  # fmt: skip
from fnn.loops import scan
from fnn.numerics import like, outer, times, total, wide, widened
from fnn.records import Array, Data
from fnn.sides import Hot, Sides, Vectors

MORE = 2  # times the memory of its factors is what a formed gradient may take


@dataclass(frozen=True, eq=False)
class Factor(Data, abc.ABC):
    """The gradients of all examples for one array of params, in factors."""

    @abc.abstractmethod
    def gradient(self) -> Array:
        """Σ_b g_b."""

    @abc.abstractmethod
    def scaled(self, c: Array) -> "Factor":
        """c_b g_b in place of g_b, c [B]; where c_b is 0 all is 0, whatever stood there."""

    @abc.abstractmethod
    def each(self) -> Array:
        """g_b, [B, ...], in at least float32."""

    def weighed(self, c: Array, finite: Array) -> Array:
        """Σ_b c_b g_b, and where c_b is 0 nothing of g_b; `finite`: whether all g_b are."""
        return self.scaled(c).gradient()

    def formed(self) -> "Factor":
        """The same as Alone, where that is at most MORE times as large."""
        return self

    def square_norms(self) -> Array:
        """‖g_b‖², [B], in at least float32."""
        return square_sum(self.each())

    @abc.abstractmethod
    def size(self) -> Array:
        """What ‖g_b‖ is at most, Σ_t ‖a_t‖ ‖δ_t‖, [B]."""

    def slopes(self, v: Array) -> Array:
        """⟨g_b, v⟩, [B], in at least float32."""
        g, v = widened(self.each(), v)
        return jnp.tensordot(g, v, v.ndim)

    def products(self) -> Array:
        """⟨g_b, g_c⟩ of all pairs, [B, B], in at least float32."""
        g = self.each()
        g = g.reshape(len(g), -1)
        return g @ g.T

    def sides(self) -> Sides | None:
        """What g_b is a sum of products of; None where it is no such sum."""
        return None

    def squares(self, c: Array) -> Array:
        """Σ_b c_b g_b², entry by entry, in at least float32; one g_b at a time."""

        def add(total, row):
            b, c = row
            g = self.example(b).each()[0]
            return total + times(c.astype(g.dtype), g**2), None

        g = jax.eval_shape(lambda: self.example(0).each()[0])
        return scan(add, jnp.zeros(g.shape, g.dtype), (jnp.arange(len(c)), c))[0]

    def example(self, b: Any) -> "Factor":
        """That of one example alone."""
        return one_of(self, b)

    def turned(self) -> "Factor":
        """g_bᵀ in place of g_b."""
        return Alone(self.each().mT)

    @property
    def mT(self) -> "Factor":  # noqa: N802, the name that arrays have for it
        """g_bᵀ in place of g_b."""
        return self.turned()


@dataclass(frozen=True, eq=False)
class Outer(Factor):
    """Σ_t aᵀ δ; the gradient of w has its shape."""

    a: Array  # [B, ..., n_in]
    d: Array  # [B, ..., n_out]
    flipped: bool = field(default=False, metadata={"static": True})  # whether a is δ, and d the a

    def gradient(self):
        """Σ aᵀ δ."""
        return outer(self.a, self.d)

    def scaled(self, c):
        """a and c δ."""
        return Outer(selected(c, self.a), scaled(c, self.d), self.flipped)

    def sides(self):
        """a and δ."""
        a, d = Vectors(steps(self.a)), Vectors(steps(self.d))
        return Sides(a, d, self.d, self.flipped)

    def each(self):
        """Σ_t aᵀ δ."""
        a, d = map(steps, widened(self.a, self.d))
        return a.mT @ d

    def formed(self):
        """Σ_t aᵀ δ of several steps."""
        n = self.a[0].size // max(self.a.shape[-1], 1)
        return Alone(self.each()) if n > 1 and compact(n, self.a, self.d) else self

    def slopes(self, v):
        """Σ_t a_t v δ_tᵀ."""
        a, d, v = widened(self.a, self.d, v)
        return (steps(a @ v) * steps(d)).sum((1, 2))

    def size(self):
        """Σ_t ‖a_t‖ ‖δ_t‖."""
        return (lengths(self.a) * lengths(self.d)).sum(1)

    def products(self):
        """Σ_t Σ_s (a_bt·a_cs) (δ_bt·δ_cs), or of what is formed where that is cheaper."""
        a, d = map(steps, widened(self.a, self.d))
        n, n_in, n_out = a.shape[1], a.shape[-1], d.shape[-1]
        if n**2 * (n_in + n_out) >= n_in * n_out:
            return super().products()
        return (jnp.einsum("btn,csn->btcs", a, a) * jnp.einsum("btn,csn->btcs", d, d)).sum((1, 3))

    def squares(self, c):
        """(a²)ᵀ(c δ²) of one step."""
        a, d = map(steps, widened(self.a, self.d))
        if a.shape[1] != 1:
            return super().squares(c)
        a, d = selected(c, a), scaled(c, d**2)
        return outer(a**2, d)

    def turned(self):
        """Σ_t δᵀ a."""
        return Outer(self.d, self.a, not self.flipped)

    def at_rows(self, i: Array) -> tuple[Array, Array]:
        """δ [B, S, n_out], and the entries i [B, T] of a, [B, S, T], 0 where i is negative."""
        a, d = steps(self.a), steps(self.d)
        found = jnp.take_along_axis(a, jnp.maximum(i, 0)[:, None], 2)
        return d, jnp.where((i >= 0)[:, None], found, 0)

    def square_norms(self):
        """Σ_t Σ_s (a_t·a_s) (δ_t·δ_s), or ‖Σ_t aᵀ δ‖² where that is cheaper."""
        a, d = map(steps, widened(self.a, self.d))
        n = a.shape[1]
        if n == 1:
            return square_sum(a) * square_sum(d)
        if 2 * n**2 < a.shape[-1] * d.shape[-1]:
            return jnp.maximum(((a @ a.mT) * (d @ d.mT)).sum((1, 2)), 0)
        return square_sum(self.each())


@dataclass(frozen=True, eq=False)
class Sum(Factor):
    """Σ_t δ, of a bias."""

    d: Array  # [B, ..., n]

    def gradient(self):
        """Σ δ."""
        return total(self.d)

    def scaled(self, c):
        """c δ."""
        return Sum(scaled(c, self.d))

    def sides(self):
        """1 and δ."""
        return Sides(None, Vectors(steps(self.d)), self.d)

    def formed(self):
        """Σ_t δ of several steps."""
        return Alone(self.each()) if self.d.ndim > 2 else self

    def size(self):
        """Σ_t ‖δ_t‖."""
        return lengths(self.d).sum(1)

    def each(self):
        """Σ_t δ."""
        (d,) = widened(self.d)
        return steps(d).sum(1)

    def squares(self, c):
        """Σ_b c_b (Σ_t δ)²."""
        return scaled(c, self.each() ** 2).sum(0)


@dataclass(frozen=True, eq=False)
class Rows(Factor):
    """Σ_t 1{row = i} δ, of a table with n rows; what points outside is left out."""

    i: Array  # [B, ...], integers
    d: Array  # [B, ..., width]
    n: int = field(metadata={"static": True})

    def gradient(self):
        """Σ δ, row by row."""
        (d,) = widened(self.d.reshape(-1, self.d.shape[-1]))
        table = jnp.zeros((self.n, d.shape[-1]), d.dtype)
        return table.at[self.i.reshape(-1)].add(d, mode="drop", wrap_negative_indices=False)

    def scaled(self, c):
        """c δ of the same rows."""
        return Rows(self.i, scaled(c, self.d), self.n)

    def sides(self):
        """1{row = i} and δ."""
        i = self.i.reshape(len(self.i), -1)
        return Sides(Hot(i, self.n), Vectors(steps(self.d)), self.d)

    def size(self):
        """Σ_t ‖δ_t‖."""
        return lengths(self.d).sum(1)

    def each(self):
        """Σ_t δ, row by row."""
        return jax.vmap(lambda i, d: Rows(i, d, self.n).gradient())(self.i, self.d)

    def slopes(self, v):
        """Σ_t v[i]·δ."""
        d, v = widened(self.d, v)
        rows = v.at[self.i].get(mode="fill", fill_value=0, wrap_negative_indices=False)
        return (steps(rows) * steps(d)).sum((1, 2))

    def square_norms(self):
        """Σ_v ‖Σ_t 1{i = v} δ‖² over the rows that the example has, T at most."""
        _, d = self.merged()
        return (d**2).sum((1, 2))

    def squares(self, c):
        """Σ_b c_b (Σ_t 1{i = v} δ)², row by row."""
        i, d = self.merged()
        return Rows(i, scaled(c, d**2), self.n).gradient()

    def merged(self) -> tuple[Array, Array]:
        """The rows that every example has, each once, and Σ_t 1{i = v} δ of them, [B, T, width]."""
        i, d = self.i.reshape(len(self.i), -1), steps(self.d)
        inside = (i >= 0) & (i < self.n)
        (d,) = widened(jnp.where(inside[..., None], d, 0))

        def of_one(i, d):
            rows, which = jnp.unique(i, return_inverse=True, size=i.size, fill_value=-1)
            return rows, jax.ops.segment_sum(d, which, i.size)

        return jax.vmap(of_one)(i, d)


@dataclass(frozen=True, eq=False)
class Alone(Factor):
    """g_b itself, of what is small or no such sum."""

    g: Array  # [B, ...]

    def gradient(self):
        """Σ_b g_b."""
        return combined(jnp.ones(len(self.g), wide(self.g.dtype)), self.g)

    def weighed(self, c, finite):
        """Σ_b c_b g_b, in a product or, where not all is finite, one after another."""
        return jax.lax.cond(finite, combined, in_turn, c, self.g)

    def scaled(self, c):
        """c g."""
        return Alone(scaled(c, self.g))

    def size(self):
        """‖g_b‖."""
        return jnp.sqrt(square_sum(self.g))

    def each(self):
        """g_b."""
        return widened(self.g)[0]

    def squares(self, c):
        """Σ_b c_b g_b²."""
        return scaled(c, self.each() ** 2).sum(0)


@dataclass(frozen=True, eq=False)
class Zero(Factor):
    """0 for every example, of params that nothing moves."""

    none: Array  # 0 for every example, [B]
    shape: tuple[int, ...] = field(metadata={"static": True})

    def gradient(self):
        """0."""
        return jnp.zeros(self.shape, wide(self.none.dtype))

    def scaled(self, c):
        """0."""
        return self

    def size(self):
        """0."""
        return self.none

    def each(self):
        """0."""
        return jnp.zeros((len(self.none), *self.shape), wide(self.none.dtype))

    def square_norms(self):
        """0."""
        return self.none

    def slopes(self, v):
        """0."""
        return self.none

    def products(self):
        """0."""
        return jnp.zeros((len(self.none), len(self.none)), wide(self.none.dtype))

    def squares(self, c):
        """0."""
        return self.gradient()


def is_factor(a: Any) -> bool:
    """Whether `a` is a Factor, which is a tree of arrays itself."""
    return isinstance(a, Factor)


def summed(found: Mapping[str, Factor], params: Any) -> Any:
    """The gradients, like params."""
    return like(params._replace(**{name: f.gradient() for name, f in found.items()}), params)


def one_of(tree: Any, b: Any) -> Any:
    """The entry b of arrays with the examples first, as a batch of one."""
    return jax.tree.map(lambda a: jax.lax.dynamic_slice_in_dim(a, b, 1), tree)


def compact(n: int, a: Array, d: Array) -> bool:
    """Whether Σ_t aᵀ δ of n steps is not much larger than its factors."""
    return a.shape[-1] * d.shape[-1] <= MORE * n * (a.shape[-1] + d.shape[-1])
