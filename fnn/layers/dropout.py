"""Dropout, DropPath: entries, or whole examples, vanish at random in training.

With a mask m of independent entries, P(m = 0) = rate, drawn anew at every call, one for every
entry of x (Dropout) or one for every example (DropPath),

    inverted    y = x m / (1 − rate)    dx = dy m / (1 − rate)    at test time y = x
    standard    y = x m                 dx = dy m                 at test time y = (1 − rate) x

so that in both the test-time output is the mean of the training output. `inference`
turns the layer into its test-time form. DropPath at the end of a residual branch is stochastic
depth: of an example whose m is 0, x + f(x) m leaves x, as if the block were not there.

Sources: standard: Srivastava, Hinton, Krizhevsky, Sutskever & Salakhutdinov (2014), JMLR
15, section 4, whose p is 1 − rate; inverted: section 10 of the same. DropPath: Huang, Sun, Liu,
Sedra & Weinberger (2016), arXiv:1603.09382, eqs. 2, 4 and 5, standard, m of a minibatch;
Larsson, Maire & Shakhnarovich (2017), arXiv:1605.07648, section 3.1, for the name.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_batch, check_number
from fnn.layer import Layer
from fnn.records import Array


class DropoutCache(NamedTuple):
    """The mask."""

    kept: Array  # m as booleans, [B, ...], or [B, 1, ...] of DropPath


@dataclass(frozen=True)
class Dropout(Layer[tuple[()], DropoutCache]):
    """y = x m / (1 − rate), or y = x m.  x [B, ...] → y [B, ...]; needs a key.

    `rate` in [0, 1) is the probability of dropping an entry.

    Raises:
        ValueError: for a rate outside [0, 1); from forward without a key.
    """

    sequences: ClassVar = "positions"
    draws: ClassVar = True

    rate: float
    inverted: bool = True

    def __post_init__(self):
        """Reject what is not a probability; at rate 1 nothing would be left to learn from."""
        super().__post_init__()
        check_number(type(self).__name__, "rate", self.rate, 0, 1)

    def check_input(self, x):
        """x must be a floating batch."""
        check_batch(self, "x", x)

    def forward(self, params, x, *, key=None):
        """y = x m / (1 − rate)."""
        assert key is not None  # `draws` says so
        kept = jax.random.bernoulli(key, 1 - self.rate, self.independent(x.shape))
        return self.masked(kept, x), DropoutCache(kept)

    def backward(self, params, cache, dy):
        """dx = dy m / (1 − rate), with the mask of forward."""
        return (), self.masked(cache.kept, dy)

    def independent(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of m for an x of this shape: one for every entry."""
        return shape

    def masked(self, kept, a):
        """a m / (1 − rate), or a m."""
        return jnp.where(kept, a / (1 - self.rate) if self.inverted else a, 0)


@dataclass(frozen=True)
class DropPath(Dropout):
    """y = x m / (1 − rate), or y = x m, m of an example.  x [B, ...] → y [B, ...]; needs a key.

    `rate` in [0, 1) is the probability of dropping an example, all its steps and features. It
    stands last in a branch: Residual(Serial(..., DropPath(0.1))). Stochastic depth lets the
    rate grow with that of the block, l of L: l / L · 0.5.

    Raises:
        ValueError: as Dropout does.
    """

    def independent(self, shape):
        """The shape of m for an x of this shape: one for every example."""
        return shape[0], *(1,) * (len(shape) - 1)
