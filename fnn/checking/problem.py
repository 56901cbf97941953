"""A problem: a function, its hand-written backward and a point, in one flat form.

Whatever is checked (a layer, a loss, a function and its gradient) becomes a function of a
flat list of arrays, `leaves`, of which some, `wrt`, have a gradient:

    y  = forward(leaves)             a list of arrays
    dθ = backward(leaves, dy)        by hand, one for every leaf in wrt

and the reference, by autodiff, is `reference(leaves, dy)`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from fnn.numerics import is_floating
from fnn.records import Array, PyTree

Leaves = list[Array]


@dataclass(frozen=True)
class Problem:
    """What is checked, in flat form."""

    who: str  # for messages
    leaves: Leaves  # of the arguments; floating ones in float64
    wrt: tuple[int, ...]  # the leaves that have a gradient
    names: tuple[str, ...]  # of what is compared: of the leaves in wrt
    forward: Callable[[Leaves], Leaves]
    backward: Callable[[Leaves, Leaves], Leaves]
    reference: Callable[[Leaves, Leaves], Leaves]
    batched: tuple[int, ...] = ()  # the leaves whose first axis is the batch
    inputs: tuple[int, ...] = ()  # the leaves that cases scale: x or y, not params
    mixes_examples: bool = False
    widens: bool = False  # whether an axis may be put between the batch and the others
    single: bool = False  # whether it is one formula: a layer that is no composite, a loss
    square: Callable[[], "Problem | None"] | None = None  # with all sizes equal, if it can be
    compares: bool = False  # whether backward is no derivative, only to be like reference
    one_dy: bool = False  # whether dy is 1: a scalar function

    @property
    def is_block(self) -> bool:
        """Whether this is a layer or a loss, which must run in float32 and bfloat16 too."""
        return bool(self.inputs)

    def at(self, values: Leaves) -> Leaves:
        """All leaves, with `values` for those in wrt."""
        leaves = list(self.leaves)
        for i, value in zip(self.wrt, values, strict=True):
            leaves[i] = value
        return leaves

    def with_leaves(self, leaves: Leaves) -> "Problem":
        """The same problem at another point."""
        return replace(self, leaves=leaves)


def from_vjp(
    who: str,
    f: Callable[..., PyTree],
    backward: Callable[..., PyTree],
    args: tuple[PyTree, ...],
    names: tuple[str, ...],
    *,
    moving: int | None = None,
    **more: Any,
) -> Problem:
    """The problem of f(*args) → y and backward(*args, dy) → one cotangent for each arg.

    With `moving` = n only the first n arguments have one.

    An integer leaf of an argument has no gradient; its cotangent may be None.

    Raises:
        TypeError: for inputs without a derivative, and an f that JAX cannot trace.
    """
    paths, tree = _flatten(args, names)
    n = len(args) if moving is None else moving
    first = len(jax.tree.leaves(args[:n]))
    leaves = [_as_leaf(who, name, leaf, i < first) for i, (name, leaf) in enumerate(paths)]
    wrt = tuple(i for i, leaf in enumerate(leaves[:first]) if is_floating(leaf))
    if not wrt:
        kinds = ", ".join(
            f"{name} {leaf.dtype}" for name, leaf in zip(_names(paths), leaves, strict=True)
        )
        raise TypeError(
            f"{who}: nothing to differentiate, every array is integer or boolean ({kinds}); "
            "convert one with .astype(float)."
        )
    every = _names(paths)
    y_tree = jax.tree.structure(traced(who, f, tree.unflatten(leaves)))

    def forward(leaves):
        y = f(*tree.unflatten(leaves))
        return [_as_output(who, name, a) for name, a in _flatten((y,), ("y",))[0]]

    def by_hand(leaves, dy):
        args = tree.unflatten(leaves)
        cotangent = backward(*args, y_tree.unflatten(dy))
        return cotangents(who, cotangent, args[:n], names[:n], [every[i] for i in wrt])

    def reference(leaves, dy):
        def of(values):
            full = list(leaves)
            for i, value in zip(wrt, values, strict=True):
                full[i] = value
            return forward(full)

        return jax.vjp(of, [leaves[i] for i in wrt])[1](dy)[0]

    more.setdefault("square", lambda: cropped(problem))
    problem = Problem(
        who, leaves, wrt, tuple(every[i] for i in wrt), forward, by_hand, reference, **more
    )
    return problem


def cropped(problem: Problem) -> Problem | None:
    """The problem with every axis of every leaf cut to the smallest size above 1."""
    sizes = [n for a in problem.leaves for n in a.shape if n > 1]
    if not sizes:
        return None
    n = min(sizes)
    return problem.with_leaves([a[tuple(slice(n) for _ in a.shape)] for a in problem.leaves])


def cotangents(
    who: str, result: PyTree, args: tuple[PyTree, ...], names: tuple[str, ...], wanted: list[str]
) -> Leaves:
    """The arrays of a cotangent, in the order of `wanted`; an error names what does not fit."""
    same = jax.tree.structure(result) == jax.tree.structure(args[0])
    if len(args) == 1 and (same or not (type(result) in (tuple, list) and len(result) == 1)):
        result = (result,)
    if not isinstance(result, tuple | list) or len(result) != len(args):
        got = f"{len(result)}" if isinstance(result, tuple | list) else type(result).__name__
        raise ValueError(
            f"{who}: backward must return one cotangent for each of {', '.join(names)}, "
            f"got {got}; return a tuple of {len(args)}."
        )
    return like(who, "the gradient for ", tuple(result), args, names, wanted)


def like(
    who: str, what: str, result: PyTree, args: PyTree, names: tuple[str, ...], wanted: list[str]
) -> Leaves:
    """The arrays of `result` that are `wanted`, if they have the names and shapes of `args`."""
    got = dict(_flatten(tuple(result), names)[0])
    want = dict(_flatten(args, names)[0])
    for name in wanted:
        if name not in got:
            raise ValueError(f"{who}: {what}{name} is missing.")
        shape, right = np.shape(got[name]), np.shape(want[name])
        if shape != right:
            raise ValueError(
                f"{who}: {what}{name} must have shape {list(right)}, "
                f"got {list(shape)}{_remedy(shape, right)}."
            )
    for name in got:
        if name not in want:
            raise ValueError(f"{who}: {what}{name} is unexpected; there is none to compare with.")
    return [jnp.asarray(got[name]) for name in wanted]


def _remedy(shape: tuple[int, ...], right: tuple[int, ...]) -> str:
    """What turns an array of `shape` into one of the `right` shape, if it is plain."""
    extra = len(shape) - len(right)
    if extra == 1 and shape[:-1] == right:
        return f"; sum it over axis {len(right)}"
    if extra > 0 and shape[extra:] == right:
        axes = "axis 0" if extra == 1 else f"axes {', '.join(map(str, range(extra)))}"
        return f"; sum it over {axes}, the examples"
    if len(shape) > 1 and shape[::-1] == right:
        return "; transpose it"
    if len(shape) == len(right):
        axes = [i for i, (a, b) in enumerate(zip(shape, right, strict=True)) if a != b]
        if all(right[i] == 1 for i in axes):
            return f"; sum it over axis {axes[0]}, keepdims=True"
    return ""


def traced(
    who: str, f: Callable[..., PyTree], args: tuple[PyTree, ...], what: str = "the function"
) -> PyTree:
    """The shapes of f(*args); an error that says so where JAX cannot trace f."""
    try:
        return jax.eval_shape(f, *args)
    except (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.NonConcreteBooleanIndexError,
    ) as error:
        raise TypeError(
            f"{who}: {what} does not trace: it needs the values of its inputs (an if, "
            "float(...) or numpy on them); write it with jax.numpy, jnp.where and lax.cond, "
            "and close over what is no array. "
            f"JAX says: {str(error).splitlines()[0]}"
        ) from None


def arrays_of(who: str, args: PyTree, names: tuple[str, ...]) -> tuple[Leaves, list[str], Any]:
    """The leaves of args as arrays, their names, and the tree."""
    paths, tree = _flatten(args, names)
    return [_as_leaf(who, name, leaf) for name, leaf in paths], _names(paths), tree


def _flatten(args: tuple[Any, ...], names: tuple[str, ...]) -> tuple[list[tuple[str, Any]], Any]:
    """Every leaf of args with its name, such as params.w, and the tree of args."""
    paths, tree = jax.tree_util.tree_flatten_with_path(args)
    named = [
        (f"{names[path[0].idx]}{jax.tree_util.keystr(path[1:])}", leaf) for path, leaf in paths
    ]
    return named, tree


def _names(paths: list[tuple[str, Any]]) -> list[str]:
    """The names alone."""
    return [name for name, _ in paths]


def _as_leaf(who: str, name: str, leaf: Any, moves: bool = True) -> Array:
    """A leaf as an array, in float64 if it is floating and `moves`: a target stays as it is."""
    if isinstance(leaf, Tracer):
        raise TypeError(f"{who}: {name} is traced; call the check outside of jit, grad and vmap.")
    try:
        a = jnp.asarray(leaf)
    except TypeError:
        raise TypeError(f"{who}: {name} must be an array, got {type(leaf).__name__}.") from None
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"{who}: {name} must be real, got {a.dtype}.")
    if not is_floating(a):
        return a
    a = a.astype(jnp.float64) if moves else a
    if not np.isfinite(np.asarray(a)).all():
        where = np.argwhere(~np.isfinite(np.asarray(a)))[0].tolist()
        raise ValueError(f"{who}: {name} must be finite, got {a[tuple(where)]} at index {where}.")
    return a


def _as_output(who: str, name: str, a: Any) -> Array:
    """An output as an array, which must be floating."""
    a = jnp.asarray(a)
    if not is_floating(a):
        raise TypeError(f"{who}: {name} must be floating to have a derivative, got {a.dtype}.")
    return a
