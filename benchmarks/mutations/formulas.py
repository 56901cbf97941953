"""Mistakes in the formula of one block: a term dropped, a derivative forgotten or taken twice.

Each is a backward of its own, backward(block, params, cache, dy) → (grads, dx) for a layer,
backward(block, cache, dl) → dy for a loss. `slips(block)` lists those of a block: what its own
source allows, and below it what one would have to know.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

import fnn
from benchmarks.mutations import source
from benchmarks.mutations.source import Edit, edited, functions, terms
from fnn.layers.activations import Elementwise
from fnn.layers.softmax import OfRows
from fnn.losses.elementwise import Elementwise as ElementwiseLoss


@dataclass(frozen=True)
class Slip:
    """One mistake in one formula."""

    row: str  # the row of the table
    what: str  # what exactly
    kinds: tuple[str, ...]  # the right diagnoses
    backward: Callable[..., Any]
    says: str = ""  # a pattern that the text must match


def slip(row: str, what: str, kinds: str, backward: Callable[..., Any], says: str = "") -> Slip:
    """A Slip with its kinds as words in a string, "a|b"."""
    return Slip(row, what, tuple(kinds.split("|")), backward, says)


DROPPED, WRONG_SIGN = "a term dropped", "a term with the wrong sign"
TWICE, FORGOTTEN, ELSEWHERE = (
    "the derivative twice",
    "the derivative forgotten",
    "the derivative at another point",
)


def slips(block: Any) -> list[Slip]:
    """All for this block; some leave the numbers as they are, which is found out later."""
    found = [s for kind, several in SLIPS.items() if isinstance(block, kind) for s in several]
    if isinstance(block, fnn.Dense) and block.n_in == block.n_out > 1:
        found.append(slip("untransposed w", "dx = dy w", "transposed|other weight", untransposed))
    if isinstance(block, WITHOUT_PARAMS):
        found += with_derivative(block)
    if isinstance(block, Elementwise) and not block.of_y:  # f′ by the product rule
        found += in_source(block, terms(type(block), "df"), STRICT)
    if isinstance(block, ElementwiseLoss):
        cls = type(block)
        found += in_source(block, terms(cls, "df") + functions(cls, "df"), LENIENT)
    if getattr(block, "label_smoothing", 0):
        found.append(slip(DROPPED, "smoothing forgotten", "missing term|wrong term", unsmoothed))
    if getattr(block, "ignore_label", None) is not None:
        kinds = "missing derivative|one slice|another function|missing term"
        found.append(slip(DROPPED, "ignored rows counted", kinds, everything_counted))
    return found


def with_derivative(block: Any) -> list[Slip]:
    """What can happen to the derivative of a layer without parameters."""
    constant = "|factor" if isinstance(block, fnn.Scale | fnn.Dropout) else ""
    linear = "|missing term" if isinstance(block, fnn.LogSoftmax) else ""
    return [
        slip(TWICE, "f′ twice", f"extra derivative{constant}", twice),
        slip(FORGOTTEN, "dx = dy", f"missing derivative{constant}{linear}", forgotten),
        slip(ELSEWHERE, "f′ at y", "other activation|another function", elsewhere),
    ]


def twice(block, params, cache, dy):
    """dx = dy f′ f′."""
    return block.backward(params, cache, block.backward(params, cache, dy)[1])


def forgotten(block, params, cache, dy):
    """dx = dy."""
    return (), dy


def elsewhere(block, params, cache, dy):
    """f′ at y where it belongs at x, for those whose cache is not x."""
    at = getattr(cache, "a", getattr(cache, "y", None))
    if at is None:
        return block.backward(params, cache, dy)
    if not getattr(block, "of_y", True):
        at = block.forward(params, at)[0]
    return block.backward(params, block.forward(params, at)[1], dy)


def in_source(block: Any, edits: list[Edit], kinds: dict[str, tuple[str, str]]) -> list[Slip]:
    """The edits of a formula that leave a formula of the same shape."""
    fitting = [edit for edit in edits if fits(edited(block, edit))]
    rows = [(*kinds[edit.kind], edit) for edit in fitting]
    return [slip(row, edit.what, right, with_edit(edit)) for row, right, edit in rows]


def fits(block: Any) -> bool:
    """Whether its df still makes an array of the shape that it is given."""
    a = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    args = (a, a) if isinstance(block, ElementwiseLoss) else (a,)
    try:
        return jax.eval_shape(block.df, *args) == a
    except (TypeError, ValueError):
        return False


def with_edit(edit: Edit) -> Callable[..., Any]:
    """The backward of the block whose formula has the edit."""
    return lambda block, *args: edited(block, edit).backward(*args)


def entrywise(df: Callable[[Any, Any, Any], Any]) -> Callable[..., Any]:
    """dy = dl df(loss, y, t) for a loss that compares entry by entry."""

    def backward(loss, cache, dl):
        y, t = (a.astype(dl.dtype) for a in cache)
        return (dl[..., None] * df(loss, y, t)).astype(cache.y.dtype)

    return backward


def rowwise(dy: Callable[..., Any]) -> Callable[..., Any]:
    """dy = dl d(y, t) for a loss of classes, t the rows of probabilities."""

    def backward(loss, cache, dl):
        y = cache.y.astype(dl.dtype)
        return (dl[..., None] * dy(y, loss.rows(cache.target, cache.y))).astype(cache.y.dtype)

    return backward


def softmax(sign: float) -> Callable[..., Any]:
    """dx = y (dy + sign Σ dy y)."""

    def backward(layer, params, cache, dy):
        y = cache.y
        return (), y * (dy + sign * (dy * y).sum(-1, keepdims=True))

    return backward


def log_softmax(sign: float, f: Callable[[Any], Any]) -> Callable[..., Any]:
    """dx = dy + sign f(y) Σ dy."""
    return lambda layer, params, cache, dy: (
        (), dy + sign * f(cache.y) * dy.sum(-1, keepdims=True)
    )  # fmt: skip


def unsmoothed(loss, cache, dl):
    """The gradient of the same loss without smoothing."""
    plain = type(loss)(ignore_label=loss.ignore_label)
    return plain.backward(cache, dl)


def everything_counted(loss, cache, dl):
    """Ignored rows get the gradient of label 0."""
    target = jnp.where(cache.target == loss.ignore_label, 0, cache.target)
    plain = type(loss)(label_smoothing=loss.label_smoothing)
    return plain.backward(cache._replace(target=target), dl)


def residual(around: float, inside: float) -> Callable[..., Any]:
    """dx = around dy + inside dy ∂f/∂x."""

    def backward(layer, params, cache, dy):
        grads, dx = layer.inner.backward(params, cache, dy)
        return grads, around * dy + inside * dx

    return backward


def skip(around: float, inside: float) -> Callable[..., Any]:
    """dx = around da + inside db ∂f."""

    def backward(layer, params, cache, dy):
        n = cache.n.value
        grads, dx = layer.inner.backward(params, cache.inner, dy[..., n:])
        return grads, around * dy[..., :n] + inside * dx

    return backward


def neighbours(params, cache):
    """Repeat with the parameters of the copy before."""
    return jax.tree.map(lambda p: jnp.roll(p, 1, 0), params), cache


def other_caches(params, cache):
    """Repeat with the caches of the copy before."""
    return params, jax.tree.map(lambda c: jnp.roll(c, 1, 0), cache)


def repeat(change: Callable[..., Any]) -> Callable[..., Any]:
    """Repeat's backward with other params or caches."""
    return lambda layer, params, cache, dy: layer.backward(*change(params, cache), dy)


