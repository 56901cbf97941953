"""The contract every loss keeps.

A loss compares predictions y with targets, one number for every prediction:

    losses, cache = loss.forward(y, target)
    dy            = loss.backward(cache, dl)          dl = ∂L/∂losses

The last axis of y (outputs, classes) is summed, all others stay: y [B, ..., n] →
losses [B, ...]; a y of rank 1 counts as [B, 1]. A loss never averages: the reduction is
the caller's dl (mean.py). A prediction with dl = 0 is left out: its row of dy is 0 even
where its loss is NaN.

A loss with `mixes_examples = True` compares the rows of y with each other: the loss of one depends
on the rest. It says by `leave_out` how a target tells it which rows are there, since what has
weight 0, as the rows that fill up the last minibatch have, may not enter the loss of another.

A loss with `whole_sequences = True` compares sequences: it takes a Sequence as it is, mask and
all, and gives one number per sequence, losses [B]; its `shape` says so. Any other is given the
array of a Sequence, and the mask says which predictions count.

y may be a NamedTuple of arrays, or any pytree, for a loss that says their `shape`: what a
variational autoencoder gives, reconstruction and code. dy has its form.

y may be `Logits`, the scores z = h w in factored form. A loss with `fused = True` takes
them as they are; for any other, z is multiplied out here and dz sent back as (dh, dw).

Losses are computed and returned in at least float32, dy in y's dtype, both right to some
roundings of themselves at any size of y, also in the tails. Targets that are
not labels are converted to the dtype of the losses, integers and booleans too. In float16
dy has no room for the small numbers of a mean over thousands: bfloat16 has.
"""

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import jax

from fnn.errors import check_floating, check_shape, speaking
from fnn.logits import Logits, check_factors
from fnn.records import Array, Record, wrap_methods
from fnn.sequence import mask_of, renewed, value

C = TypeVar("C")  # the loss's cache
THEIRS = "the cache must be what forward returned, and dl like its losses"


class LogitsCache(NamedTuple):
    """What a loss without a fused form keeps of Logits."""

    y: Logits
    inner: Any  # the cache for the whole z


@dataclass(frozen=True)
class Loss(Record, abc.ABC, Generic[C]):
    """A function of (y, target) that knows its derivative in y.

    The last axis is summed; torch and Keras take its mean in regression.

    Raises:
        ValueError: from forward, for shapes that do not fit and known values out of range.
        TypeError: from forward, for what is not an array of real numbers, y floating.
    """

    fused: ClassVar[bool] = False  # whether it takes Logits as they are
    whole_sequences: ClassVar[bool] = False  # whether it takes a Sequence with its mask
    mixes_examples: ClassVar[bool] = False  # whether the loss of a row depends on other rows of y

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let the class's methods take Logits."""
        super().__init_subclass__(**kwargs)
        wrap_methods(cls, Loss, _ENTRANCES)

    @abc.abstractmethod
    def check(self, y: Any, target: Array) -> None:
        """Raise unless the shapes fit and, where they are known, the values do.

        A ShapeDtypeStruct may stand for y.
        """

    @abc.abstractmethod
    def forward(self, y: Any, target: Array) -> tuple[Array, C]:
        """One loss for every prediction, and the cache that backward needs."""

    @abc.abstractmethod
    def backward(self, cache: C, dl: Array) -> Any:
        """dy = dl ∂losses/∂y."""

    def value_and_backward(self, y: Any, target: Array, dl: Array) -> tuple[Array, Any]:
        """The losses and dy; a loss that can form both in one pass overrides it."""
        losses, cache = self.forward(y, target)
        return losses, self.backward(cache, dl)

    def value_and_factors(self, y: Logits, target: Array, dl: Array) -> tuple[Array, Logits]:
        """The losses and dy of Logits, its dw the factors of every example's own."""
        losses, dz = self.value_and_backward(y.whole(), target, dl)
        return losses, y.factors(dz)

    def shape(self, y: Any) -> tuple[int, ...]:
        """The shape of the losses of y."""
        if not hasattr(y, "ndim"):
            hint = "; a loss of several arrays has a shape(y) of its own" if is_tree(y) else ""
            raise TypeError(f"{self}: y must be an array, got {type(y).__name__}{hint}.")
        if isinstance(y, Logits):
            check_factors(self, y)
        return y.shape if y.ndim == 1 else y.shape[:-1]

    def counted(self, target: Array) -> Array | None:
        """Which predictions count, as booleans; None for all."""
        return None

    def leave_out(self, target: Array, counts: Array) -> Array:
        """The target of the batch where the rows that do not count are not there, for no other row.

        A loss that mixes examples has one of its own; no other is asked.
        """
        raise NotImplementedError(
            f"{self}: a loss that mixes examples needs a leave_out(target, counts), by which it "
            "learns what has weight 0; give no weights, or write it."
        )


