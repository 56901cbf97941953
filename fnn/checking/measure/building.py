"""How a function and its hand-written backward, of any pytrees, become a problem.

What is no array (a string, a flag, a whole number, a function) stays where it is; functions
of numpy are called from inside; an integer in y has no derivative.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from fnn.checking.measure.foreign import traceable
from fnn.checking.measure.problem import Leaves, Problem, Tree, autodiff, substitute, traced
from fnn.errors import dotted, other_node
from fnn.numerics import is_floating


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
    argument has no gradient: its cotangent may be None, or anything; nor has what is no array.

    Raises:
        TypeError: for inputs or outputs without a derivative, an f that JAX cannot trace.
    """
    every, values, tree = flatten(args, names)
    first = len(args) if differentiated is None else differentiated
    n = len(jax.tree.leaves(args[:first]))
    arrays = [i for i, a in enumerate(values) if not is_static(a)]
    leaves = [as_leaf(who, every[i], values[i], convert=i < n) for i in arrays]
    wrt = tuple(k for k, i in enumerate(arrays) if i < n and is_floating(leaves[k]))
    if not wrt:
        kinds = [f"{every[i]} {a.dtype}" for i, a in zip(arrays, leaves, strict=True)]
        raise TypeError(
            f"{who}: nothing to differentiate, no argument has a floating-point array "
            f"({', '.join(kinds) or 'there are none'}); convert one with .astype(float)."
        )
    wanted = [every[arrays[k]] for k in wrt]

    def full(leaves):
        """The arguments, with what is no array where it was."""
        return tree.unflatten(substitute(values, tuple(arrays), leaves))

    contract = bool(options.get("inputs"))  # a layer or a loss must trace
    run, shapes = flat_forward(who, f, full, leaves, contract=contract)
    back = flat_backward(backward, full, leaves, completed(run, leaves, shapes), contract=contract)

    def forward(leaves):
        y = map(jnp.asarray, jax.tree.leaves(run(leaves)))
        return [a for a in y if is_floating(a)]

    def by_hand(leaves, dy):
        result = back(leaves, completed(run, leaves, shapes, dy))
        return cotangents(who, result, full(leaves)[:first], names[:first], wanted)

    reference = functools.partial(autodiff, forward, wrt)
    return Problem(who, leaves, wrt, tuple(wanted), forward, by_hand, reference, **options)


def flat_forward(
    who: str,
    f: Callable[..., Tree],
    full: Callable[[Leaves], Any],
    leaves: Leaves,
    *,
    contract: bool,
) -> tuple[Callable[[Leaves], Tree], Tree]:
    """f of the leaves, called if it is numpy's, and the shapes of y."""

    def ours(leaves):
        return f(*full(leaves))

    run = ours if contract else traceable(ours, leaves)
    shapes = traced(who, run, (leaves,))
    check_outputs(who, shapes)
    return run, shapes


def flat_backward(
    backward: Callable[..., Tree],
    full: Callable[[Leaves], Any],
    leaves: Leaves,
    dy: Tree,
    *,
    contract: bool,
) -> Callable[[Leaves, Tree], Tree]:
    """backward of the leaves, called if it is numpy's."""

    def ours(leaves, dy):
        return backward(*full(leaves), dy)

    return ours if contract else traceable(ours, leaves, dy)


def is_static(leaf: Any) -> bool:
    """Whether an argument's leaf is no array: a string, a flag, a whole number, a function."""
    return isinstance(leaf, str | bytes | bool | int | np.dtype | type) or callable(leaf)


def completed(
    f: Callable[[Leaves], Tree], leaves: Leaves, shapes: Tree, dy: Leaves | None = None
) -> Tree:
    """dy like y, 1 by default; an integer leaf has no derivative and stands as it is in y."""
    y = shapes if all(map(is_floating, jax.tree.leaves(shapes))) else f(leaves)
    rest = iter(dy or [])

    def of(s, a):
        if not is_floating(s):
            return a
        return np.ones(s.shape, s.dtype) if dy is None else next(rest)

    return jax.tree.map(of, shapes, y)


def check_outputs(who: str, y: Tree) -> None:
    """Raise a TypeError unless some output is floating."""
    names, outputs, _ = flatten((y,), ("y",))
    if not any(map(is_floating, outputs)):
        kinds = ", ".join(str(a.dtype) for a in outputs) or "nothing"
        raise TypeError(
            f"{who}: {', '.join(names) or 'y'} must be floating to have a derivative, got {kinds}"
            f"{'; give its real and imaginary parts' if 'complex' in kinds else ''}."
        )


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
