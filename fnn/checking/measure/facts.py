"""Everything a check measures, in a few compiled programs.

1. one point: y, the hand-written gradient and the reference; run at every point
2. other ways to the same numbers (`ways`)
3. φ along directions, for the order test; along single entries, where that is asked

Compiling costs more than computing here. A quick check compiles as little as it can: the
first program and, if all looks right, the gradient in float32. If something does not, or if
the forward has derivatives of its own, which autodiff would believe, the order test decides.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.comparison import Gap, gap, host, scale_of
from fnn.checking.measure.eager import check_finite, eager, first_line, guarded
from fnn.checking.measure.jaxprs import precision, uses
from fnn.checking.measure.points import SMOOTH, SPECIAL, Point, points, signed
from fnn.checking.measure.problem import Leaves, Problem, compiled, traced
from fnn.checking.measure.taylor import Order, coordinates, order, profile
from fnn.checking.measure.ways import in_one_program, one_example, ways_of
from fnn.numerics import is_floating

SLIGHT = 1e-6  # relative to the largest gradient: an error that may be rounding
QUICK = ("as given", "nearby 1", "zeros", "ties", "float32")


class Result(NamedTuple):
    """What comes out at one point."""

    y: list[np.ndarray]
    hand: list[np.ndarray]
    truth: list[np.ndarray]


class Programs(NamedTuple):
    """The compiled programs of a problem; each is compiled when it is first run."""

    gradients: Callable[[Leaves, Leaves], tuple[Leaves, Leaves, Leaves]]  # y, by hand, reference
    along: Callable[..., Any]  # φ along a direction: taylor.profile
    entries: Callable[..., Any]  # φ along single entries: taylor.coordinates


class Facts(NamedTuple):
    """Everything that was measured."""

    problem: Problem
    programs: Programs
    points: dict[str, Point]
    results: dict[str, Result]  # of every point
    eps: float  # the rounding unit of what is computed inside
    stops: bool  # whether there is a stop_gradient inside
    ways: dict[str, Any]  # to the same numbers: see ways.ways_of
    errors: dict[str, str]  # of the ways that did not run
    orders: tuple[tuple[Order, Order], ...] = ()  # of each leaf: by hand, reference
    left_out: tuple[str, ...] = ()  # by a quick check

    @property
    def given(self) -> Result:
        """What comes out where it was given."""
        return self.results["as given"]

    @property
    def smooth(self) -> list[str]:
        """The cases at which a mistake is measured and explained."""
        return [case for case in SMOOTH if case in self.results]

    @property
    def special(self) -> list[str]:
        """The other cases in float64."""
        return [case for case in SPECIAL if case in self.results]


def measure(problem: Problem, seed: int, *, quick: bool = False) -> Facts:
    """Run the problem at every point and in every way."""
    rng = np.random.default_rng(seed)
    every = points(problem, jax.eval_shape(problem.forward, problem.leaves), rng)
    given, names = every[0], tuple(p.case for p in every)
    chosen = {p.case: p for p in every if not quick or p.case in QUICK}
    ways = {} if quick else {"eager": eager(problem, given.dy)}
    arguments = (problem.leaves, given.dy)
    guarded(problem, lambda: traced(problem.who, problem.backward, arguments, "backward"))
    problem = with_reference(problem, given)
    programs = Programs(
        compiled(problem, partial(one_point, problem)),
        compiled(problem, partial(profile, problem)),
        compiled(problem, partial(coordinates, problem), static_argnums=0),
    )
    results = {
        case: Result(*map(host, programs.gradients(p.leaves, p.dy))) for case, p in chosen.items()
    }
    check_finite(problem, results["as given"].y)
    facts = Facts(problem, programs, chosen, results, *inside(problem, given), ways, {})
    asked = ways_of(problem)
    if not quick:
        return with_orders(with_ways(facts, asked, rng))
    facts = with_orders(facts) if doubtful(facts) else with_ways(facts, ("float32",), rng)
    done = {*facts.smooth, *facts.special, *facts.ways, *facts.errors}
    left_out = dict.fromkeys(case for case in (*names, *asked) if case not in done)
    return facts._replace(left_out=(*left_out, *(() if facts.orders else ("differences",))))


def one_point(problem: Problem, leaves: Leaves, dy: Leaves) -> tuple[Leaves, Leaves, Leaves]:
    """y, the hand-written gradient, the reference."""
    return problem.forward(leaves), problem.backward(leaves, dy), problem.reference(leaves, dy)


def with_reference(problem: Problem, given: Point) -> Problem:
    """The problem, with a reference of NaN where autodiff cannot follow the forward."""
    try:
        jax.eval_shape(problem.reference, given.leaves, given.dy)
    except Exception:  # a callback has no derivative; the order test and differences remain
        shapes = [given.leaves[i] for i in problem.wrt]
        return replace(problem, reference=lambda leaves, dy: [jnp.nan * a for a in shapes])
    return problem


def inside(problem: Problem, given: Point) -> tuple[float, bool]:
    """The rounding unit inside the function, and whether it cuts derivatives on purpose.

    A backward may not round more than its forward.
    """
    if problem.compares:
        program = jax.make_jaxpr(problem.reference)(given.leaves, given.dy)
        return precision(program, problem.wrt), False
    program = jax.make_jaxpr(problem.forward)(given.leaves)
    return precision(program, problem.wrt), uses(program.jaxpr, "stop_gradient")


def doubtful(facts: Facts) -> bool:
    """Whether a gradient looks wrong, or the forward has derivatives of its own inside."""
    problem = facts.problem
    program = jax.make_jaxpr(problem.forward)(problem.leaves)
    if any(uses(program.jaxpr, primitive) for primitive in ("custom_vjp", "callback")):
        return True
    if not all(np.isfinite(truth).all() for truth in facts.given.truth):
        return True
    return any(
        compared(facts, case, j, hand, truth, scale_of([truth])).wrong.any()
        for case in (*facts.smooth, *facts.special)
        for j, (hand, truth) in enumerate(zip(*facts.results[case][1:], strict=True))
    )


def with_ways(facts: Facts, chosen: tuple[str, ...], rng: np.random.Generator) -> Facts:
    """The facts and what comes of the chosen ways."""
    problem, points = facts.problem, facts.points
    given = points["as given"]
    ways, errors = in_one_program(problem, points, chosen, rng)
    if "1000 dy" in chosen:
        scaled = [jnp.asarray(1000 * np.asarray(d)) for d in given.dy]
        ways["1000 dy"] = host(facts.programs.gradients(given.leaves, scaled)[1])
    if "one example" in chosen and problem.batched:
        try:
            alone = one_example(problem, facts.programs.gradients, given)
            ways |= {} if alone is None else {"one example": alone}
        except Exception as error:  # whatever a person's function raises is the finding
            errors["one example"] = first_line(error)
    return facts._replace(ways=facts.ways | ways, errors=facts.errors | errors)


def with_orders(facts: Facts) -> Facts:
    """The facts and the orders of the hand-written and the reference gradient of each leaf.

    Along two directions, away from the zeros and ties that were given, if the function
    exists there; the one that is not right counts.
    """
    if facts.problem.compares:
        return facts
    exists = all(np.isfinite(y).all() for y in facts.results["nearby 1"].y)
    case = "nearby 1" if exists else "as given"
    result, worst = facts.results[case], None
    for seed in (0, 1):
        v, values = directions(facts, case, seed)
        here = [
            tuple(order(values[j], dot(g, v[j]), facts.eps) for g in pair)
            for j, pair in enumerate(zip(result.hand, result.truth, strict=True))
        ]
        worst = [
            tuple(a if not a.right else b for a, b in zip(*pairs, strict=True))
            for pairs in zip(worst or here, here, strict=True)
        ]
    return facts._replace(orders=tuple(worst or ()))


def directions(
    facts: Facts, case: str, seed: int, only: dict[int, np.ndarray] | None = None
) -> tuple[list[np.ndarray], np.ndarray]:
    """One random direction per leaf, and φ along each: [leaves, 1 + 2 T, 2].

    `only` keeps some entries of a gradient's direction, 1, and drops others, 0.
    """
    rng, point = np.random.default_rng(seed), facts.points[case]
    leaves = [point.leaves[i] for i in facts.problem.wrt]
    v = [root_mean_square(a) * signed(a.shape, rng) for a in leaves]
    for j, keep in (only or {}).items():
        v[j] = v[j] * keep.reshape(v[j].shape)
    return v, np.asarray(facts.programs.along(point.leaves, point.dy, v, np.eye(len(v))))


def noise(facts: Facts, case: str, j: int) -> np.ndarray:
    """How far reference j moves when every number is moved by its own rounding.

    Far out, where a softmax saturates, a reference may be 0 without any rounding, and the
    hand-written gradient a difference of large numbers: there its own moves count, too.
    """
    rng, point, moves = np.random.default_rng(1), facts.points[case], []

    def moved(a):
        if not is_floating(a):
            return a
        wide = np.asarray(a, np.float64) * (1 + facts.eps * signed(a.shape, rng))
        return jnp.asarray(wide.astype(a.dtype))

    for _ in range(3):
        near = facts.programs.gradients([*map(moved, point.leaves)], [*map(moved, point.dy)])
        moves.append(abs(host(near[2])[j] - facts.results[case].truth[j]))
        if case == "far":
            moves.append(abs(host(near[1])[j] - facts.results[case].hand[j]))
    largest = np.nan_to_num(np.max(moves, 0))
    return np.maximum(largest, np.median(largest)) if largest.size else largest


def compared(
    facts: Facts, case: str, j: int, got: Any, want: Any, scale: float, *, eps: float | None = None
) -> Gap:
    """How gradient j differs from what it should be; a slight error may be rounding."""
    eps = facts.eps if eps is None else eps
    found = gap(got, want, scale, eps)
    if not found.wrong.any() or found.error * scale >= SLIGHT * max(scale, largest(facts, case)):
        return found
    rounding = noise(facts, case, j)
    same = want is facts.results[case].truth[j]  # else the numbers have another place or way
    return gap(got, want, scale, eps, rounding if same else rounding.max())


def largest(facts: Facts, case: str) -> float:
    """The largest entry of all gradients."""
    return scale_of(facts.results[case].truth)


def dot(a: Any, b: Any) -> float:
    """a·b."""
    return float((np.asarray(a) * np.asarray(b)).sum())


def root_mean_square(a: Any) -> float:
    """The root mean square of a, or 1 where that is 0."""
    return float(np.sqrt(np.mean(np.asarray(a) ** 2))) or 1.0 if np.size(a) else 1.0
