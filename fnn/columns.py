"""δ of many columns that is formed a block at a time, and the gradient that is made of it.

Of a head with a large vocabulary δ = ∂L_b/∂z is not kept, as z is not. With δ_j the block j of its
columns, w_j that of any array [n_in, n_out],

    g_b             = Σ_t aᵀ δ                 in blocks, Σ_t aᵀ δ_j
    ‖g_b‖²          = Σ_t Σ_s (a_t·a_s) Σ_j (δ_tj·δ_sj)
    ⟨g_b, v⟩        = Σ_j Σ_t a_t v_j δ_tjᵀ
    ⟨g_b, g_c⟩      = Σ_j Σ_t Σ_s (a_bt·a_cs) (δ_btj·δ_csj)

The last block begins earlier than it would, so that all are of one width; in sums its columns that
an earlier one had are 0.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp

from fnn.by_example import selected, steps
from fnn.factors import Factor, Outer, one_of
from fnn.loops import put
from fnn.numerics import widened
from fnn.records import Array
from fnn.sides import Side, Sides, Vectors


@dataclass(frozen=True, eq=False)
class Columns(Side, abc.ABC):
    """δ [B, T, n], a block of its columns at a time."""

    @property
    @abc.abstractmethod
    def n_blocks(self) -> int:
        """In how many blocks the columns are formed."""

    @abc.abstractmethod
    def block(self, start: Array, width: int) -> Array:
        """δ of `width` columns from `start` on, [B, T, width]."""

    @abc.abstractmethod
    def at(self, i: Array) -> Array:
        """δ of the columns i [B, S] of every example, [B, T, S]; 0 where i is negative."""

    @abc.abstractmethod
    def scaled(self, c: Array) -> "Columns":
        """c_b δ, c [B], and 0 where c_b is 0."""

    @abc.abstractmethod
    def example(self, b: Array) -> "Columns":
        """δ of one example alone, [1, T, n]."""

    @property
    def width(self) -> int:
        """How many columns a block has."""
        return -(-self.shape[-1] // self.n_blocks)

    def beside(self, f: Callable[[Array, Array], Array]) -> Array:
        """f(δ_j, start) of every block, [..., width], side by side."""

        def step(found, start):
            return put(found, f(self.block(start, width), start), start, -1), None

        n, width = self.shape[-1], self.width
        like = self.shape_of(f)
        return jax.lax.scan(step, jnp.zeros((*like.shape[:-1], n), like.dtype), self.starts())[0]

    def added(self, f: Callable[[Array, Array], Array]) -> Array:
        """Σ_j f(δ_j, start)."""

        def add(total, j):
            start = self.starts()[j]
            fresh = start + jnp.arange(width) >= j * width
            return total + f(jnp.where(fresh, self.block(start, width), 0), start), None

        width, n = self.width, self.n_blocks
        like = self.shape_of(f)
        return jax.lax.scan(add, jnp.zeros(like.shape, like.dtype), jnp.arange(n))[0]

    def shape_of(self, f: Callable[[Array, Array], Array]) -> jax.ShapeDtypeStruct:
        """The shape and dtype of f of a block."""
        first = self.starts()[0]
        return jax.eval_shape(lambda: f(self.block(first, self.width), first))

    def starts(self) -> Array:
        """Where every block begins."""
        return jnp.minimum(jnp.arange(self.n_blocks) * self.width, self.shape[-1] - self.width)

    def vectors(self):
        """δ, whole."""
        return self.beside(lambda d, _: d.astype(self.dtype))

    def squares(self, w):
        """Σ w δ²."""
        return self.beside(lambda d, _: Vectors(d).squares(w))

    def sums(self, w):
        """Σ_t w δ, of every example."""
        return self.beside(lambda d, _: Vectors(d).sums(w))


@dataclass(frozen=True, eq=False)
class Columnwise(Factor):
    """Σ_t aᵀ δ, δ formed a block of columns at a time."""

    a: Array  # [B, ..., n_in]
    d: Columns  # [B, T, n_out]
    flipped: bool = field(default=False, metadata={"static": True})  # whether it is Σ_t δᵀ a

    def upright(self, g: Array) -> Array:
        """An array like Σ_t aᵀ δ in the form of the gradient, or back."""
        return g.mT if self.flipped else g

    def gradient(self):
        """Σ aᵀ δ, block by block."""
        return self.upright(self.d.beside(lambda d, _: Outer(steps(self.a), d).gradient()))

    def scaled(self, c):
        """a and c δ."""
        return Columnwise(selected(c, self.a), self.d.scaled(c), self.flipped)

    def example(self, b):
        """Of one a and δ."""
        return Columnwise(one_of(self.a, b), self.d.example(b), self.flipped)

    def each(self):
        """Σ_t aᵀ δ, block by block."""
        return self.upright(self.d.beside(lambda d, _: Outer(self.a, d).each()))

    def square_norms(self):
        """Σ_t Σ_s (a_t·a_s) Σ_j (δ_tj·δ_sj), or Σ_j ‖Σ_t aᵀ δ_j‖² where that is cheaper."""
        (a,) = widened(steps(self.a))
        n = a.shape[1]
        if 2 * n**2 >= a.shape[-1] * self.d.width:
            return self.d.added(lambda d, _: Outer(a, d).square_norms())

        def gram(d, _):
            (d,) = widened(d)
            return d @ d.mT

        return jnp.maximum(((a @ a.mT) * self.d.added(gram)).sum((1, 2)), 0)

    def size(self):
        """Σ_t ‖a_t‖ ‖δ_t‖."""
        (a,) = widened(steps(self.a))
        squares = self.d.added(lambda d, _: (widened(d)[0] ** 2).sum(-1))
        return jnp.sqrt((a**2).sum(-1) * squares).sum(1)

    def slopes(self, v):
        """Σ_j Σ_t a_t v_j δ_tjᵀ."""
        v = self.upright(v)

        def of_block(d, start):
            part = jax.lax.dynamic_slice_in_dim(v, start, self.d.width, 1)
            return Outer(self.a, d).slopes(part)

        return self.d.added(of_block)

    def products(self):
        """Σ_j of the blocks."""
        return self.d.added(lambda d, _: Outer(self.a, d).products())

    def squares(self, c):
        """Σ_b c_b g_b², block by block."""
        return self.upright(self.d.beside(lambda d, _: Outer(self.a, d).squares(c)))

    def sides(self):
        """a and δ."""
        a, d = Vectors(steps(self.a)), self.d
        return Sides(d, a, d, True) if self.flipped else Sides(a, d, d)

    def turned(self):
        """Σ_t δᵀ a."""
        return Columnwise(self.a, self.d, not self.flipped)

    def at_rows(self, i: Array) -> tuple[Array, Array]:
        """a [B, S, n_in], and the entries i [B, T] of δ, [B, S, T]; unturned, the other way."""
        if not self.flipped:
            return Outer(self.a, self.d.vectors()).at_rows(i)
        return steps(self.a), self.d.at(i)
