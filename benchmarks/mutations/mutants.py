"""Blocks with one mistake in their backward: the forward is the original's."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.mutations.formulas import Slip
from benchmarks.mutations.mistakes import MISTAKES, Place, spoiled
from benchmarks.mutations.routes import Route, inside, misled
from benchmarks.mutations.subjects import Point
from fnn.errors import dotted

ROUNDING = 1e-13  # mutants that differ by less, relative to the largest entry, are equivalent


class AtLeaf(NamedTuple):
    """A mistake in one array of the gradient."""

    name: str  # in MISTAKES
    leaf: int
    place: Place

    @property
    def row(self) -> str:
        """The row of the table."""
        return self.name

    @property
    def what(self) -> str:
        """What exactly."""
        return self.place.name

    @property
    def kinds(self) -> tuple[str, ...]:
        """The right diagnoses."""
        return MISTAKES[self.name].kinds(self.place)

    @property
    def says(self) -> str:
        """A pattern that the text must match."""
        return MISTAKES[self.name].says

    @property
    def dtype(self) -> str:
        """Where it shows."""
        return MISTAKES[self.name].dtype


class Inside(NamedTuple):
    """A mistake in one layer of a net, which spreads to everything below."""

    at: int
    wrong: Any

    @property
    def row(self) -> str:
        """The row of the table."""
        return self.wrong.row

    @property
    def what(self) -> str:
        """What exactly."""
        return f"layer {self.at}: {self.wrong.what}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The right diagnoses."""
        return self.wrong.kinds

    @property
    def says(self) -> str:
        """A pattern that the text must match."""
        return self.wrong.says


class Hidden(NamedTuple):
    """A mistake in a derivative that the forward itself brings, so that autodiff makes it too."""

    row: str  # of HIDDEN
    wrong: AtLeaf
    given: float | None = None  # x's first entry at the only point at which it is made

    @property
    def what(self) -> str:
        """What exactly."""
        return f"{self.wrong.row}, {self.wrong.what}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The right diagnoses; numbers of one point may have several explanations."""
        return (*self.wrong.kinds, *(("another function",) if self.row == AT_ONE_POINT else ()))

    @property
    def says(self) -> str:
        """A pattern that the text must match."""
        return self.wrong.says


AT_ONE_POINT = "in the forward's rule, as given only"
BEHIND_A_STOP = "in the forward's rule, a stop_gradient beside it"
HIDDEN = ("in the forward's rule", BEHIND_A_STOP, AT_ONE_POINT)
Wrong = AtLeaf | Inside | Slip | Route | Hidden


