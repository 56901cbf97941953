"""Everything a check measures, in three compiled programs.

1. one point: y, the hand-written gradient and the reference; run at every point
2. other ways to the same numbers: vmap, single examples, an extra axis, lower precision
3. φ along directions, for the order test

Compiling costs more than computing here. A way that fails to run is a fact too: its
message stands in `errors`, the others go on.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.compare import cast_all, host, precision, uses
from fnn.checking.look import Look, look
from fnn.checking.points import ROUGH, Point, points, signed
from fnn.checking.problem import Leaves, Problem, traced
from fnn.checking.taylor import Order, coordinates, order, profile
from fnn.numerics import is_floating
from fnn.records import Array

SMALL = 2**16  # entries up to which compiling costs more than computing


class Result(NamedTuple):
    """What comes out at one point."""

    y: list[np.ndarray]
    hand: list[np.ndarray]
    truth: list[np.ndarray]


class Programs:
    """The compiled programs of a problem, each compiled when it is first used."""

    def __init__(self, problem: Problem):
        """Of this problem."""
        self.problem = problem
        self.at_points = compiled(problem, one_point(problem))
        self.along = compiled(problem, profile(problem))
        self._entries: dict[int, Callable[..., Array]] = {}

    def entries(self, j: int) -> Callable[..., Array]:
        """φ along single entries of the leaf that gradient j belongs to."""
        if j not in self._entries:
            program = coordinates(self.problem, self.problem.wrt[j])
            self._entries[j] = compiled(self.problem, program)
        return self._entries[j]

    def noise(self, point: Point, truth: np.ndarray, j: int, eps: float) -> np.ndarray:
        """How far reference j moves when every number is moved by its own rounding."""
        rng, moves = np.random.default_rng(1), []

        def moved(a):
            if not is_floating(a):
                return a
            wide = a.astype(jnp.float64)
            return (wide * (1 + eps * signed(a.shape, rng))).astype(a.dtype)

        for _ in range(3):
            near = self.at_points([*map(moved, point.leaves)], [*map(moved, point.dy)])
            moves.append(abs(host(near[2])[j] - truth))
        largest = np.nan_to_num(np.max(moves, 0))
        return np.maximum(largest, np.median(largest)) if largest.size else largest

    def directions(
        self, point: Point, seed: int, inside: dict[int, np.ndarray] | None = None
    ) -> tuple[Leaves, np.ndarray]:
        """One random direction per leaf, and φ along each: [leaves, 1 + 2 T, 2].

        `inside` keeps some entries of a gradient's direction, 1, and drops others, 0.
        """
        rng = np.random.default_rng(seed)
        moved = [point.leaves[i] for i in self.problem.wrt]
        v = [_size(a) * signed(a.shape, rng) for a in moved]
        for j, keep in (inside or {}).items():
            v[j] = v[j] * keep.reshape(v[j].shape)
        return v, np.asarray(self.along(point.leaves, point.dy, v, jnp.eye(len(v))))


class Facts(NamedTuple):
    """Everything that was measured."""

    programs: Programs
    points: dict[str, Point]
    look: Look
    results: dict[str, Result]  # of every point
    ways: dict[str, Any]  # vmap, one example, another axis, float32, bfloat16, 1000 dy
    errors: dict[str, str]  # of the ways that did not run
    orders: list[tuple[Order, Order]]  # of each leaf: of the hand-written and the reference
    eps: float  # the rounding unit of what is computed inside
    stops: bool  # whether there is a stop_gradient inside


def measure(problem: Problem, seed: int) -> Facts:
    """Run the problem at every point and in every way."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(problem.forward, problem.leaves)
    chosen = points(problem, shapes, rng)
    given = chosen[0]
    seen = look(problem, given.dy)
    traced(problem.who, problem.backward, (problem.leaves, given.dy), "backward")
    problem = with_reference(problem, given)
    eps = rounding(problem, given)
    programs = Programs(problem)
    results = {p.case: Result(*map(host, programs.at_points(p.leaves, p.dy))) for p in chosen}
    by_case = {p.case: p for p in chosen}
    ways, errors = other_ways(problem, by_case, rng)
    if not problem.one_dy and not problem.compares:
        ways["1000 dy"] = host(programs.at_points(given.leaves, [1000 * d for d in given.dy])[1])
    if problem.batched:
        try:
            ways["one example"] = rows(programs, given)
        except Exception as error:  # whatever a person's function raises is the finding
            errors["one example"] = _first_line(error)
    orders = [] if problem.compares else order_test(programs, *smooth(by_case, results), eps)
    stops = not problem.compares and stops_gradient(problem, given)
    return Facts(programs, by_case, seen, results, ways, errors, orders, eps, stops)


