"""Positions: what tells a net the place of a step, learned rows or sines and cosines.

    Positions      y[b,t] = x[b,t] + table[i]
    Sinusoids      y[b,t] = x[b,t] + p[i],   p[i,2j] = sin(i / 10⁴^(2j/n)), p[i,2j+1] = cos(...)

The place i of a step is the number of steps that count before it,

    i[b,t] = c_b + Σ_{s<t} mask[b,s]

c is the layer's state, the steps of earlier parts that counted: so padding in front of a
sequence moves nothing. Without mask and state i = t. Backward,

    dtable[i] = Σ dy, of all steps at this place      dx = dy

The sums run in at least float32.

Source: Gehring et al. (2017), arXiv:1705.03122, section 3.1, for the table; Vaswani et al.
(2017), arXiv:1706.03762, section 3.5, for the sinusoids.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.composite import empty
from fnn.errors import check_key, check_shape, check_steps
from fnn.factors import Rows
from fnn.layer import Layer, P
from fnn.layers.embedding import EmbeddingParams
from fnn.numerics import like, total, wide
from fnn.records import Array
from fnn.sequence import lift, mask_of, renewed, select, state_of, value

TURN = 512  # places of a table of sines, and tables


class PlacesCache(NamedTuple):
    """Where the steps stand, and which count."""

    i: Array | None  # [B, T]; None: t
    mask: Array | None  # [B, T]


class Places(Layer[P, PlacesCache], Generic[P]):
    """y = x + a row for every place.  x [B, T, n], or a Sequence with a state (c,) → y [B, T, n].

    A Sequence that comes with a state, from zero_state or from the part before, goes with the
    one behind its last step; one without has none.
    """

    sequences: ClassVar = "own"
    n: int

    @abstractmethod
    def rows(self, params: P, i: Array | None, x: Array) -> Array:
        """What is added at every place, [B, T, n]; where i is None [T, n]."""

    @abstractmethod
    def gradient(self, params: P, i: Array | None, dy: Array) -> P:
        """Its derivative in params."""

    def check_input(self, x):
        """x must be a batch of sequences, its state (c,), integers [B]."""
        check_steps(self, "x", value(x), self.n)
        state = state_of(x)
        if empty(state):
            return
        kind = getattr(state[0], "dtype", None) if type(state) is tuple else None
        if kind is None or len(state) != 1 or not jnp.issubdtype(kind, jnp.integer):
            raise TypeError(f"{self}: state must be a tuple (c,) of integers, got {state!r:.80}.")
        check_shape(self, "state c", state[0], (len(value(x)),))

    def zero_state(self, params, n, capacity=None):
        """c = 0."""
        return (jnp.zeros(n, jnp.int32),)

    def forward(self, params, x, *, key=None):
        """y = x + the rows of all places."""
        mask, a = mask_of(x), select(mask_of(x), value(x))
        i, c = places(mask, state_of(x), a.shape[:2])
        y = a + self.rows(params, i, a)
        return renewed(lift(lambda _: y, x), state=c), PlacesCache(i, mask)

    def backward(self, params, cache, dy):
        """dx = dy."""
        grads = self.gradient(params, cache.i, value(dy))
        return grads, renewed(lift(lambda d: select(cache.mask, d), dy), state=None)


def places(mask: Array | None, state: Any, shape: tuple[int, ...]) -> tuple[Array | None, Any]:
    """i [B, T], None where it is t, and the final state, None where there was none."""
    if mask is None and empty(state):
        return None, None
    c = jnp.zeros(shape[0], jnp.int32) if empty(state) else state[0]
    counts = jnp.ones(shape, c.dtype) if mask is None else mask.astype(c.dtype)
    i = c[:, None] + jnp.cumsum(counts, 1, c.dtype) - counts
    return i, None if empty(state) else (c + counts.sum(1, c.dtype),)


@dataclass(frozen=True)
class Positions(Places[EmbeddingParams]):
    """y = x + table[i], learned.  x [B, T, n], or a Sequence → y [B, T, n], T up to n_context.

    A place behind the table, to which only a state can lead, makes its row of y NaN.

    Raises:
        ValueError: for sizes below 1, a negative scale; from forward, for a longer x.
    """

    n_context: int
    n: int
    scale: float = 0.02  # standard deviation of the first rows

    def __post_init__(self):
        """Reject sizes that no array can have."""
        super().__post_init__()
        if self.n_context < 1 or self.n < 1 or self.scale < 0:
            raise ValueError(f"{self}: n_context and n must be at least 1, scale at least 0.")

    def init(self, key):
        """table ~ N(0, scale²)."""
        check_key(self, key)
        return EmbeddingParams(self.scale * jax.random.normal(key, (self.n_context, self.n)))

    def shapes(self):
        """That of the table."""
        return {"table": (self.n_context, self.n)}

    def check_input(self, x):
        """x must be a batch of sequences, none longer than the table."""
        super().check_input(x)
        length = value(x).shape[1]
        if length > self.n_context:
            raise ValueError(
                f"{self}: a sequence of {length} is longer than n_context, {self.n_context}; "
                "cut it, or build the layer for longer ones."
            )

    def rows(self, params, i, x):
        """table[i]."""
        if i is None:
            return params.table[: x.shape[1]]
        return params.table.at[i].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)

    def gradient(self, params, i, dy):
        """dtable[i] = Σ dy."""
        if i is not None:
            return like(EmbeddingParams(Rows(i, dy, self.n_context).gradient()), params)
        rows = total(dy.reshape(len(dy), -1)).reshape(dy.shape[1:])
        table = jnp.zeros(params.table.shape, rows.dtype).at[: len(rows)].set(rows)
        return like(EmbeddingParams(table), params)

    def factors(self, params, cache, dy):
        """dtable: dy, row by row."""
        d, i = value(dy), cache.i
        i = jnp.broadcast_to(jnp.arange(d.shape[1]), d.shape[:2]) if i is None else i
        return {"table": Rows(i, d, self.n_context)}, self.backward(params, cache, dy)[1]


@dataclass(frozen=True)
class Sinusoids(Places[tuple[()]]):
    """y = x + p[i], sines and cosines of i.  x [B, T, n], or a Sequence → y [B, T, n], n even.

    A place from 2¹⁸ on, to which only a state or a mask can lead, makes its row of y NaN.

    Raises:
        ValueError: for an odd n, or one below 2.
    """

    n: int

    def __post_init__(self):
        """Reject an odd size: sines and cosines come in pairs."""
        super().__post_init__()
        if self.n < 2 or self.n % 2:
            raise ValueError(f"{self}: n must be even and at least 2.")

    def rows(self, params, i, x):
        """p[i]."""
        p = waves(np.arange(x.shape[1]), self.n) if i is None else waves_at(i, self.n, x.dtype)
        return like(p, x)

    def gradient(self, params, i, dy):
        """None."""
        return ()


def waves(i: np.ndarray, n: int) -> np.ndarray:
    """p[i, 2j] = sin(i / 10⁴^(2j/n)), p[i, 2j + 1] its cosine, [len(i), n]."""
    angle = i[:, None] / 1e4 ** (np.arange(0, n, 2) / n)
    return np.stack([np.sin(angle), np.cos(angle)], -1).reshape(len(i), n)


def waves_at(i: Array, n: int, dtype: Any) -> Array:
    """p of places that only a run knows: of a sum of two places of whose p there are tables.

    sin(a + b) = sin a cos b + cos a sin b. A large angle rounded to float32 would be wrong.
    """
    tables = (waves(np.arange(TURN) * step, n).reshape(TURN, -1, 2) for step in (TURN, 1))
    a, b = (
        jnp.asarray(table, wide(dtype)).at[j].get(mode="fill", fill_value=jnp.nan)
        for table, j in zip(tables, (i // TURN, i % TURN), strict=True)
    )
    sin = a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0]
    cos = a[..., 1] * b[..., 1] - a[..., 0] * b[..., 0]
    return jnp.stack([sin, cos], -1).reshape(*i.shape, n)
