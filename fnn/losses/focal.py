"""Focal loss: predictions of which the many easy ones count little.

Of yes or no, with a = y where t = 1 and −y where t = 0, p = σ(a) the probability of what is so,

    SigmoidFocal    Σ w (1 − p)^γ h            h = −log p = log(1 + e^−a)
                    (1 − p)^γ = e^−γ g         g = −log(1 − p) = log(1 + e^a)
    dy = ∓dl w (1 − p)^γ [(1 − p) + γ p h]     − where t = 1, + where t = 0

w is α where t = 1 and 1 − α where t = 0; without α it is 1. With γ = 0 the loss is
SigmoidBinaryCrossEntropy. Nothing in it cancels.

Of one class among C, with p = softmax(y), q_k = 1 − p_k and targets t as in
SoftmaxCrossEntropy, which it is with γ = 0,

    SoftmaxFocal    Σ_k t_k q_k^γ h_k          h_k = −log p_k
    dy_j = dl [p_j Σ_{k≠j} a_k − a_j q_j]      a_k = t_k q_k^γ (1 + γ p_k h_k/q_k)

With e = exp(y − max y) and the largest y at i, q_i = Σ_{k≠i} e_k / Σ e is right where p_i is nearly
1, and h_i/q_i is 1 in the end. Of a label nothing cancels.

Source: Lin, Goyal, Girshick, He & Dollár (2017), arXiv:1708.02002, eqs. 4 and 5, appendix B;
of several classes section 3, which takes p_t of a softmax as well.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known, check_number
from fnn.losses.categorical import Categorical, exponentials, log_softmax
from fnn.losses.elementwise import Elementwise
from fnn.mean import spread
from fnn.numerics import concrete, owned, ratio, times
from fnn.records import Array
from fnn.targets import as_classes, check_same_shape, valid_classes


@dataclass(frozen=True)
class SigmoidFocal(Elementwise):
    """losses = −Σ_j w (1 − p_j)^gamma log p_j.  y (logits), target [B, ..., n] → losses [B, ...].

    p is σ(y) where the target is 1, and 1 − σ(y) where it is 0; w is alpha and 1 − alpha there,
    1 with alpha = None. The source recommends 2 and 0.25. Σ_j, not a mean.

    Raises:
        ValueError: for a gamma below 0, an alpha outside [0, 1]; from forward, for a target of
            another shape, known targets but 0 and 1.
    """

    gamma: float = 2.0
    alpha: float | None = None

    def __post_init__(self):
        """Reject a focus on the easy ones, and weights below 0."""
        super().__post_init__()
        check_number("SigmoidFocal", "gamma", self.gamma, 0)
        if self.alpha is not None:
            check_number("SigmoidFocal", "alpha", self.alpha, 0, 1, closed_high=True)

    def check(self, y, target):
        """Target must have the shape of y, and be 0 or 1."""
        check_same_shape(self, y, target)
        known = concrete(target)
        if known is not None:
            hint = "; SigmoidBinaryCrossEntropy takes what is between"
            valid = (known == 0) | (known == 1)
            check_known(self, "target", np.asarray(known, np.float64), valid, "be 0 or 1", hint)

    def valid(self, y, t):
        """Where t is 0 or 1."""
        return (t == 0) | (t == 1)

    def parts(self, y: Array, t: Array) -> tuple[Array, Array, Array]:
        """a, h and w (1 − p)^γ."""
        a = jnp.where(t == 1, y, -y)
        small = jnp.log1p(jnp.exp(-abs(a)))
        h, g = small + jnp.maximum(-a, 0), small + jnp.maximum(a, 0)
        power = jnp.exp(-times(jnp.asarray(self.gamma, y.dtype), g))
        if self.alpha is not None:
            power *= jnp.where(t == 1, self.alpha, 1 - self.alpha)
        return a, h, power

    def f(self, y, t):
        """w (1 − p)^γ h."""
        _, h, power = self.parts(y, t)
        return times(power, h)

    def df(self, y, t):
        """∓w (1 − p)^γ [(1 − p) + γ p h]."""
        a, h, power = self.parts(y, t)
        d = power * (jax.nn.sigmoid(-a) + self.gamma * times(jax.nn.sigmoid(a), h))
        return jnp.where(t == 1, -d, d)


class SoftmaxFocalCache(NamedTuple):
    """Predictions and targets."""

    y: Array  # logits, [B, ..., C]
    target: Array  # [B, ...] or [B, ..., C]


@dataclass(frozen=True)
class SoftmaxFocal(Categorical):
    """losses = −Σ_k t_k (1 − p_k)^gamma log p_k,  p = softmax(y).  y [B, ..., C] → losses [B, ...].

    target: labels [B, ...] or rows of probabilities [B, ..., C]. For an α of every class give
    its examples weights, which the mean is taken with.

    Raises:
        ValueError: for a gamma below 0, a label_smoothing outside [0, 1); from forward, for shapes
            that do not fit, known labels outside [0, C), known rows that are no distribution.
        TypeError: from forward, for labels that are not integers, rows that are not floating.
    """

    label_smoothing: float = field(default=0.0, kw_only=True)
    ignore_label: int | None = field(default=None, kw_only=True)
    gamma: float = 2.0

    def __post_init__(self):
        """Reject a focus on the easy ones."""
        super().__post_init__()
        check_number("SoftmaxFocal", "gamma", self.gamma, 0)

    def forward(self, y, target):
        """Σ_k t_k q_k^γ h_k."""
        self.check(y, target)
        y, target = owned(y), as_classes(target)
        _, _, h, power = self.parts(y)
        losses = times(self.rows(target, y), times(power, h)).sum(-1)
        ignored = self.ignored(y, target)
        losses = self.finish(losses, valid_classes(y, target) | ignored, ignored)
        return losses, SoftmaxFocalCache(y, target)

    def backward(self, cache, dl):
        """dl [p_j Σ_{k≠j} a_k − a_j q_j]."""
        y, target = cache
        p, q, h, power = self.parts(y)
        slope = jnp.where(q == 0, 1, ratio(h, q))
        a = times(self.rows(target, y), power * (1 + self.gamma * times(p, slope)))
        d = times(p, a.sum(-1, keepdims=True) - a) - a * q
        ignored = self.ignored(y, target)
        d = jnp.where((valid_classes(y, target) | ignored)[..., None], d, jnp.nan)
        return spread(jnp.where(ignored, 0, dl), d).astype(y.dtype)

    def parts(self, y: Array) -> tuple[Array, Array, Array, Array]:
        """p, q = 1 − p, h = −log p and q^γ."""
        z, e, r = exponentials(y)
        top, total = z == 0, e.sum(-1, keepdims=True)
        p, own = e / total, jnp.where(top, z, 0)  # 0, but for autodiff where several are largest
        others = r + jnp.where(top, own.sum(-1, keepdims=True) - own, 0)
        q = jnp.where(top, others / total, 1 - p)
        return p, q, -log_softmax(z, r), q**self.gamma
