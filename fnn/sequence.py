"""Sequence: a batch over time, with the mask, the state and the memory that belong to it.

y has the form of x: an array in, an array out; a Sequence in, a Sequence out, with the same
mask and memory and with the *final* state. A cotangent is a Sequence too: dx of the values,
dstate of the initial state, dmemory of the memory; it carries the mask, which has no
derivative.

A state is nested like the layers, one entry per child: (h,) of an RNN or a GRU, (h, c) of an
LSTM, (S,) of a linear attention, ((h, c), (h, c)) of a Serial of two LSTMs, {"ahead": …,
"behind": …} of a Bidirectional, stacked under Repeat. None, () and zeros mean "before the
beginning". What came out goes in again where the next part of a long sequence begins: truncated
backpropagation through time (BPTT), sampling step by step.

Steps where the mask is False are left out: their values are replaced by 0 before a layer
reads them, whatever they are, and their dx is 0. Their y is whatever the layer makes there: of a
recurrent layer the state of the step before, where torch writes 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from fnn.records import Array, Data, PyTree


@dataclass(frozen=True, eq=False)
class Sequence(Data):
    """A batch of sequences with what belongs to them.

    What stands in steps that the mask leaves out changes nothing; their own y means nothing.

    Raises:
        TypeError: for a mask or pairs that are not arrays of booleans.
        ValueError: for a mask that has not one entry per step, pairs that have not one per pair.
    """

    x: PyTree  # [B, T, ...]
    mask: Array | None = None  # [B, T], True where a step counts; None: all do
    state: PyTree = None  # of every layer before the first step; None: zeros
    memory: PyTree = None  # what cross-attention looks at: an array or a Sequence
    pairs: Array | None = None  # [B, T, T], True where step t may attend to step s; None: all may

    def __post_init__(self):
        """Check the masks that a person gives."""
        steps = tuple(getattr(self.x, "shape", ()))[:2]
        check_booleans("mask", self.mask, "[B, T]", steps)
        check_booleans("pairs", self.pairs, "[B, T, T]", (*steps, *steps[1:]))


def check_booleans(name: str, a: Any, form: str, shape: tuple[int, ...]) -> None:
    """Raise unless `a` is None or an array of booleans of this shape, which may be unknown."""
    if a is None:
        return
    got = str(getattr(a, "dtype", type(a).__name__))
    if got != "bool" or a is True or a is False:
        raise TypeError(f"Sequence: {name} must be an array of booleans, got {got}.")
    rank = form.count(",") + 1
    if a.ndim != rank or (shape and tuple(a.shape) != shape):
        raise ValueError(
            f"Sequence: {name} must have shape {form}, {list(shape)} as x, got {list(a.shape)}."
        )


def value(x: Any) -> Any:
    """The array of a Sequence, or x itself."""
    return x.x if isinstance(x, Sequence) else x


def state_of(x: Any) -> PyTree:
    """The state of a Sequence; None of anything else."""
    return x.state if isinstance(x, Sequence) else None


def memory_of(x: Any) -> PyTree:
    """The memory of a Sequence; None of anything else."""
    return x.memory if isinstance(x, Sequence) else None


def mask_of(x: Any) -> Array | None:
    """The mask of a Sequence; None of anything else."""
    return x.mask if isinstance(x, Sequence) else None


def as_sequence(x: Any) -> Sequence:
    """A Sequence as it is; an array as one of which all steps count."""
    return x if isinstance(x, Sequence) else Sequence(x)


def renewed(x: Any, /, **fields: Any) -> Any:
    """A Sequence with other fields; an array has none of them and stays."""
    return x.with_fields(**fields) if isinstance(x, Sequence) else x


def unmasked(x: PyTree) -> PyTree:
    """x, every Sequence in it without mask and pairs: what is left may have cotangents."""
    return jax.tree.map(
        lambda v: renewed(v, mask=None, pairs=None), x, is_leaf=lambda v: isinstance(v, Sequence)
    )


def lift(f: Callable[..., Any], x: Any, *others: Any) -> Any:
    """f of the arrays of x and the others, in the form of x: an array or a Sequence."""
    y = f(value(x), *map(value, others))
    return x.with_fields(x=y) if isinstance(x, Sequence) else y


def select(mask: Array | None, a: PyTree) -> PyTree:
    """`a` where the mask is True, 0 elsewhere, whatever stands there: 0 · NaN is NaN."""
    if mask is None:
        return a

    def leaf(a):
        counts = mask.reshape(mask.shape + (1,) * (a.ndim - mask.ndim))
        return jnp.where(counts, a, jnp.zeros((), a.dtype))

    return jax.tree.map(leaf, a)


def add(a: PyTree, b: PyTree) -> PyTree:
    """The sum of two cotangents of one value, of which either may be None, or parts of it."""
    if a is None or b is None:
        return b if a is None else a
    if isinstance(a, Sequence):
        return lift(add, a, b)
    if jax.tree_util.all_leaves([a]):
        return a + b
    return jax.tree.map(add, a, b, is_leaf=lambda v: v is None or isinstance(v, Sequence))


def over_positions(f: Callable[[Any], tuple[Any, Any]], dy: Any) -> tuple[Any, Any]:
    """f(dy) → (result, dx) of a layer that knows no time, applied to the steps of dy."""
    if not isinstance(dy, Sequence):
        return f(dy)
    result, dx = f(dy.x)
    return result, dy.with_fields(x=None if dx is None else select(dy.mask, dx), state=None)