def smooth(points: dict[str, Point], results: dict[str, Result]) -> tuple[Point, Result]:
    """A point away from the zeros and ties that were given, if the function exists there."""
    inside = all(np.isfinite(y).all() for y in results["nearby 1"].y)
    case = "nearby 1" if inside else "as given"
    return points[case], results[case]


def stops_gradient(problem: Problem, given: Point) -> bool:
    """Whether the forward cuts derivatives on purpose."""
    program = jax.make_jaxpr(problem.forward)(given.leaves)
    return uses(program.jaxpr, "stop_gradient")


def with_reference(problem: Problem, given: Point) -> Problem:
    """The problem, with a reference of NaN where autodiff cannot follow the forward."""
    try:
        jax.eval_shape(problem.reference, given.leaves, given.dy)
    except Exception:  # a callback has no derivative; the order test and differences remain
        shapes = [given.leaves[i] for i in problem.wrt]
        return replace(problem, reference=lambda leaves, dy: [jnp.nan * a for a in shapes])
    return problem


def compiled(problem: Problem, f: Callable[..., Any]) -> Callable[..., Any]:
    """f under jit; small problems compile without optimisation, which is faster in all."""
    small = sum(a.size for a in problem.leaves) < SMALL
    options: Any = {"xla_backend_optimization_level": 0} if small else None
    return jax.jit(f, compiler_options=options)


def one_point(problem: Problem) -> Callable[[Leaves, Leaves], tuple[Leaves, Leaves, Leaves]]:
    """(leaves, dy) → y, the hand-written gradient, the reference."""

    def run(leaves, dy):
        return problem.forward(leaves), problem.backward(leaves, dy), problem.reference(leaves, dy)

    return run


def rounding(problem: Problem, given: Point) -> float:
    """The rounding unit inside the forward; a backward may not round more."""
    if problem.compares:
        program = jax.make_jaxpr(problem.reference)(given.leaves, given.dy)
    else:
        program = jax.make_jaxpr(problem.forward)(given.leaves)
    return precision(program, problem.wrt)


def other_ways(
    problem: Problem, by_case: dict[str, Point], rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, str]]:
    """The other ways to the same numbers, and the messages of those that fail."""
    errors: dict[str, str] = {}
    plans: dict[str, Callable[..., Any]] = {"vmap": vmapped} if problem.wrt else {}
    if problem.widens:
        plans["another axis"] = functools.partial(widened, rng=rng)
    for dtype in ROUGH:
        plans[dtype] = functools.partial(rough, dtype=dtype)

    def run(chosen, data):
        made = {}
        for name in chosen:
            try:
                made[name] = plans[name](problem, data)
            except Exception as error:  # whatever a person's function raises is the finding
                errors[name] = _first_line(error)
        return {name: value for name, value in made.items() if value is not None}

    def together(chosen):
        data = {p.case: (p.leaves, p.dy) for p in by_case.values()}
        return jax.device_get(compiled(problem, functools.partial(run, chosen))(data))

    try:
        return together(tuple(plans)), errors
    except Exception:  # an operation that does not compile, such as a bfloat16 inverse
        ways: dict[str, Any] = {}
        for name in plans:
            with contextlib.suppress(Exception):
                ways |= together((name,))
        return ways, errors


