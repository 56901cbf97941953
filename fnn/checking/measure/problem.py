"""A problem: a function, its hand-written backward and a point, in one flat form.

Whatever is checked (a layer, a loss, a function and its gradient) becomes a function of a
flat list of arrays, `leaves`, of which some, `wrt`, have a gradient:

    y  = forward(leaves)             a list of arrays, the floating ones
    dθ = backward(leaves, dy)        by hand, one for every leaf in wrt

and the reference, by autodiff, is `reference(leaves, dy)`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
from jax import Array

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


def traces(f: Callable[..., Tree], *args: Tree) -> bool:
    """Whether JAX can follow f."""
    try:
        jax.eval_shape(f, *args)
    except Exception:  # of any kind
        return False
    return True


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
    except Exception as error:
        error.add_note(f"{who}: {what} runs in float64 here (jax.enable_x64); does it take that?")
        raise
