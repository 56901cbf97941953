"""Negative log-likelihoods of what a net says a distribution is, summed over the outputs j.

    GaussianNLL   y = (m, s)    ½ Σ s_j + u_j²             u = (m − t) e^−s/2
                  dm_j = dl u_j e^−s_j/2                   ds_j = dl (1 − u_j) (1 + u_j)/2
    PoissonNLL                  Σ e^y_j − t_j y_j          dy_j = dl (e^y_j − t_j)

s is the logarithm of the variance and y that of the rate, so that every y is a distribution.
What does not depend on y is left out: ½ log 2π of every Gaussian output, log t! of every
Poisson one. With s = 0 the first is SquaredError(½). What cancels all the same: 1 − u² where
the residual is near one standard deviation, e^y − t where the rate is near the count. A variance
beyond the range of the dtype is none: e^−s/2 is multiplied in two steps of e^−s/4.

Sources: Nix & Weigend (1994), ICNN 1, pp. 55 to 60; Poisson: Nelder & Wedderburn (1972),
J. R. Stat. Soc. A 135, pp. 370 to 384, with the logarithm as link.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known, check_moments, check_shape
from fnn.loss import Loss
from fnn.losses.elementwise import Elementwise
from fnn.mean import spread
from fnn.numerics import concrete, owned, times, wide
from fnn.records import Array
from fnn.targets import check_prediction, check_same_shape


class GaussianNLLCache(NamedTuple):
    """Predictions and targets."""

    y: Array  # means, then logarithms of variances, [B, ..., 2 n]
    target: Array  # [B, ..., n]


@dataclass(frozen=True)
class GaussianNLL(Loss[GaussianNLLCache]):
    """losses = ½ Σ_j s_j + (m_j − t_j)² e^−s_j.  y [B, ..., 2 n], target [B, ..., n] → [B, ...].

    y holds the means m, behind them the logarithms s of the variances, as Dense(n_in, 2 n) ends
    a net. −log of the density less n/2 log 2π. Σ_j, not a mean: n times torch's, which takes the
    variance itself and cuts it off at ε.

    Raises:
        ValueError: from forward, for a y whose last axis is not twice that of target.
        TypeError: from forward, for what is not floating.
    """

    def check(self, y, target):
        """The last axis of y must be twice that of target."""
        check_prediction(self, y, target)
        check_moments(self, "y", y)
        hint = "; write target[:, None]" if target.ndim == 1 and y.shape[1:] == (2,) else ""
        shape = (*y.shape[:-1], y.shape[-1] // 2)
        check_shape(self, "target", target, shape, hint=hint)

    def parts(self, y: Array, target: Array) -> tuple[Array, Array, Array]:
        """s, e^−s/4 and u, in the dtype of the losses."""
        m, s = jnp.split(y.astype(wide(y.dtype)), 2, -1)
        root = jnp.exp(-s / 4)
        return s, root, scaled(m - target.astype(m.dtype), root)

    def forward(self, y, target):
        """½ Σ_j s_j + u_j²."""
        self.check(y, target)
        y, target = owned(y), owned(target)
        s, _, u = self.parts(y, target)
        return (s / 2 + u**2 / 2).sum(-1), GaussianNLLCache(y, target)

    def backward(self, cache, dl):
        """dm = dl u e^−s/2,  ds = dl (1 − u) (1 + u)/2."""
        _, root, u = self.parts(*cache)
        d = jnp.concatenate([scaled(u, root), (1 - u) * (1 + u) / 2], -1)
        return spread(dl, d).astype(cache.y.dtype)


def scaled(a: Array, root: Array) -> Array:
    """a e^−s/2 of e^−s/4, in two steps: between them nothing leaves the range that a e^−s/2 has."""
    return times(times(a, root), root)


@dataclass(frozen=True)
class PoissonNLL(Elementwise):
    """losses = Σ_j e^y_j − t_j y_j.  y (log rates), target [B, ..., n] → losses [B, ...].

    dy_j = dl (e^y_j − t_j). −log of the probability of the counts t less Σ log t!; counts need
    not be whole. Σ_j, not a mean: n times torch's.

    Raises:
        ValueError: from forward, for a target of another shape, known counts below 0.
    """

    def check(self, y, target):
        """Target must have the shape of y, and finite values of at least 0."""
        check_same_shape(self, y, target)
        known = concrete(target)
        if known is not None:
            known = np.asarray(known, np.float64)
            with np.errstate(invalid="ignore"):
                valid = (known >= 0) & (known < np.inf)
            check_known(self, "target", known, valid, "be finite and at least 0")

    def valid(self, y, t):
        """Where t is finite and not below 0."""
        return (t >= 0) & (t < jnp.inf)

    def f(self, y, t):
        """e^y − t y."""
        return jnp.exp(y) - times(t, y)

    def df(self, y, t):
        """e^y − t; near y = 0 (e^y − 1) + (1 − t), with e^y − 1 = (e^y + 1) tanh y/2."""
        e = jnp.exp(y)
        return jnp.where(abs(y) < 1, (e + 1) * jnp.tanh(y / 2) + (1 - t), e - t)