Data = dict[str, tuple[Leaves, Leaves]]  # case → leaves and dy


def vmapped(problem: Problem, data: Data) -> Leaves | None:
    """The hand-written gradients of two points at once, [2, ...] each."""
    pair = data["as given"], data["nearby 1"]
    values = [jnp.stack([leaves[i] for leaves, _ in pair]) for i in problem.wrt]
    try:
        jax.eval_shape(jax.vmap(lambda v: problem.forward(problem.at(v))), values)
    except Exception:  # a forward without vmap, such as a plain callback, needs no backward with
        return None
    dy = [jnp.stack(both) for both in zip(*(d for _, d in pair), strict=True)]
    return jax.vmap(lambda v, d: problem.backward(problem.at(v), d))(values, dy)


def rows(programs: Programs, given: Point) -> tuple[list[np.ndarray], ...]:
    """y, gradient and reference of the first and the last example alone, [2, ...] each."""
    batched = programs.problem.batched
    ends = []
    for row in (slice(0, 1), slice(-1, None)):
        leaves = [a[row] if i in batched else a for i, a in enumerate(given.leaves)]
        shapes = jax.eval_shape(programs.problem.forward, leaves)  # all examples may share a y
        dy = [d[row] if d.shape != y.shape else d for d, y in zip(given.dy, shapes, strict=True)]
        ends.append(Result(*map(host, programs.at_points(leaves, dy))))
    return tuple(
        [np.stack(pair) for pair in zip(*both, strict=True)] for both in zip(*ends, strict=True)
    )


def widened(
    problem: Problem, data: Data, *, rng: np.random.Generator
) -> tuple[Leaves, Leaves] | None:
    """Gradient and reference with an axis of 2 after the batch; None if forward takes none."""
    leaves = [
        jnp.stack([a, jnp.flip(a, 0)], 1) if i in problem.batched else a
        for i, a in enumerate(data["as given"][0])
    ]
    try:
        shapes = jax.eval_shape(problem.forward, leaves)
    except Exception:  # a layer may well refuse the axis
        return None
    dy = [signed(a.shape, rng).astype(a.dtype) for a in shapes]
    return problem.backward(leaves, dy), problem.reference(leaves, dy)


def rough(problem: Problem, data: Data, *, dtype: str) -> Leaves | None:
    """The hand-written gradient computed in dtype; None if forward does not run in it."""
    leaves = cast_all(data[dtype][0], dtype)
    try:
        shapes = jax.eval_shape(problem.forward, leaves)
    except Exception:  # not every operation exists in bfloat16
        return None
    dy = [d.astype(a.dtype) for d, a in zip(data[dtype][1], shapes, strict=True)]
    return problem.backward(leaves, dy)


def order_test(
    programs: Programs, given: Point, result: Result, eps: float
) -> list[tuple[Order, Order]]:
    """The orders of the hand-written and the reference gradient of each leaf.

    Along two directions; the one that is not right counts.
    """
    worst: list[tuple[Order, Order]] = []
    for seed in (0, 1):
        v, values = programs.directions(given, seed)
        here = [
            (order(values[j], dot(hand, v[j]), eps), order(values[j], dot(truth, v[j]), eps))
            for j, (hand, truth) in enumerate(zip(result.hand, result.truth, strict=True))
        ]
        worst = [
            (a if not a.right else c, b if not b.right else d)
            for (a, b), (c, d) in zip(worst or here, here, strict=True)
        ]
    return worst


def dot(a: Any, b: Any) -> float:
    """a·b."""
    return float((np.asarray(a) * np.asarray(b)).sum())


def _size(a: Any) -> float:
    """The root mean square of a, or 1."""
    return float(np.sqrt(np.mean(np.asarray(a) ** 2))) or 1.0 if np.size(a) else 1.0


def _first_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