def recomputed_at_y(layer, params, cache, dy):
    """Recompute from y instead of x."""
    y, _ = layer.inner.forward(params, cache.x)
    return layer.backward(params, cache._replace(x=y), dy)


def untransposed(layer, params, cache, dy):
    """dx = dy w, which a square w allows."""
    return layer.backward(params, cache, dy)[0], dy @ params.w


STRICT = {  # of the kinds of edits: the row, and the right diagnoses
    source.DROPPED: (DROPPED, "missing term"),
    source.SIGN: (WRONG_SIGN, "wrong term"),
}
LENIENT = {
    source.DROPPED: (DROPPED, "missing term|another function"),
    source.SIGN: (WRONG_SIGN, "wrong term|another function"),
    source.FORGOTTEN: (
        FORGOTTEN, "missing derivative|another function|extra derivative|missing term",
    ),
}  # fmt: skip
SLIPS: dict[type, list[Slip]] = {
    fnn.Softmax: [
        slip(DROPPED, "Σ dropped", "missing term", softmax(0)),
        slip(WRONG_SIGN, "+ Σ", "wrong term", softmax(1)),
    ],
    fnn.LogSoftmax: [
        slip(WRONG_SIGN, "+ Σ", "wrong term", log_softmax(1, jnp.exp)),
        slip(FORGOTTEN, "y for exp y", "another function|wrong term|missing derivative",
             log_softmax(-1, lambda y: y)),
    ],
    fnn.Dropout: [
        slip(FORGOTTEN, "scale forgotten", "factor",
             lambda f, p, c, dy: ((), jnp.where(c.kept, dy, 0))),
        slip(FORGOTTEN, "mask forgotten", "missing derivative|another function",
             lambda f, p, c, dy: ((), dy / (1 - f.rate))),
    ],
    fnn.Residual: [
        slip(DROPPED, "dy dropped", "missing term", residual(0, 1)),
        slip(DROPPED, "dy ∂f dropped", "missing term|missing derivative", residual(1, 0)),
        slip(WRONG_SIGN, "− dy", "wrong term", residual(-1, 1)),
        slip(WRONG_SIGN, "2 dy", "wrong term", residual(2, 1)),
    ],
    fnn.Skip: [
        slip(DROPPED, "da dropped", "missing term", skip(0, 1)),
        slip(DROPPED, "db ∂f dropped", "missing term|missing derivative", skip(1, 0)),
        slip(WRONG_SIGN, "− da", "wrong term", skip(-1, 1)),
    ],
    fnn.Repeat: [
        slip("another layer's weight", "of the copy before", "other weight", repeat(neighbours)),
        slip("another layer's activation", "of the copy before", "other activation",
             repeat(other_caches)),
    ],
    fnn.Recompute: [
        slip(ELSEWHERE, "f again at y", "other activation|another function", recomputed_at_y)
    ],
    fnn.SigmoidBinaryCrossEntropy: [
        slip(TWICE, "(σ − t) σ′", "extra derivative|another function", entrywise(
            lambda f, y, t: (jax.nn.sigmoid(y) - t) * jax.nn.sigmoid(y) * jax.nn.sigmoid(-y))),
    ],
    fnn.CrossEntropy: [
        slip(FORGOTTEN, "1/y forgotten", "missing derivative|another function",
             rowwise(lambda y, t: -t))
    ],
    fnn.SoftmaxCrossEntropy: [
        slip(DROPPED, "t forgotten", "missing term", rowwise(lambda y, t: jax.nn.softmax(y))),
        slip(DROPPED, "p forgotten", "missing term", rowwise(lambda y, t: -t)),
        slip(WRONG_SIGN, "p + t", "wrong term", rowwise(lambda y, t: jax.nn.softmax(y) + t)),
        slip(TWICE, "(p − t) p (1 − p)", "extra derivative|another function", rowwise(
            lambda y, t: (jax.nn.softmax(y) - t) * jax.nn.softmax(y) * (1 - jax.nn.softmax(y)))),
    ],
}  # fmt: skip

WITHOUT_PARAMS = (Elementwise, OfRows, fnn.Identity, fnn.Scale, fnn.Dropout)
