"""Which gradients are wrong, and where.

The reference is autodiff, unless the order test contradicts it: then central differences
along every entry are, up to some thousand entries, and beyond that the order test itself.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fnn.checking.compare import EPS, gap, scale_of
from fnn.checking.facts import Facts
from fnn.checking.kinks import NUMERIC, Answer, by_differences, real_errors
from fnn.checking.points import ROUGH, SMOOTH, SPECIAL
from fnn.checking.problem import Problem


@dataclass
class Wrong:
    """A gradient that is wrong."""

    case: str  # the first that shows it
    error: float  # relative to the leaf's scale
    cases: tuple[str, ...]  # those that were looked at
    truths: dict[str, np.ndarray]  # the reference
    masks: dict[str, np.ndarray]  # the wrong entries
    fits: float  # how exactly an explanation must fit
    by_autodiff: bool = True  # whether the reference is autodiff

    def entries(self, case: str) -> np.ndarray:
        """The wrong entries of a case."""
        return self.masks.get(case, np.zeros(np.shape(self.truths[case]), bool))


SLIGHT = 1e-6  # relative to the largest gradient: an error that may be rounding


class Examined(NamedTuple):
    """What is known of one gradient."""

    error: float  # as given, relative to the leaf's scale
    wrong: Wrong | None


def examined(problem: Problem, facts: Facts) -> tuple[list[Examined], list[str]]:
    """Every gradient, and notes."""
    left_out = ", ".join(outside(facts))
    notes = [f"outside of the domain, left out: {left_out}"] if left_out else []
    if not problem.is_block:
        low = {way: told for way, told in facts.errors.items() if way in ROUGH}
        notes += [f"backward does not run in {way}: {told}" for way, told in low.items()]
        told = facts.errors.get("one example")
        notes += [f"backward does not run for a batch of one: {told}"] if told else []
    notes += equal_sizes(problem, facts)
    if facts.stops and any(not truth.right for _, truth in facts.orders):
        notes.append("stop_gradient inside: autodiff decides, not the values")
    if facts.eps > EPS:
        notes.append(f"it computes with {digits(facts.eps)} digits inside; more cannot be told")
    doubted = [problem.names[j] for j in range(len(problem.names)) if not trusted(facts, j)]
    if doubted:
        names = ", ".join(doubted)
        notes.append(f"autodiff of the forward is not its derivative ({names}): differences decide")
    kinks: set[str] = set()
    every = [examined_leaf(problem, facts, j, kinks) for j in range(len(problem.names))]
    if kinks:
        notes.append(f"kinks ({', '.join(sorted(kinks))}): any subgradient is right there")
    return every, notes


def outside(facts: Facts) -> list[str]:
    """The cases at which the forward itself, or what it is compared with, is not finite."""
    found = {case: facts.results[case] for case in (*SMOOTH, *SPECIAL)}
    values = {case: r.y or r.truth for case, r in found.items()}
    return [c for c, several in values.items() if not all(np.isfinite(a).all() for a in several)]


def equal_sizes(problem: Problem, facts: Facts) -> list[str]:
    """A note if the batch has the size of another axis: a wrong axis could hide."""
    if not problem.batched:
        return []
    n = facts.points["as given"].leaves[problem.batched[0]].shape[0]
    for name, i in zip(problem.names, problem.wrt, strict=True):
        shape = facts.points["as given"].leaves[i].shape
        axes = shape[1:] if i in problem.batched else shape
        if n > 1 and n in axes:
            return [f"the batch and an axis of {name} both have size {n}; let them differ"]
    return []


def digits(eps: float) -> int:
    """Decimal digits of a rounding unit."""
    return int(-np.log10(eps))


def examined_leaf(problem: Problem, facts: Facts, j: int, kinks: set[str]) -> Examined:
    """Gradient j at every point; `kinks` gathers the cases that have some."""
    cases = [c for c in (*SMOOTH, *SPECIAL) if c not in outside(facts)]
    if facts.eps > EPS:  # far out rounding is larger than what is left of a derivative
        cases = [c for c in cases if c != "far"]
    truths, eps, sure = {c: facts.results[c].truth[j] for c in cases}, facts.eps, trusted(facts, j)
    if not sure:
        cases = [c for c in cases if c in SMOOTH[:2]]
        found = {c: by_differences(problem, facts, c, j) for c in cases}
        truths, eps = {c: g for c, g in found.items() if g is not None}, NUMERIC / 16
        if not truths:
            return by_order(facts, j)
    scale = scale_of([truths[c] for c in cases if c in SMOOTH])
    masks, errors = {}, {}
    for case in cases:
        if masks and case in SPECIAL:
            break  # wrong at a plain point: the special ones add nothing
        size = scale if case in SMOOTH else max(scale, scale_of([truths[case]]))
        hand = facts.results[case].hand[j]
        gaps = gap(hand, truths[case], size, eps)
        if gaps.wrong.any() and gaps.error * size < SLIGHT * max(size, largest(facts, case)):
            noise = facts.programs.noise(facts.points[case], truths[case], j, facts.eps)
            gaps = gap(hand, truths[case], size, eps, noise)
        answer = Answer(gaps.wrong, False)
        if case in SPECIAL or not surely_wrong(facts, j):
            answer = real_errors(problem, facts, case, j, gaps.wrong)
        errors[case] = gaps.error
        if answer.kink:
            kinks.add(case)
        if answer.wrong.any():
            masks[case] = answer.wrong
    if not masks:
        return Examined(errors["as given"], None)
    first = next(iter(masks))
    fits = 1e-6 if sure else 1e-4
    wrong = Wrong(first, errors[first], tuple(cases), truths, masks, fits, sure)
    return Examined(errors["as given"], wrong)


def largest(facts: Facts, case: str) -> float:
    """The largest entry of all gradients."""
    return scale_of(facts.results[case].truth)


def surely_wrong(facts: Facts, j: int) -> bool:
    """Whether gradient j is wrong where the function is smooth: then a kink is no excuse."""
    return bool(facts.orders) and not facts.orders[j][0].right and facts.orders[j][1].order > 1.5


def trusted(facts: Facts, j: int) -> bool:
    """Whether autodiff is the reference: the order test agrees, or derivatives are cut."""
    return not facts.orders or facts.orders[j][1].right or facts.stops


def by_order(facts: Facts, j: int) -> Examined:
    """The order test's own verdict on a leaf that is too large for differences."""
    order, hand = facts.orders[j][0], facts.results["as given"].hand[j]
    error = abs(order.slope - order.predicted) / (abs(order.slope) or 1.0)
    if order.right:
        return Examined(error, None)
    everything = np.ones(np.shape(hand), bool)
    return Examined(
        error, Wrong("as given", error, ("as given",), {}, {"as given": everything}, 1e-4, False)
    )
