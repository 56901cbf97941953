"""Embedding: a table's rows, chosen by number.

    y[b,t] = table[x[b,t]]

A row of the table receives what all its places send back, summed in at least float32,

    dtable[v] = Σ_{b,t} dy[b,t] 1{x[b,t] = v}      x is a number: it has no dx

Source: Bengio, Ducharme, Vincent & Jauvin (2003), JMLR 3, section 2.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_key
from fnn.factors import Rows
from fnn.layer import Layer
from fnn.numerics import concrete, like
from fnn.records import Array


class EmbeddingParams(NamedTuple):
    """The rows, and their gradients."""

    table: Array  # [n_vocab, n], or [n_context, n] of Positions

    weights = ()


class EmbeddingCache(NamedTuple):
    """The rows that were chosen."""

    x: Array  # [B, ...], integers


@dataclass(frozen=True)
class Embedding(Layer[EmbeddingParams, EmbeddingCache]):
    """y = table[x].  x [B, ...] integers from 0 to n_vocab − 1 → y [B, ..., n].

    A number outside is an error where it is known; under jit its row of y is NaN. The rows
    start as N(0, scale²), with 0.02 where torch has 1.

    Raises:
        ValueError: for sizes below 1, a negative scale; from forward, for known numbers outside.
        TypeError: from forward, for an x that does not hold integers.
    """

    sequences: ClassVar = "positions"

    n_vocab: int
    n: int
    scale: float = 0.02  # standard deviation of the first rows

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_vocab < 1 or self.n < 1 or self.scale < 0:
            raise ValueError(f"{self}: n_vocab and n must be at least 1, scale at least 0.")

    def init(self, key):
        """table ~ N(0, scale²)."""
        check_key(self, key)
        return EmbeddingParams(self.scale * jax.random.normal(key, (self.n_vocab, self.n)))

    def shapes(self):
        """That of the table."""
        return {"table": (self.n_vocab, self.n)}

    def check_input(self, x):
        """x must hold integers, from 0 to n_vocab − 1 where they are known."""
        check_tokens(self, x, self.n_vocab)

    def forward(self, params, x, *, key=None):
        """y = table[x]."""
        y = params.table.at[x].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)
        return y, EmbeddingCache(x)

    def backward(self, params, cache, dy) -> tuple[EmbeddingParams, Any]:
        """dtable[v] = Σ dy where x = v."""
        return like(EmbeddingParams(Rows(cache.x, dy, self.n_vocab).gradient()), params), None

    def factors(self, params, cache, dy):
        """dtable: dy, row by row."""
        return {"table": Rows(cache.x, dy, self.n_vocab)}, None


def check_tokens(owner: Layer, x: Array, n_vocab: int) -> None:
    """Raise unless x is a batch of integers, from 0 to n_vocab − 1 where they are known."""
    if not hasattr(x, "dtype") or not jnp.issubdtype(x.dtype, jnp.integer):
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"{owner}: x must be an array of integers, got {got}.")
    if x.ndim < 1:
        raise ValueError(f"{owner}: x must have shape [B, ...], got []; one number is x[None].")
    known = concrete(x)
    if known is None:
        return
    wrong = (known < 0) | (known >= n_vocab)
    if wrong.any():
        at = tuple(map(int, np.argwhere(wrong)[0]))
        raise ValueError(
            f"{owner}: x must be from 0 to {n_vocab - 1}, got {known[at]} at {list(at)}."
        )
