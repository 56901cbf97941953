"""Which reference counts: autodiff, the forward without its own derivatives, or the values.

Where a forward brings derivatives of its own (custom_jvp, custom_vjp), autodiff believes
them. The same forward with those inlined (`plain`) is a second reference. Where the two
differ the values decide, at that very point; what they contradict is not asked again. Where
there is no plain forward (a callback, a while loop that only its own rule can go back
through) the values are asked at every point.

A stop_gradient counts only if the derivative changes when it is taken out: then values
decide nothing, autodiff is the reference, and where that believes a derivative of the
forward's own that the plain forward has not, nobody can tell.
"""

import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import numpy as np

from fnn.checking.measure.comparison import host
from fnn.checking.measure.facts import SLIGHT, Facts, Result, orders_at, programs_of
from fnn.checking.measure.jaxprs import uses
from fnn.checking.measure.plain import CUT, OWN, plain
from fnn.checking.measure.points import Point
from fnn.checking.measure.problem import SMALL, Leaves, Problem, autodiff, compiled, traces

Forward = Callable[[Leaves], Leaves]
References = dict[str, dict[str, list[np.ndarray]]]  # by case, by name, of every leaf


def with_reference(problem: Problem, given: Point) -> tuple[Problem, bool]:
    """The problem, its reference NaN where autodiff cannot follow the forward, and whether it can.

    A callback has no derivative; the order test and differences remain.
    """
    if traces(problem.reference, given.leaves, given.dy):
        return problem, True
    shapes = [given.leaves[i] for i in problem.wrt]
    return replace(problem, reference=lambda leaves, dy: [np.nan * a for a in shapes]), False


def settled(facts: Facts) -> Facts:
    """The facts, with the reference that counts at every case, and what is known of the forward."""
    problem, given = facts.problem, facts.points["as given"]
    if problem.compares:
        return facts
    program = jax.make_jaxpr(problem.forward)(given.leaves).jaxpr
    own = any(uses(program, kind) for kind in OWN)
    cut = uses(program, CUT)
    forwards: dict[str, Forward] = {}
    if own:
        forwards["plain"] = plain(problem.forward, without=OWN)
    if cut:
        forwards["values"] = plain(problem.forward, without=(*OWN, CUT))
    references = {
        name: reference
        for name, forward in forwards.items()
        if traces(reference := partial(autodiff, forward, problem.wrt), given.leaves, given.dy)
    }
    found = evaluated(facts, references)
    facts = facts._replace(
        stops="values" in references and cuts(facts, found),
        unsure=cut and "values" not in references,
        plain=facts.followed and (not own or "plain" in references),
        loops=uses(program, "while"),
    )
    return chosen(facts, forwards["plain"], found) if "plain" in references else facts


def evaluated(facts: Facts, references: dict[str, Any]) -> References:
    """The other references, at every case."""
    if not references:
        return {}

    def every(leaves, dy):
        return {name: reference(leaves, dy) for name, reference in references.items()}

    run, found = compiled(facts.problem, every), {}
    for case in facts.inside:
        point = facts.points[case]
        with contextlib.suppress(Exception):  # without its own rule it may raise there
            made = run(point.leaves, point.dy)
            found[case] = {name: host(leaves) for name, leaves in made.items()}
    return found


def cuts(facts: Facts, found: References) -> bool:
    """Whether the stop_gradients inside change the derivative of the values."""
    for case in facts.smooth:
        here = found.get(case)
        if here is None:
            continue
        kept = here.get("plain", facts.results[case].truth)
        if any(differ(a, b) for a, b in zip(kept, here["values"], strict=True)):
            return True
    return False


def differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two references differ by more than differences can tell."""
    if not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return True
    both = np.isfinite(a)
    a, b = a[both], b[both]
    scale = max(abs(a).max(initial=0.0), abs(b).max(initial=0.0))
    return bool((abs(a - b) > SLIGHT * scale).any())


def chosen(facts: Facts, forward: Forward, found: References) -> Facts:
    """The facts with the plain reference wherever the values contradict the other one.

    One contradiction is enough for the forward's own derivatives to be put aside: from then
    on the plain forward is the forward.
    """
    results, disputed, lies = dict(facts.results), {}, False
    for case in [case for case in facts.askable if case in found]:
        here = found[case]
        pairs = list(zip(facts.results[case].truth, here["plain"], strict=True))
        apart = [j for j, pair in enumerate(pairs) if differ(*pair)]
        if not apart:
            continue
        if facts.stops:
            for j in apart:
                disputed.setdefault(j, {})[case] = here["plain"][j]
            continue
        orders, truth = orders_at(facts, case, pairs), list(results[case].truth)
        for j in apart:
            own, other = orders[j]
            if other.right and not (own.right or (own.kink and np.isfinite(own.predicted))):
                truth[j], lies = pairs[j][1], True
        results[case] = results[case]._replace(truth=truth)
    facts = facts._replace(results=results, disputed=disputed)
    if not lies:
        return facts
    reference = partial(autodiff, forward, facts.problem.wrt)
    problem = replace(facts.problem, forward=forward, reference=reference)
    return facts._replace(problem=problem, programs=programs_of(problem), aside=True)


def with_orders(facts: Facts) -> Facts:
    """The facts and what the values say of every gradient, by hand and by the reference.

    At every case that may be moved, if the problem is small or autodiff has nothing but the
    forward's word; else as given and nearby.
    """
    if facts.problem.compares:
        return facts
    work = len(facts.problem.wrt) * sum(a.size for a in facts.problem.leaves)
    cases = facts.askable
    if facts.plain and work > SMALL:
        cases = [case for case in ("as given", "nearby 1") if case in cases]
    orders = {case: orders_at(facts, case, pairs_of(facts.results[case])) for case in cases}
    return facts._replace(orders=orders)


def pairs_of(result: Result) -> list[Any]:
    """The gradients of every leaf, by hand and by the reference."""
    return list(zip(result.hand, result.truth, strict=True))