@dataclass(frozen=True)
class Mutant(fnn.Layer[Any, Any]):
    """The layer with a wrong backward."""

    layer: Any
    wrong: Any

    @property
    def mixes_examples(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether the layer does."""
        return self.layer.mixes_examples

    def init(self, key):
        """Its parameters."""
        return self.layer.init(key)

    def forward(self, params, x, *, key=None):
        """Its forward; the cache keeps x too, for mistakes that need it."""
        y, cache = self.layer.forward(params, x, key=key)
        return y, (cache, x)

    def backward(self, params, cache, dy):
        """Its backward with the mistake."""
        cache, x = cache
        wrong = self.wrong
        if isinstance(wrong, Slip):
            return wrong.backward(self.layer, params, cache, dy)
        if isinstance(wrong, Route):
            return misled(wrong, self.layer, params, cache, dy)
        args, leaf = (params, cache, dy), wrong.wrong if isinstance(wrong, Hidden) else wrong
        value = jax.tree.leaves((params, x))[leaf.leaf]
        made = spoiled(leaf.name, leaf.leaf, leaf.place, self.layer.backward, args, value)
        if not isinstance(wrong, Hidden) or wrong.given is None:
            return made
        here = value.ravel()[0] == wrong.given
        right = self.layer.backward(*args)
        return jax.tree.map(lambda a, b: jnp.where(here, a, b), made, right)


@dataclass(frozen=True)
class MutantLoss(fnn.Loss[Any]):
    """The loss with a wrong backward."""

    loss: Any
    wrong: Any

    def check(self, y, target):
        """What the loss asks for."""
        self.loss.check(y, target)

    def counted(self, target):
        """What the loss counts."""
        return self.loss.counted(target)

    def forward(self, y, target):
        """Its forward."""
        losses, cache = self.loss.forward(y, target)
        return losses, (cache, y)

    def backward(self, cache, dl):
        """Its backward with the mistake."""
        cache, y = cache
        wrong = self.wrong
        if isinstance(wrong, Slip):
            return wrong.backward(self.loss, cache, dl)
        return spoiled(wrong.name, 0, wrong.place, self.loss.backward, (cache, dl), y)


@dataclass(frozen=True)
class MutantPenalty:
    """The penalty with a wrong gradient."""

    penalty: Any
    wrong: Any

    def value(self, params):
        """Its value."""
        return self.penalty.value(params)

    def gradient(self, params):
        """Its gradient with the mistake."""
        value = jax.tree.leaves(params)[self.wrong.leaf]
        wrong = self.wrong
        return spoiled(wrong.name, wrong.leaf, wrong.place, self.penalty.gradient, (params,), value)


def mutant(block: Any, wrong: Wrong) -> Any:
    """The block with the mistake."""
    if isinstance(wrong, Inside):
        return inside(block, wrong.at, Mutant(block.layers[wrong.at], wrong.wrong))
    kinds = {fnn.Layer: Mutant, fnn.Loss: MutantLoss, fnn.Penalty: MutantPenalty}
    (kind,) = (m for base, m in kinds.items() if isinstance(block, base))
    return kind(block, wrong)


def placed(wrong: Wrong, at: Point) -> Wrong:
    """The mistake, made where it is to be made."""
    if not isinstance(wrong, Hidden) or wrong.row != AT_ONE_POINT:
        return wrong
    return wrong._replace(given=float(np.ravel(at.x)[0]))


class Flat(NamedTuple):
    """A block as a function of a list of arrays, for whoever knows nothing of layers."""

    leaves: list[Any]
    names: list[str]  # of those that have a gradient: not of tokens
    forward: Callable[[list[Any]], Any]
    backward: Callable[[list[Any], Any], list[Any]]


def flat(at: Point, block: Any) -> Flat:
    """The block, or a mutant of it, at a point."""
    if isinstance(block, fnn.Layer):
        args, labels = (at.params, at.x), ("params", "x")
        forward, backward = of_layer(at, block)
    elif isinstance(block, fnn.Loss):
        args, labels = (at.x,), ("y",)
        forward, backward = of_loss(at, block)
    else:
        args, labels = (at.params,), ("params",)
        forward, backward = of_penalty(block)
    paths, tree = jax.tree_util.tree_flatten_with_path(args)
    return Flat(
        [leaf for _, leaf in paths],
        [dotted(labels[p[0].idx], p[1:]) for p, leaf in paths if has_gradient(leaf)],
        lambda leaves: forward(*tree.unflatten(leaves)),
        lambda leaves, dy: jax.tree.leaves(backward(*tree.unflatten(leaves), dy)),
    )


def has_gradient(leaf: Any) -> bool:
    """Whether an array has one."""
    return bool(jnp.issubdtype(jnp.result_type(leaf), jnp.floating))


def custom(flat: Flat) -> Callable[..., Any]:
    """The function of the arrays, whose derivative is the hand-written one."""

    @jax.custom_vjp
    def f(*leaves):
        return flat.forward(list(leaves))

    def forward(*leaves):
        return f(*leaves), leaves

    def backward(leaves, dy):
        grads = iter(flat.backward(list(leaves), dy))
        return tuple(next(grads) if has_gradient(a) else None for a in leaves)

    f.defvjp(forward, backward)
    return f


Pair = tuple[Callable[..., Any], Callable[..., Any]]


def of_layer(at: Point, layer: Any) -> Pair:
    """y of (params, x), and their gradients."""

    def forward(params, x):
        return layer.forward(params, x, key=at.key)[0]

    def backward(params, x, dy):
        return layer.backward(params, layer.forward(params, x, key=at.key)[1], dy)

    return forward, backward


def of_loss(at: Point, loss: Any) -> Pair:
    """The losses of y, and its gradient."""

    def forward(y):
        return loss.forward(y, at.target[: len(y)])[0]

    def backward(y, dl):
        return loss.backward(loss.forward(y, at.target[: len(y)])[1], dl)

    return forward, backward


def of_penalty(penalty: Any) -> Pair:
    """The penalty of params, and their gradients."""

    def backward(params, dl):
        return jax.tree.map(lambda g: dl.astype(g.dtype) * g, penalty.gradient(params))

    return penalty.value, backward


def fixed(shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of this shape, always the same."""
    return np.asarray(np.random.default_rng(1).standard_normal(shape))


def guilty(points: list[Point], block: Any) -> dict[str, list[str]]:
    """The arrays that the mutant gets wrong, none if it is equivalent, and what fits them.

    Judged at the points, and at the first with one example less. What fits are explanations
    in a word that hold for all the numbers (`fitting`).
    """
    pairs: dict[str, list[tuple[Any, Any]]] = {}
    for here in (*points, *shorter(points[0])):
        right, wrong = flat(here, here.block), flat(here, block)
        dy = fixed(jax.eval_shape(right.forward, right.leaves).shape) + 0.1
        for name, g, h in zip(right.names, gradient(right, dy), gradient(wrong, dy), strict=True):
            pairs.setdefault(name, []).append((np.float64(g), np.float64(h)))
    return {n: fitting(several) for n, several in pairs.items() if any(differ(*p) for p in several)}


def shorter(at: Point) -> list[Point]:
    """The same with one example less, where that leaves one."""
    if isinstance(at.block, fnn.Penalty) or len(at.x) < 2 or at.key is not None:
        return []
    return [at._replace(x=at.x[:-1])]


def gradient(flat: Flat, dy: np.ndarray) -> list[Any]:
    """The hand-written one."""
    return jax.jit(lambda leaves: flat.backward(leaves, as_y(flat, leaves, dy)))(flat.leaves)


def as_y(flat: Flat, leaves: list[Any], dy: np.ndarray) -> Any:
    """The numbers in the dtype of y."""
    return jnp.asarray(dy, jax.eval_shape(flat.forward, leaves).dtype)


def fitting(pairs: list[tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """The plain explanations that hold for all pairs of a right and a wrong array."""
    found = [word for word, f in PLAIN.items() if all(close(f(g), h) for g, h in pairs)]
    if all(np.isnan(h).any() and not np.isnan(g).any() for g, h in pairs):
        found.append("nan")
    entries = [np.argwhere(g != h) for g, h in pairs]
    if all(0 < len(e) == 1 for e in entries):
        found.append("one entry")
    ratios = np.concatenate([(h[g != 0] / g[g != 0]) for g, h in pairs])
    if ratios.size and np.ptp(ratios) <= 1e-9 * abs(ratios).max() and ratios[0] not in (0, -1):
        found.append("factor")
    return found


PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "zero": np.zeros_like,
    "sign": np.negative,
    "reversed": lambda g: np.flip(g, -1) if g.ndim else g,
    "rolled": lambda g: np.roll(g, 1, -1) if g.ndim else g,
}


def close(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether they are the same numbers, rounding apart."""
    return not differ(a, b, 1e-10)


def differ(right: Any, wrong: Any, rounding: float = ROUNDING) -> bool:
    """Whether the two are not the same numbers, rounding apart."""
    right, wrong = np.float64(right), np.float64(wrong)
    error = abs(wrong - right).max(initial=0)
    return not error <= rounding * abs(right).max(initial=0)
