"""What is measured, as records, and the plain questions that are asked of it.

A gradient by hand, the reference, and what the values say stand side by side, at every
point. `measuring` fills the records, `oracles` settles which reference counts.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.comparison import EPS, Gap, gap, host, scale_of
from fnn.checking.measure.points import OFF, SMOOTH, SPECIAL, Point, signed
from fnn.checking.measure.problem import Leaves, Problem, compiled
from fnn.checking.measure.taylor import SHIFTS, Order, coordinates, order, profile
from fnn.numerics import is_floating

MOVES = 5  # by their own rounding, of all numbers at once
SLIGHT = 1e-6  # relative to the largest gradient: an error that may be rounding


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


Orders = dict[str, tuple[tuple[Order, Order], ...]]
Disputed = dict[int, dict[str, np.ndarray]]


class Facts(NamedTuple):
    """Everything that was measured."""

    problem: Problem
    programs: Programs
    points: dict[str, Point]
    results: dict[str, Result]  # of every point
    eps: float  # the rounding unit of what is computed inside
    ways: dict[str, Any]  # to the same numbers: see ways.ways_of
    errors: dict[str, str]  # of the ways that did not run
    raised: dict[str, str]  # the cases at which the function raises, and what
    orders: Orders  # by case, of each leaf: by hand, reference
    disputed: Disputed  # by leaf and case: another reference, where nothing decides
    stops: bool = False  # whether a stop_gradient inside changes the derivative
    unsure: bool = False  # whether one may do so
    followed: bool = True  # whether autodiff can follow the forward
    loops: bool = False  # whether a while loop inside might not end where nobody has been
    plain: bool = True  # whether the reference is made of JAX's own rules alone
    aside: bool = False  # whether the values contradict a derivative of the forward's own
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
        return [case for case in (*SPECIAL, OFF) if case in self.results]

    @property
    def outside(self) -> list[str]:
        """The cases at which the forward, or what it is compared with, is not finite."""
        results = ((case, self.results[case]) for case in (*self.smooth, *self.special))
        return [c for c, r in results if not all(np.isfinite(a).all() for a in r.y or r.truth)]

    @property
    def inside(self) -> list[str]:
        """The cases in float64 at which there is something to compare.

        Far out rounding is larger than what is left of a derivative.
        """
        left = (*self.outside, *self.unasked, *(("far",) if self.eps > EPS else ()))
        return [case for case in (*self.smooth, *self.special) if case not in left]

    @property
    def unasked(self) -> list[str]:
        """The cases at which there is the forward's own word alone, and nobody else to ask."""
        return self.special if self.loops and not self.plain else []

    @property
    def askable(self) -> list[str]:
        """The cases around which the function may be moved."""
        return [case for case in self.inside if case in SMOOTH or not self.loops]

    def contradicted(self, case: str, j: int) -> bool:
        """Whether the values contradict reference j at this case."""
        if self.stops or case not in self.orders:
            return False
        truth = self.orders[case][j][1]
        if not np.isfinite(truth.predicted):
            return not self.followed or case in SMOOTH
        return not truth.right and not truth.kink


def programs_of(problem: Problem) -> Programs:
    """The programs of a problem, not yet compiled."""
    return Programs(
        compiled(problem, partial(one_point, problem)),
        compiled(problem, partial(profile, problem)),
        compiled(problem, partial(coordinates, problem), static_argnums=0),
    )


def one_point(problem: Problem, leaves: Leaves, dy: Leaves) -> tuple[Leaves, Leaves, Leaves]:
    """y, the hand-written gradient, the reference."""
    return problem.forward(leaves), problem.backward(leaves, dy), problem.reference(leaves, dy)


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
    return v, along(facts, case, v, np.eye(len(v)))


def along(facts: Facts, case: str, v: list[np.ndarray], masks: np.ndarray) -> np.ndarray:
    """φ along v, with some leaves moved; NaN where the function raises."""
    point = facts.points[case]
    try:
        return np.asarray(facts.programs.along(point.leaves, point.dy, v, masks))
    except Exception:  # outside of its domain a function may raise anything
        return np.full((len(masks), len(SHIFTS), 2), np.nan)


def orders_at(facts: Facts, case: str, pairs: Any) -> tuple[tuple[Order, ...], ...]:
    """The orders of several gradients of each leaf, along two directions.

    The one that is not right counts.
    """
    worst = None
    for seed in (0, 1):
        v, values = directions(facts, case, seed)
        here = [
            tuple(order(values[j], dot(g, v[j]), facts.eps) for g in several)
            for j, several in enumerate(pairs)
        ]
        worst = tuple(
            tuple(a if not a.right else b for a, b in zip(*both, strict=True))
            for both in zip(worst or here, here, strict=True)
        )
    return worst or ()


def noise(facts: Facts, case: str, j: int, *, own: bool) -> np.ndarray:
    """How far reference j moves when every number is moved by its own rounding.

    With `own` the moves of the hand-written gradient count, too: where it is compared with
    itself, and far out, where a softmax saturates: there a reference may be 0 without any
    rounding, and the hand-written gradient a difference of large numbers.
    """
    moves = []
    for near in moved(facts, case):
        moves.append(abs(host(near[2])[j] - facts.results[case].truth[j]))
        if own:
            moves.append(abs(host(near[1])[j] - facts.results[case].hand[j]))
    largest = np.nan_to_num(np.max(moves, 0))
    return np.maximum(largest, np.median(largest)) if largest.size else largest


def moved(facts: Facts, case: str) -> Iterator[tuple[Leaves, Leaves, Leaves]]:
    """What comes out when every number is moved by its own rounding, a few times."""
    rng, point = np.random.default_rng(1), facts.points[case]

    def near(a):
        if not is_floating(a):
            return a
        wide = np.asarray(a, np.float64) * (1 + facts.eps * signed(a.shape, rng))
        return jnp.asarray(wide.astype(a.dtype))

    for _ in range(MOVES):
        yield facts.programs.gradients([*map(near, point.leaves)], [*map(near, point.dy)])


def compared(
    facts: Facts, case: str, j: int, got: Any, want: Any, scale: float, *, eps: float | None = None
) -> Gap:
    """How gradient j differs from what it should be; a slight error may be rounding."""
    eps = facts.eps if eps is None else eps
    found = gap(got, want, scale, eps)
    if not found.wrong.any() or found.error * scale >= SLIGHT * max(scale, largest(facts, case)):
        return found
    same = want is facts.results[case].truth[j]  # else the numbers have another place or way
    rounding = noise(facts, case, j, own=case == "far" or not same)
    return gap(got, want, scale, eps, rounding if same else rounding.max())


def largest(facts: Facts, case: str) -> float:
    """The largest entry of all gradients."""
    return scale_of(facts.results[case].truth)


def dot(a: Any, b: Any) -> float:
    """a·b."""
    with np.errstate(invalid="ignore"):
        return float((np.asarray(a) * np.asarray(b)).sum())


def root_mean_square(a: Any) -> float:
    """The root mean square of a, or 1 where that is 0."""
    return float(np.sqrt(np.mean(np.asarray(a) ** 2))) or 1.0 if np.size(a) else 1.0
