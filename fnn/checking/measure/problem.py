"""A problem: a function, its hand-written backward and a point, in one flat form.

Whatever is checked (a layer, a loss, a function and its gradient) becomes a function of a
flat list of arrays, `leaves`, of which some, `wrt`, have a gradient:

    y  = forward(leaves)             a list of arrays, the floating ones
    dθ = backward(leaves, dy)        by hand, one for every leaf in wrt

and the reference, by autodiff, is `reference(leaves, dy)`.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from fnn.errors import dotted, other_node
from fnn.numerics import is_floating

Leaves = list[Array]
Tree = Any  # nested containers of arrays
UNOPTIMIZED: Any = {"xla_backend_optimization_level": 0}
SMALL = 2**16  # entries up to which compiling costs more than computing


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
    square: Callable[[], "Problem | None"] | None = None  # with equal sizes; default: cropped
    compares: bool = False  # whether backward is no derivative, only to be like reference
    one_dy: bool = False  # whether dy is 1: a scalar function

    @property
    def keeps_contract(self) -> bool:
        """Whether it is a layer or a loss, which must run in float32 and bfloat16 too."""
        return bool(self.inputs)


def autodiff(
    forward: Callable[[Leaves], Leaves], wrt: tuple[int, ...], leaves: Leaves, dy: Leaves
) -> Leaves:
    """The gradient of forward by jax.vjp."""

    def of(values):
        return forward(substitute(leaves, wrt, values))

    return jax.vjp(of, [leaves[i] for i in wrt])[1](dy)[0]


def substitute(leaves: Leaves, wrt: tuple[int, ...], values: Leaves) -> Leaves:
    """The leaves, with `values` for those in wrt."""
    changed = dict(zip(wrt, values, strict=True))
    return [changed.get(i, a) for i, a in enumerate(leaves)]


def from_vjp(
    who: str,
    f: Callable[..., Tree],
    backward: Callable[..., Tree],
    args: tuple[Tree, ...],
    names: tuple[str, ...],
    *,
    differentiated: int | None = None,
    **options: Any,
) -> Problem:
    """The problem of f(*args) → y and backward(*args, dy) → one cotangent for each arg.

    With `differentiated` = n only the first n arguments have one. An integer leaf of an
    argument has no gradient: its cotangent may be None, or anything. An integer leaf of y has
    none either: in dy it stands as it is in y.

    Raises:
        TypeError: for inputs or outputs without a derivative, an f that JAX cannot trace.
    """
    every, values, tree = flatten(args, names)
    first = len(args) if differentiated is None else differentiated
    n = len(jax.tree.leaves(args[:first]))
    leaves = [
        as_leaf(who, name, a, convert=i < n)
        for i, (name, a) in enumerate(zip(every, values, strict=True))
    ]
    wrt = tuple(i for i, leaf in enumerate(leaves[:n]) if is_floating(leaf))
    if not wrt:
        kinds = ", ".join(f"{a} {leaf.dtype}" for a, leaf in zip(every, leaves, strict=True))
        raise TypeError(
            f"{who}: nothing to differentiate, every array is integer or boolean ({kinds}); "
            "convert one with .astype(float)."
        )
    wanted = [every[i] for i in wrt]
    shapes = traced(who, f, tree.unflatten(leaves))
    check_outputs(who, shapes)

    def forward(leaves):
        y = map(jnp.asarray, jax.tree.leaves(f(*tree.unflatten(leaves))))
        return [a for a in y if is_floating(a)]

    def by_hand(leaves, dy):
        full = tree.unflatten(leaves)
        y = shapes if all(map(is_floating, jax.tree.leaves(shapes))) else f(*full)
        rest = iter(dy)
        dy = jax.tree.map(lambda s, a: next(rest) if is_floating(s) else a, shapes, y)
        return cotangents(who, backward(*full, dy), full[:first], names[:first], wanted)

    reference = functools.partial(autodiff, forward, wrt)
    return Problem(who, leaves, wrt, tuple(wanted), forward, by_hand, reference, **options)


def check_outputs(who: str, y: Tree) -> None:
    """Raise a TypeError unless some output is floating."""
    names, outputs, _ = flatten((y,), ("y",))
    if not any(map(is_floating, outputs)):
        kinds = ", ".join(str(a.dtype) for a in outputs) or "nothing"
        raise TypeError(
            f"{who}: {', '.join(names) or 'y'} must be floating to have a derivative, got {kinds}."
        )


def compiled(problem: Problem, f: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """f under jit; small problems compile without optimisation, which is faster in all."""
    small = sum(a.size for a in problem.leaves) < SMALL
    return jax.jit(f, compiler_options=UNOPTIMIZED if small else None, **options)


def squared(problem: Problem) -> Problem | None:
    """The problem with all sizes equal, if it can be."""
    if problem.square is not None:
        return problem.square()
    return None if problem.compares else cropped(problem)


def cropped(problem: Problem) -> Problem | None:
    """The problem with every axis of every leaf cut to the smallest size above 1."""
    sizes = {n for a in problem.leaves for n in a.shape if n > 1}
    if len(sizes) < 2:  # there is nothing to cut
        return None
    n = min(sizes)
    return replace(problem, leaves=[a[tuple(slice(n) for _ in a.shape)] for a in problem.leaves])


def cotangents(
    who: str, result: Tree, args: tuple[Tree, ...], names: tuple[str, ...], wanted: list[str]
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
    who: str, what: str, result: Tree, args: Tree, names: tuple[str, ...], wanted: list[str]
) -> Leaves:
    """The arrays of `result` that are `wanted`, if they have the names and shapes of `args`."""
    got, want = (dict(zip(*flatten(tuple(a), names)[:2], strict=True)) for a in (result, args))
    for name in wanted:
        if name not in got:
            pairs = zip(names, result, args, strict=True)
            other = [found for n, a, b in pairs if (found := other_node(n, a, b))]
            if other and len(got) == len(want):
                raise TypeError(f"{who}: {what}{other[0]} as what it belongs to.")
            raise ValueError(f"{who}: {what}{name} is missing.")
        shape, right = np.shape(got[name]), np.shape(want[name])
        if shape != right:
            raise ValueError(
                f"{who}: {what}{name} must have shape {list(right)}, "
                f"got {list(shape)}{remedy(shape, right)}."
            )
    for name in got:
        if name not in want:
            raise ValueError(f"{who}: {what}{name} is unexpected; there is none to compare with.")
    return [jnp.asarray(got[name]) for name in wanted]


def remedy(shape: tuple[int, ...], right: tuple[int, ...]) -> str:
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
    who: str, f: Callable[..., Tree], args: tuple[Tree, ...], what: str = "the function"
) -> Tree:
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


def flatten(args: tuple[Any, ...], names: tuple[str, ...]) -> tuple[list[str], list[Any], Any]:
    """The name of every leaf of args, such as params.w, the leaves, and the tree."""
    paths, tree = jax.tree_util.tree_flatten_with_path(args)
    named = [dotted(names[path[0].idx], path[1:]) for path, _ in paths]
    return named, [leaf for _, leaf in paths], tree


def as_leaf(who: str, name: str, leaf: Any, *, convert: bool = True) -> Array:
    """A leaf as an array, in float64 if it is floating and to `convert`: a target is not."""
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
    bad = np.argwhere(~np.isfinite(np.asarray(a)))
    if len(bad):
        where = bad[0].tolist()
        raise ValueError(f"{who}: {name} must be finite, got {a[tuple(where)]} at index {where}.")
    return jnp.asarray(np.asarray(a).astype(np.float64)) if convert else a
