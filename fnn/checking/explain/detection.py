"""Which gradients are wrong, and where.

The reference is autodiff, unless the order test contradicts it: then central differences
along every entry are, up to some thousand entries, and beyond that the order test itself.
"""

from typing import NamedTuple

import numpy as np

from fnn.checking.explain.diagnosis import Note
from fnn.checking.measure.comparison import EPS, scale_of
from fnn.checking.measure.facts import Facts, compared
from fnn.checking.measure.kinks import NUMERIC, by_differences, real_errors
from fnn.checking.measure.points import LOW


class Examined(NamedTuple):
    """What is known of one gradient; it is wrong if some entries are."""

    error: float  # relative to the leaf's scale, at the case
    case: str  # the first that shows that it is wrong
    masks: dict[str, np.ndarray]  # the wrong entries, at every case that has some
    truths: dict[str, np.ndarray]  # the reference, at every case
    fits: float = 1e-6  # how exactly an explanation must fit
    by_autodiff: bool = True  # whether the reference is autodiff
    kinks: tuple[str, ...] = ()  # the cases that have some

    def entries(self, case: str) -> np.ndarray:
        """The wrong entries of a case."""
        return self.masks.get(case, np.zeros(np.shape(self.truths[case]), bool))


def examine(facts: Facts) -> tuple[list[Examined], list[Note]]:
    """Every gradient, and notes."""
    n = len(facts.problem.names)
    every = [examine_leaf(facts, j) for j in range(n)]
    notes = [Note("outside", tuple(outside(facts)))] if outside(facts) else []
    if undefined := not_finite(facts):
        notes.append(Note("not finite", tuple(undefined)))
    if not facts.problem.keeps_contract:
        failed = [way for way in (*LOW, "one example") if way in facts.errors]
        notes += [Note("does not run", (way, facts.errors[way])) for way in failed]
    notes += equal_sizes(facts)
    if facts.stops and any(not truth.right for _, truth in facts.orders):
        notes.append(Note("stop_gradient"))
    if facts.eps > EPS:
        notes.append(Note("digits", (digits(facts.eps),)))
    doubted = tuple(facts.problem.names[j] for j in range(n) if not trusted(facts, j))
    if doubted:
        notes.append(Note("differences", doubted))
    kinks = sorted({case for examined in every for case in examined.kinks})
    if kinks:
        notes.append(Note("kinks", tuple(kinks)))
    return every, notes


def outside(facts: Facts) -> list[str]:
    """The cases at which the forward itself, or what it is compared with, is not finite."""
    results = ((case, facts.results[case]) for case in (*facts.smooth, *facts.special))
    return [c for c, r in results if not all(np.isfinite(a).all() for a in r.y or r.truth)]


def not_finite(facts: Facts) -> list[str]:
    """Where the function is finite and its reference gradient is not: entries nobody compared."""
    cases = [c for c in (*facts.smooth, *facts.special) if c not in outside(facts)]
    return [
        f"{name} {case}"
        for case in cases
        for j, name in enumerate(facts.problem.names)
        if trusted(facts, j) and not np.isfinite(facts.results[case].truth[j]).all()
    ]


def equal_sizes(facts: Facts) -> list[Note]:
    """A note if the batch has the size of another axis: a wrong axis could hide."""
    problem = facts.problem
    if not problem.batched:
        return []
    n = problem.leaves[problem.batched[0]].shape[0]
    for name, i in zip(problem.names, problem.wrt, strict=True):
        shape = problem.leaves[i].shape
        if n > 1 and n in (shape[1:] if i in problem.batched else shape):
            return [Note("equal sizes", (name, n))]
    return []


def digits(eps: float) -> int:
    """Decimal digits of a rounding unit."""
    return int(-np.log10(eps))


def examine_leaf(facts: Facts, j: int) -> Examined:
    """Gradient j at every point."""
    cases = [c for c in (*facts.smooth, *facts.special) if c not in outside(facts)]
    if facts.eps > EPS:  # far out rounding is larger than what is left of a derivative
        cases = [c for c in cases if c != "far"]
    eps, sure = facts.eps, trusted(facts, j)
    truths = {c: facts.results[c].truth[j] for c in cases}
    if not sure:
        found = {c: by_differences(facts, c, j) for c in cases if c in facts.smooth[:2]}
        truths, eps = {c: g for c, g in found.items() if g is not None}, NUMERIC / 16
        if not truths:
            return by_order(facts, j)
    scale = scale_of([truths[c] for c in truths if c in facts.smooth])
    masks, errors, kinks = {}, {}, []
    for case, truth in truths.items():
        if masks and case in facts.special:
            break  # wrong at a plain point: the special ones add nothing
        size = scale if case in facts.smooth else max(scale, scale_of([truth]))
        gaps = compared(facts, case, j, facts.results[case].hand[j], truth, size, eps=eps)
        errors[case], wrong = gaps.error, gaps.wrong
        if case in facts.special or not surely_wrong(facts, j):
            wrong, kink = real_errors(facts, case, j, wrong)
            kinks += [case] if kink else []
        if wrong.any():
            masks[case] = wrong
    first = next(iter(masks), "as given")
    fits = 1e-6 if sure else 1e-4
    return Examined(errors[first], first, masks, truths, fits, sure, tuple(kinks))


def surely_wrong(facts: Facts, j: int) -> bool:
    """Whether gradient j is wrong where the function is smooth: then a kink is no excuse."""
    return bool(facts.orders) and not facts.orders[j][0].right and facts.orders[j][1].order > 1.5


def trusted(facts: Facts, j: int) -> bool:
    """Whether autodiff is the reference: the order test agrees, or derivatives are cut."""
    return not facts.orders or facts.orders[j][1].right or facts.stops


def by_order(facts: Facts, j: int) -> Examined:
    """The order test's own verdict on a leaf that is too large for differences."""
    order, hand = facts.orders[j][0], facts.given.hand[j]
    error = abs(order.slope - order.predicted) / (abs(order.slope) or 1.0)
    masks = {} if order.right else {"as given": np.ones(np.shape(hand), bool)}
    return Examined(error, "as given", masks, {}, 1e-4, False)
