"""KLDivergence: how far the distribution that logits stand for is from that of the target.

    m = max_k y_k = y_i                 e = exp(y − m)
    log p_k = y_k − m − log(1 + r)      r = Σ_{k≠i} e_k

    losses = Σ_k t_k (log t_k − log p_k)
    dy_k = dl (e_k/(1 + r) − t_k)       dy_i = dl ((1 − t_i) − r/(1 + r))

It is SoftmaxCrossEntropy less the entropy −Σ t log t of the target, a constant of y: the
gradient is the same, and the least loss is 0, reached where p = t. There the sum cancels, so that
such a loss is right to a rounding of Σ t |log t|; and p − t is to one of t. Near certainty both
are right to some roundings of themselves. With 0 log 0 = 0 a class that cannot be, y_k = −∞ with
t_k = 0, costs nothing.

Source: Kullback & Leibler (1951), Ann. Math. Stat. 22, section 2; the gradient: Bridle (1990),
NIPS 2, eq. 8.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp

from fnn.errors import check_shape
from fnn.loss import Loss
from fnn.losses.categorical import exponentials, log_softmax
from fnn.mean import spread
from fnn.numerics import owned, times
from fnn.records import Array
from fnn.targets import check_classes, check_prediction, valid_classes


class KLDivergenceCache(NamedTuple):
    """Predictions and targets."""

    y: Array  # logits, [B, ..., C]
    target: Array  # [B, ..., C]


@dataclass(frozen=True)
class KLDivergence(Loss[KLDivergenceCache]):
    """losses = Σ_k t_k log(t_k / softmax_k(y)).  y (logits), target [B, ..., C] → losses [B, ...].

    KL(target ‖ softmax(y)); dy = dl (softmax(y) − t). target: rows of probabilities, no
    logarithms. torch's KLDivLoss and optax's kl_divergence take log-probabilities as y.

    Raises:
        ValueError: from forward, for a target of another shape, known rows that are no
            distribution.
        TypeError: from forward, for rows that are not floating.
    """

    def check(self, y, target):
        """Target must hold a distribution for every row of y."""
        check_prediction(self, y, target)
        labels = target.ndim == y.ndim - 1
        hint = "; SoftmaxCrossEntropy takes labels, and has this gradient" if labels else ""
        check_shape(self, "target", target, y.shape, like="y", hint=hint)
        check_classes(self, y, target)

    def forward(self, y, target):
        """Σ_k t_k (log t_k − log p_k)."""
        self.check(y, target)
        y, target = owned(y), owned(target)
        z, _, r = exponentials(y)
        t = target.astype(z.dtype)
        losses = times(t, jnp.log(t) - log_softmax(z, r)).sum(-1)
        return jnp.where(valid_classes(y, target), losses, jnp.nan), KLDivergenceCache(y, target)

    def backward(self, cache, dl):
        """dl (e_k/(1 + r) − t_k), at the largest logit dl ((1 − t_i) − r/(1 + r))."""
        y, target = cache
        z, e, r = exponentials(y)
        t, total = target.astype(z.dtype), e.sum(-1, keepdims=True)
        own = jnp.where(z == 0, z, 0)  # 0, but for autodiff where several are largest
        rest = r + (own.sum(-1, keepdims=True) - own)
        d = jnp.where(z == 0, (1 - t) - rest / total, e / total - t)
        d = jnp.where(valid_classes(y, target)[..., None], d, jnp.nan)
        return spread(dl, d).astype(y.dtype)
