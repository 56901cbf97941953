"""One side of a gradient g_b = Σ_t aᵀ δ: the vectors that stand left or right, at every step.

    gram       Σ_b Σ_t w a_tᵀ a_t            [n, n]
    squares    its diagonal, Σ_b Σ_t w a_t²  [n]
    sums       Σ_t w a_t of every example    [B, n]
    turned     a q, in another basis         [B, T, m]

A side is an array of vectors, or what stands for one: the place of a 1 among zeros, or the windows
of a convolution. Sums run in at least float32; a step of weight 0 is left out, whatever is there.

Source: Martens & Grosse (2015), arXiv:1503.05671, section 3.1.
"""

import abc
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.numerics import outer, times, wide
from fnn.records import Array, Data


@dataclass(frozen=True, eq=False)
class Side(Data, abc.ABC):
    """The vectors of one side, [B, T, n]."""

    diagonal: ClassVar[bool] = False  # whether its gram is
    all_count: ClassVar[bool] = False  # whether no step is left out: w says the same of all

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """(B, T, n)."""

    @property
    @abc.abstractmethod
    def dtype(self) -> Any:
        """The dtype to compute in."""

    @abc.abstractmethod
    def vectors(self) -> Array:
        """a, in `dtype`."""

    def gram(self, w: Array) -> Array:
        """Σ w aᵀ a, w [B, T]."""
        root = jnp.sqrt(w).astype(self.dtype)[..., None]
        a = jnp.where(root == 0, 0, root * self.vectors())
        return outer(a, a)

    def squares(self, w: Array) -> Array:
        """Σ w a²."""
        return times(w.astype(self.dtype)[..., None], self.vectors() ** 2).sum((0, 1))

    def sums(self, w: Array) -> Array:
        """Σ_t w a, of every example."""
        return times(w.astype(self.dtype)[..., None], self.vectors()).sum(1)

    def total(self, w: Array) -> Array:
        """Σ w a, [n]."""
        return self.sums(w).sum(0)

    def turned(self, q: Array) -> Array:
        """a q."""
        return self.vectors() @ q

    def there(self) -> Array:
        """Where a is not 0, [B, T]."""
        return (self.vectors() != 0).any(-1)

    def inside(self) -> Array | None:
        """Where there is anything, [B, T]; None: everywhere."""
        return None


@dataclass(frozen=True, eq=False)
class Vectors(Side):
    """The vectors themselves."""

    a: Array  # [B, T, n]

    @property
    def shape(self):
        """(B, T, n)."""
        return self.a.shape

    @property
    def dtype(self):
        """At least float32."""
        return wide(self.a.dtype)

    def vectors(self):
        """a."""
        return self.a.astype(self.dtype)


@dataclass(frozen=True, eq=False)
class Hot(Side):
    """a = 1{row = i}, of a table with n rows; nothing where i points outside."""

    diagonal: ClassVar[bool] = True

    i: Array  # [B, T], integers
    n: int = field(metadata={"static": True})

    @property
    def shape(self):
        """(B, T, n)."""
        return (*self.i.shape, self.n)

    @property
    def dtype(self):
        """That of a weight."""
        return wide(jnp.result_type(float))

    def vectors(self):
        """1{row = i}."""
        return jax.nn.one_hot(self.i, self.n, dtype=self.dtype)

    def squares(self, w):
        """Σ w of every row, as 1² = 1."""
        return jnp.zeros(self.n, w.dtype).at[self.places()].add(w, mode="drop")

    def sums(self, w):
        """Σ_t w of every row."""
        none = jnp.zeros(self.n, w.dtype)
        return jax.vmap(lambda i, w: none.at[i].add(w, mode="drop"))(self.places(), w)

    def turned(self, q):
        """The rows of q."""
        return q.at[self.places()].get(mode="fill", fill_value=0)

    def there(self):
        """Where i is a row."""
        return (self.i >= 0) & (self.i < self.n)

    def inside(self):
        """Where i is a row."""
        return self.there()

    def places(self):
        """i, with what lies outside behind the end: negative ones would count from there."""
        return jnp.where(self.i < 0, self.n, self.i)


class Sides(NamedTuple):
    """g_b = Σ_t rowsᵀ columns, one of which are the inputs, the other the cotangents."""

    rows: Side | None  # [B, T, n_rows]; None: 1
    columns: Side  # [B, T, n_columns]
    source: Any  # the array that the columns are made of: who has the same shares them
    flipped: bool = False  # whether the rows are the cotangents
    swapped: bool = False  # whether the rows are the last axis but one, not all but the last


def side_by_side(sides: list[Side], axis: int) -> Side | None:
    """One side of several, their steps (axis 1) or entries (2) in a row; None of unlike ones."""
    first = sides[0]
    if len(sides) == 1:
        return first
    if all(isinstance(s, Vectors) for s in sides):
        return Vectors(jnp.concatenate([s.vectors() for s in sides], axis))
    alike = all(isinstance(s, Hot) and s.shape[2] == first.shape[2] for s in sides)
    if axis == 1 and alike:
        return Hot(jnp.concatenate([s.i for s in sides if isinstance(s, Hot)], 1), first.shape[2])
    return None
