"""The other ways to the same numbers: vmap, single examples, another axis, low precision.

A way that fails to run is a fact too: its message stands in the errors, the others go on.
A forward that does not go a way asks nothing of its backward.
"""

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.comparison import cast_all, host
from fnn.checking.measure.eager import first_line
from fnn.checking.measure.points import LOW, SMOOTH, Point, signed
from fnn.checking.measure.problem import Leaves, Problem, compiled, substitute

Points = dict[str, tuple[Leaves, Leaves]]  # case → leaves and dy


def ways_of(problem: Problem) -> tuple[str, ...]:
    """The ways that a problem is asked to go."""
    scales = not problem.one_dy and not problem.compares
    asked = {
        "eager": True,
        "vmap": bool(problem.wrt),
        "another axis": problem.widens,
        "float32": True,
        "bfloat16": True,
        "1000 dy": scales,
        "one example": bool(problem.batched),
    }
    return tuple(way for way, wanted in asked.items() if wanted)


def in_one_program(
    problem: Problem, points: dict[str, Point], chosen: tuple[str, ...], rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, str]]:
    """The ways that compile together, and the messages of those that fail."""
    errors: dict[str, str] = {}
    every: dict[str, Callable[..., Any]] = {
        "vmap": vmapped,
        "another axis": partial(widened, rng=rng),
        **{dtype: partial(low, dtype=dtype) for dtype in LOW},
    }

    def run(several, points):
        made = {}
        for way in several:
            try:
                made[way] = every[way](problem, points)
            except Exception as error:  # whatever a person's function raises is the finding
                errors[way] = first_line(error)
        return {way: value for way, value in made.items() if value is not None}

    def together(several):
        values = {case: (p.leaves, p.dy) for case, p in points.items()}
        return jax.device_get(compiled(problem, partial(run, several))(values)) if several else {}

    chosen = tuple(way for way in every if way in chosen and (way not in LOW or way in points))
    try:
        return together(chosen), errors
    except Exception:  # an operation that does not compile, such as a bfloat16 inverse
        ways: dict[str, Any] = {}
        for way in chosen:
            with contextlib.suppress(Exception):
                ways |= together((way,))
        return ways, errors


def vmapped(problem: Problem, points: Points) -> Leaves | None:
    """The hand-written gradients of two points at once, [2, ...] each; of one, if there is one."""
    pair = [points[case] for case in SMOOTH if case in points][:2]
    values = [jnp.stack([a[i] for a, _ in pair]) for i in problem.wrt]
    leaves = partial(substitute, problem.leaves, problem.wrt)
    try:
        jax.eval_shape(jax.vmap(lambda v: problem.forward(leaves(v))), values)
    except Exception:  # a forward without vmap, such as a plain callback, needs no backward with
        return None
    dy = [jnp.stack(both) for both in zip(*(d for _, d in pair), strict=True)]
    return jax.vmap(lambda v, d: problem.backward(leaves(v), d))(values, dy)


def widened(
    problem: Problem, points: Points, *, rng: np.random.Generator
) -> tuple[Leaves, Leaves] | None:
    """Gradient and reference with an axis of 2 after the batch; None if forward takes none."""
    leaves = [
        jnp.stack([a, jnp.flip(a, 0)], 1) if i in problem.batched else a
        for i, a in enumerate(points["as given"][0])
    ]
    try:
        shapes = jax.eval_shape(problem.forward, leaves)
    except Exception:  # a layer may well refuse the axis
        return None
    dy = [jnp.asarray(signed(a.shape, rng), a.dtype) for a in shapes]
    return problem.backward(leaves, dy), problem.reference(leaves, dy)


def low(problem: Problem, points: Points, *, dtype: str) -> Leaves | None:
    """The hand-written gradient computed in dtype; None if forward does not run in it."""
    leaves, dy = points[dtype]
    leaves = cast_all(leaves, dtype)
    try:
        shapes = jax.eval_shape(problem.forward, leaves)
    except Exception:  # not every operation exists in bfloat16
        return None
    return problem.backward(leaves, [d.astype(a.dtype) for d, a in zip(dy, shapes, strict=True)])


def one_example(
    problem: Problem, gradients: Callable[..., Any], given: Point
) -> tuple[list[np.ndarray], ...] | None:
    """y, gradient and reference of the first and the last example alone, [2, ...] each.

    None where examples mix and forward refuses one alone, which has no statistics.
    """
    ends = []
    for row in (slice(0, 1), slice(-1, None)):
        leaves = [a[row] if i in problem.batched else a for i, a in enumerate(given.leaves)]
        try:
            shapes = jax.eval_shape(problem.forward, leaves)  # all examples may share a y
        except Exception:  # whatever a person's function raises is the finding
            if problem.mixes_examples:
                return None
            raise
        dy = [d[row] if d.shape != y.shape else d for d, y in zip(given.dy, shapes, strict=True)]
        ends.append([host(several) for several in gradients(leaves, dy)])
    return tuple(
        [np.stack(pair) for pair in zip(*both, strict=True)] for both in zip(*ends, strict=True)
    )
