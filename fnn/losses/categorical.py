"""Cross-entropy of one class among C, on probabilities or on logits.

With targets t, rows of probabilities (for a label k: t_k = 1, elsewhere 0), smoothed to
t ← (1 − ε) t + ε / C,

    CrossEntropy           −Σ_k t_k log y_k                         dy = −dl t / y
    SoftmaxCrossEntropy    log Σ_j exp(y_j − m) − Σ_k t_k (y_k − m)   dy = dl (p − t)
                           m = max_j y_j                            p = softmax(y)

The second is the first after a softmax, in a form that neither overflows nor cancels. Of a
label k, with e_j = exp(y_j − m) and r = Σ_{j≠k} e_j, it is

    losses = log(1 + r + (e_k − 1)) − (y_k − m)      dy_k = −dl r / Σ_j e_j

so that the loss and all of dy are right where p_k is nearly 1, too. The driver knows dl before
the losses: `value_and_backward` takes both from one pass over e. With 0 log 0 = 0 a class that
cannot be, y_k = −∞ with t_k = 0, costs nothing and gets the derivative 0.

Under jit, where values are not known, a label outside [0, C) or a row that is no
distribution makes its loss and its row of dy NaN.

Sources: Bridle (1990), NIPS 2, eqs. 7 and 8; smoothing: Szegedy, Vanhoucke, Ioffe, Shlens &
Wojna (2016), arXiv:1512.00567, section 7.
"""

import abc
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_number
from fnn.loss import Loss
from fnn.mean import spread
from fnn.numerics import concrete, is_floating, owned, times, wide
from fnn.records import Array
from fnn.targets import (
    are_labels,
    are_probabilities,
    as_classes,
    check_classes,
    check_integers,
    check_numbers,
    check_probabilities,
    valid_classes,
)


@dataclass(frozen=True)
class Categorical(Loss[Any], abc.ABC):
    """What both forms share: the target, its smoothing, labels to ignore.

    Rows whose label is `ignore_label` have loss 0, gradient 0 and no weight in a mean; None,
    as here, ignores none, where torch ignores −100.
    """

    label_smoothing: float = 0.0  # ε
    ignore_label: int | None = None

    def __post_init__(self):
        """Reject a smoothing with which the right class is not the likeliest."""
        super().__post_init__()
        name = type(self).__name__
        check_number(name, "label_smoothing", self.label_smoothing, 0, 1)
        if self.ignore_label is not None:
            check_number(name, "ignore_label", self.ignore_label, -(2**31), 2**31)

    def check(self, y, target):
        """Target must hold labels [B, ...] or probabilities [B, ..., C]."""
        check_classes(self, y, target, self.ignore_label)
        if self.ignore_label is not None and are_labels(y, target):
            known = concrete(target)
            if known is not None and known.size and (known == self.ignore_label).all():
                raise ValueError(f"{self}: every label is ignored, nothing is left to average.")

    def counted(self, target):
        """Where the label is not the one to ignore; None for rows of probabilities."""
        if self.ignore_label is None:
            return None
        check_numbers(self, "target", target)
        if is_floating(target):
            return None
        check_integers(self, target)
        return as_classes(target) != self.ignore_label

    def ignored(self, y: Array, target: Array) -> Array | bool:
        """Where the label is the one to ignore; False for rows of probabilities."""
        if self.ignore_label is None or not are_labels(y, target):
            return False
        return target == self.ignore_label

    def finish(self, losses: Array, valid: Array, ignored: Array | bool) -> Array:
        """The losses, NaN where the target is not valid, 0 where it is ignored."""
        return jnp.where(ignored, 0, jnp.where(valid, losses, jnp.nan))

    def expected(self, target: Array, a: Array, m: Array | float = 0.0) -> Array:
        """Σ_k t_k (a_k − m), with the smoothed t; of a label, a is read at one place."""
        if are_labels(a, target):
            k = jnp.clip(target, 0, a.shape[-1] - 1)
            mean = (jnp.take_along_axis(a, k[..., None], -1) - m)[..., 0]
        else:
            mean = times(target.astype(a.dtype), a - m).sum(-1)
        if self.label_smoothing == 0:
            return mean
        return (1 - self.label_smoothing) * mean + self.label_smoothing * (a - m).mean(-1)

    def rows(self, target: Array, y: Array) -> Array:
        """The smoothed t, [B, ..., C]."""
        t = target
        if are_labels(y, target):
            t = of_labels(target, y)
        t = t.astype(wide(y.dtype))
        if self.label_smoothing == 0:
            return t
        return (1 - self.label_smoothing) * t + self.label_smoothing / y.shape[-1]


class CrossEntropyCache(NamedTuple):
    """Predictions and targets."""

    y: Array  # probabilities, [B, ..., C]
    target: Array  # [B, ...] or [B, ..., C]
    valid: Array  # whether the loss is defined, [B, ...]