def is_tree(y: Any) -> bool:
    """Whether y holds several arrays."""
    return len(jax.tree.leaves(y)) > 1


def _check(f: Callable[..., Any]) -> Callable[..., Any]:
    """A check that sees the shape of the whole z."""

    @functools.wraps(f)
    def check(self, y, target):
        if isinstance(y, Logits):
            check_factors(self, y)
            y = jax.ShapeDtypeStruct(y.shape, y.dtype)
        return f(self, y, target)

    return check


def _forward(f: Callable[..., Any]) -> Callable[..., Any]:
    """A forward of the whole z."""

    @functools.wraps(f)
    def forward(self, y, target):
        if self.fused or not isinstance(y, Logits):
            return f(self, y, target)
        self.check(y, target)
        losses, cache = f(self, y.whole(), target)
        return losses, LogitsCache(y, cache)

    return forward


def _backward(f: Callable[..., Any]) -> Callable[..., Any]:
    """A backward that sends dz back to both factors."""

    @functools.wraps(f)
    def backward(self, cache, dl):
        check_floating(self, "dl", dl)
        with speaking(self, THEIRS):
            if isinstance(cache, LogitsCache):
                check_shape(self, "dl", dl, self.shape(cache.y), like="losses")
                return cache.y.backward(f(self, cache.inner, dl))
            return f(self, cache, dl)

    return backward


def check_both(loss: Loss[Any], y: Any, target: Any, dl: Any) -> None:
    """Raise unless y fits the target, and dl the losses."""
    loss.check(y, target)
    check_floating(loss, "dl", dl)
    check_shape(loss, "dl", dl, loss.shape(y), like="losses")


def _value_and_backward(f: Callable[..., Any]) -> Callable[..., Any]:
    """Both at once, of the whole z."""

    @functools.wraps(f)
    def value_and_backward(self, y, target, dl):
        check_both(self, y, target, dl)
        if self.fused or not isinstance(y, Logits):
            return f(self, y, target, dl)
        losses, dz = f(self, y.whole(), target, dl)
        return losses, y.backward(dz)

    return value_and_backward


def _value_and_factors(f: Callable[..., Any]) -> Callable[..., Any]:
    """Both at once, of Logits."""

    @functools.wraps(f)
    def value_and_factors(self, y, target, dl):
        check_both(self, y, target, dl)
        return f(self, y, target, dl)

    return value_and_factors


_ENTRANCES = {
    "check": _check,
    "forward": _forward,
    "backward": _backward,
    "value_and_backward": _value_and_backward,
    "value_and_factors": _value_and_factors,
}


def compared(loss: Loss[Any], y: Any) -> tuple[Any, Array | None]:
    """What the loss takes of y, and the mask of its predictions; None for all."""
    if loss.whole_sequences:
        return renewed(y, state=None, memory=None), None
    return value(y), mask_of(y)


def present(loss: Loss[Any], target: Array, w: Array, *given: Array | None) -> Array:
    """The target as the loss has to see it, w of every prediction made of weights and mask."""
    if not loss.mixes_examples or all(a is None for a in given):
        return target
    return loss.leave_out(target, w != 0)


def check_loss_type(owner: str, loss: Any) -> None:
    """Raise a TypeError unless `loss` is a loss."""
    if not isinstance(loss, Loss):
        remedy = f"; build it: {loss.__name__}(...)" if isinstance(loss, type) else ""
        raise TypeError(f"{owner}: loss must be a Loss, got {loss!r:.60}{remedy}.")
