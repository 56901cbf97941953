"""Metrics: functions (y, target) → one number per prediction, for `fit`.

What is reported is their mean, Σ w m / Σ w over all batches at once. A metric with fields, or
one that is a function of that mean, is a `Metric`:

    TopKAccuracy    1 where #{j: y_j > y_k} + #{j < k: y_j = y_k} < n, else 0; k the class
    Perplexity      exp(Σ w l / Σ w), l the cross-entropy of a prediction
"""

import abc
from dataclasses import dataclass, field

import jax.numpy as jnp

from fnn.errors import check_floating
from fnn.logits import Logits, whole
from fnn.loss import Loss, check_loss_type
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.records import Array, Record
from fnn.targets import are_labels, as_classes, check_classes, valid_classes

BINARY = "write lambda y, t: (y[..., 0] > 0) == (t[..., 0] > 0)"


def accuracy(y: Array | Logits, target: Array) -> Array:
    """1 where the largest entry of y, of several the first, is the right class, else 0.

    y [B, ..., C], or Logits as from Unembed; target labels [B, ...] or rows [B, ..., C] →
    [B, ...]. NaN for rows of y with a NaN, and for targets that are not a class.

    Raises:
        ValueError, TypeError: as SoftmaxCrossEntropy does, for shapes and dtypes; values
            of the target are not checked.
    """
    y, target, label = classes("accuracy", y, target)
    return defined(y, target, y.argmax(-1).astype(label.dtype) == label)


@dataclass(frozen=True)
class Metric(Record, abc.ABC):
    """A metric with fields: static, compared by value, so that an equal one compiles nothing."""

    @abc.abstractmethod
    def __call__(self, y: Array | Logits, target: Array) -> Array:
        """One number per prediction."""

    def of_mean(self, mean: Array) -> Array:
        """What is reported, of the mean over the predictions."""
        return mean


@dataclass(frozen=True)
class TopKAccuracy(Metric):
    """1 where the right class is among the n largest entries of y, of equal ones the first.

    y [B, ..., C], or Logits; target labels [B, ...] or rows [B, ..., C] → [B, ...]. With n = 1 it
    is `accuracy`, and NaN where that is.

    Raises:
        ValueError: for n below 1; when called, for n above C.
        ValueError, TypeError: when called, as accuracy does.
    """

    n: int = 5

    def __post_init__(self):
        """Reject an n that lets no class in."""
        super().__post_init__()
        if self.n < 1:
            raise ValueError(f"{self}: n must be at least 1.")

    def __call__(self, y, target):
        """1 where fewer than n entries are in front of that of the class."""
        y, target, label = classes(str(self), y, target)
        if self.n > y.shape[-1]:
            raise ValueError(f"{self}: y must have at least {self.n} classes, got {y.shape[-1]}.")
        k = label[..., None]
        y_k = jnp.take_along_axis(y, jnp.clip(k, 0, y.shape[-1] - 1), -1)
        earlier = jnp.arange(y.shape[-1], dtype=label.dtype) < k
        return defined(y, target, ((y > y_k) | (earlier & (y == y_k))).sum(-1) < self.n)


@dataclass(frozen=True)
class Perplexity(Metric):
    """exp of the mean loss of all predictions that are reported together.

    y and target as `loss` takes them, by default logits with labels. A batch's is not averaged
    with those of others: evaluate(plan, …)["perplexity"] is exp of the mean over all data, in
    which no penalty and no smoothing of the plan's own loss is. When called, the losses.

    Raises:
        TypeError: for what is not a loss.
        ValueError, TypeError: when called, as the loss does.
    """

    loss: Loss = field(default_factory=SoftmaxCrossEntropy)

    def __post_init__(self):
        """Reject what is not a loss."""
        super().__post_init__()
        check_loss_type("Perplexity", self.loss)

    def __call__(self, y, target):
        """The losses."""
        return self.loss.forward(y, target)[0]

    def of_mean(self, mean):
        """exp L."""
        check_floating(self, "mean", mean)
        return jnp.exp(mean)


def classes(owner: str, y: Array | Logits, target: Array) -> tuple[Array, Array, Array]:
    """y whole, the target, and its label of every prediction, of rows the likeliest."""
    y = whole(y)
    check_classes(owner, y, target, values=False, one_logit=BINARY)
    y, target = jnp.asarray(y), as_classes(target)
    return y, target, target if are_labels(y, target) else target.argmax(-1)


def defined(y: Array, target: Array, right: Array) -> Array:
    """1 where right, else 0; NaN where y has a NaN and where the target is not a class."""
    known = valid_classes(y, target) & ~jnp.isnan(y).any(-1)
    return jnp.where(known, right.astype(jnp.result_type(float)), jnp.nan)