@dataclass(frozen=True)
class CrossEntropy(Categorical):
    """losses = −Σ_k t_k log y_k.  y [B, ..., C] probabilities → losses [B, ...].

    target: labels [B, ...] or rows of probabilities [B, ..., C]. Outside [0, 1] y is an
    error, NaN under jit; that its rows sum to 1 is not checked. A zero probability of what
    happens has loss ∞. For logits, what torch calls CrossEntropyLoss: SoftmaxCrossEntropy.

    Raises:
        ValueError: for a label_smoothing outside [0, 1); from forward, for shapes that do not
            fit, known labels outside [0, C), known rows that are no distribution.
        TypeError: from forward, for labels that are not integers, rows that are not floating.
    """

    def check(self, y, target):
        """y must hold probabilities."""
        super().check(y, target)
        check_probabilities(self, y, "SoftmaxCrossEntropy")

    def forward(self, y, target):
        """−Σ_k t_k log y_k."""
        self.check(y, target)
        y, target = owned(y), as_classes(target)
        ignored = self.ignored(y, target)
        valid = (valid_classes(y, target) | ignored) & are_probabilities(y)
        losses = -self.expected(target, jnp.log(y.astype(wide(y.dtype))))
        return self.finish(losses, valid, ignored), CrossEntropyCache(y, target, valid)

    def backward(self, cache, dl):
        """−dl t / y."""
        y, target, valid = cache
        dl = jnp.where(self.ignored(y, target), 0, dl)
        t = self.rows(target, y)
        d = jnp.where(valid[..., None], -times(t, 1 / y.astype(t.dtype)), jnp.nan)
        return spread(dl, d).astype(y.dtype)


class SoftmaxCrossEntropyCache(NamedTuple):
    """Predictions and targets."""

    y: Array  # logits, [B, ..., C]
    target: Array  # [B, ...] or [B, ..., C]


@dataclass(frozen=True)
class SoftmaxCrossEntropy(Categorical):
    """losses = −Σ_k t_k log softmax_k(y).  y [B, ..., C] logits → losses [B, ...].

    target: labels [B, ...] or rows of probabilities [B, ..., C]. dy = dl (softmax(y) − t).

    Raises:
        ValueError: for a label_smoothing outside [0, 1); from forward, for shapes that do not
            fit, known labels outside [0, C), known rows that are no distribution.
        TypeError: from forward, for labels that are not integers, rows that are not floating.
    """

    def forward(self, y, target):
        """log Σ_j exp(y_j − m) − Σ_k t_k (y_k − m)."""
        self.check(y, target)
        y, target = owned(y), as_classes(target)
        losses, *_ = self.parts(y.astype(wide(y.dtype)), target)
        return losses, SoftmaxCrossEntropyCache(y, target)

    def value_and_backward(self, y, target, dl):
        """The losses and dy = dl (p − t), p from the exponentials of the losses."""
        y, target = owned(y), as_classes(target)
        losses, dy = self.one_pass(y.astype(wide(y.dtype)), target, dl)
        return losses, dy.astype(y.dtype)

    def backward(self, cache, dl):
        """dl (p − t)."""
        y, target = cache
        return self.one_pass(y.astype(wide(y.dtype)), target, dl)[1].astype(y.dtype)

    def one_pass(self, z: Array, target: Array, dl: Array) -> tuple[Array, Array]:
        """The losses and dy of logits z, in the dtype of z.

        Of labels without smoothing XLA makes e and dy in one place.
        """
        losses, e, total, rest = self.parts(z, target)
        ignored = self.ignored(z, target)
        valid = valid_classes(z, target) | ignored
        dl = jnp.where((dl == 0) | ignored, 0, jnp.where(valid, dl, jnp.nan))[..., None]
        scale = times(dl, 1 / total[..., None])
        if rest is None:
            return losses, times(scale, e) - times(dl, self.rows(target, z))
        own = times(scale, rest[..., None])
        return losses, times(scale, e) - jnp.where(of_labels(target, z), own, 0)

    def parts(self, z: Array, target: Array) -> tuple[Array, Array, Array, Array | None]:
        """losses, e, Σ_j e_j and, of labels k, r = Σ_{j≠k} e_j, with 0 in place of e_k."""
        m = jax.lax.stop_gradient(z.max(-1, keepdims=True))  # any m gives the same loss
        y_k = self.expected(target, z, m)
        if are_labels(z, target) and self.label_smoothing == 0:
            e = jnp.exp(jnp.where(of_labels(target, z), -jnp.inf, z - m))
            rest = e.sum(-1)
            total, losses = rest + jnp.exp(y_k), jnp.log1p(rest + jnp.expm1(y_k)) - y_k
        else:
            e = jnp.exp(z - m)
            rest, total = None, e.sum(-1)
            losses = jnp.log(total) - y_k
        ignored = self.ignored(z, target)
        losses = self.finish(losses, valid_classes(z, target) | ignored, ignored)
        return losses, e, total, rest


def of_labels(target: Array, a: Array) -> Array:
    """Which entries of a [B, ..., C] are those of the labels [B, ...]."""
    return target[..., None] == jnp.arange(a.shape[-1], dtype=target.dtype)


def exponentials(y: Array) -> tuple[Array, Array, Array]:
    """z = y − max y, e = exp z and r = Σ e − 1, which may be tiny, in the dtype of losses."""
    z = y.astype(wide(y.dtype))
    z = z - jax.lax.stop_gradient(z.max(-1, keepdims=True))  # any shift gives the same softmax
    e, top = jnp.exp(z), z == 0
    r = jnp.where(top, 0, e).sum(-1, keepdims=True)
    return z, e, r + (top.sum(-1, keepdims=True) - 1).astype(r.dtype)  # of equal maxima all but one


def log_softmax(z: Array, r: Array) -> Array:
    """z − log(1 + r), right where it is nearly 0, too."""
    own = jnp.expm1(jnp.where(z == 0, z, 0).sum(-1, keepdims=True))  # 0, but for autodiff
    return z - jnp.log1p(r + own)
