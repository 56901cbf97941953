"""Everything a check measures, in a few compiled programs.

1. one point: y, the hand-written gradient and the reference; run at every point
2. other references, if the forward brings derivatives of its own or cuts some (`oracles`)
3. other ways to the same numbers (`ways`)
4. φ along directions, for the order test; along single entries, where that is asked

Compiling costs more than computing here. A quick check compiles as little as it can: the
first programs and, if all looks right, the gradient in float32. If something does not, or if
the forward has derivatives that nothing else knows, the order test decides.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.comparison import EPS, host, scale_of
from fnn.checking.measure.eager import check_finite, eager, first_line, guarded, reason
from fnn.checking.measure.facts import SLIGHT, Facts, Result, compared, moved, programs_of
from fnn.checking.measure.jaxprs import precision, uses
from fnn.checking.measure.oracles import settled, with_orders, with_reference
from fnn.checking.measure.points import QUICK, Point, points
from fnn.checking.measure.problem import Problem, traced
from fnn.checking.measure.ways import in_one_program, one_example, ways_of

FLOAT32 = 2.0**-23
ITERATES = 64 * EPS  # a spread above this is that of an iteration


def measure(problem: Problem, seed: int, *, quick: bool = False) -> Facts:
    """Run the problem at every point and in every way."""
    rng = np.random.default_rng(seed)
    every = points(problem, jax.eval_shape(problem.forward, problem.leaves), rng)
    given, names = every[0], tuple(p.case for p in every)
    ways = {} if quick else {"eager": eager(problem, given.dy)}
    arguments = (problem.leaves, given.dy)
    guarded(problem, lambda: traced(problem.who, problem.backward, arguments, "backward"))
    facts = at_every_point(problem, [p for p in every if not quick or p.case in QUICK], ways)
    check_finite(problem, facts.given.y)
    facts = settled(iterated(facts))
    asked = ways_of(problem)
    if not quick:
        return with_orders(with_ways(facts, asked, rng))
    facts = with_orders(facts) if doubtful(facts) else with_ways(facts, ("float32",), rng)
    done = {*facts.smooth, *facts.special, *facts.ways, *facts.errors, *facts.raised}
    left_out = dict.fromkeys(case for case in (*names, *asked) if case not in done)
    return facts._replace(left_out=(*left_out, *(() if facts.orders else ("differences",))))


def at_every_point(problem: Problem, every: list[Point], ways: dict[str, Any]) -> Facts:
    """The facts of every point at which the function does not raise."""
    given = every[0]
    eps = rounding_unit(problem, given)
    problem, followed = with_reference(problem, given)
    programs, results, raised = programs_of(problem), {}, {}
    for p in every:
        try:
            results[p.case] = Result(*map(host, programs.gradients(p.leaves, p.dy)))
        except Exception as error:  # outside of its domain a function may raise anything
            if p is given:
                raise
            raised[p.case] = reason(error)
    ran = {p.case: p for p in every if p.case in results}
    return Facts(problem, programs, ran, results, eps, ways, {}, raised, {}, {}, followed=followed)


def rounding_unit(problem: Problem, given: Point) -> float:
    """The rounding unit inside.

    A backward may round to float32 where its forward does not; that of a layer or a loss may
    not, nor may any round more than that.
    """
    if problem.compares:
        return precision(jax.make_jaxpr(problem.reference)(given.leaves, given.dy), problem.wrt)
    eps = precision(jax.make_jaxpr(problem.forward)(given.leaves), problem.wrt)
    if problem.keeps_contract:
        return eps
    n = len(given.leaves)
    active = (*problem.wrt, *range(n, n + len(given.dy)))
    theirs = precision(jax.make_jaxpr(problem.backward)(given.leaves, given.dy), active)
    return max(eps, min(theirs, FLOAT32))


def iterated(facts: Facts) -> Facts:
    """The facts; what iterates to a tolerance has its own spread for a rounding unit."""
    problem, given = facts.problem, facts.points["as given"]
    both = [jax.make_jaxpr(problem.forward)(given.leaves)]
    if not problem.compares:
        both.append(jax.make_jaxpr(problem.backward)(given.leaves, given.dy))
    if not any(uses(program.jaxpr, "while") for program in both):
        return facts
    hand, truth = facts.given.hand, facts.given.truth
    others: list[Any] = [(host(near[1]), host(near[2])) for near in moved(facts, "as given")]
    others.append(([a / 1000 for a in scaled(facts)], truth))
    if "eager" in facts.ways:
        others.append((facts.ways["eager"], truth))
    spread = 0.0
    for several in others:
        for near, here in zip(several, (hand, truth), strict=True):
            for a, b in zip(near, here, strict=True):
                off = float(np.nan_to_num(abs(a - b)).max(initial=0.0))
                spread = max(spread, off / (scale_of([b]) or 1.0))
    return facts._replace(eps=max(facts.eps, spread)) if ITERATES < spread < SLIGHT else facts


def scaled(facts: Facts) -> list[np.ndarray]:
    """The hand-written gradient of 1000 dy."""
    given = facts.points["as given"]
    dy = [jnp.asarray(1000 * np.asarray(d)) for d in given.dy]
    return host(facts.programs.gradients(given.leaves, dy)[1])


def doubtful(facts: Facts) -> bool:
    """Whether a gradient looks wrong, or nothing but the forward's own word is known."""
    if not facts.plain or not all(np.isfinite(truth).all() for truth in facts.given.truth):
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
        ways["1000 dy"] = scaled(facts)
    if "one example" in chosen and problem.batched:
        try:
            alone = one_example(problem, facts.programs.gradients, given)
            ways |= {} if alone is None else {"one example": alone}
        except Exception as error:  # whatever a person's function raises is the finding
            errors["one example"] = first_line(error)
    return facts._replace(ways=facts.ways | ways, errors=facts.errors | errors)
