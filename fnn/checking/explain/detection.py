"""Which gradients are wrong, and where.

The reference is autodiff, unless the values contradict it at a case: then central differences
along every entry are, up to some thousand entries, and beyond that the order test itself.
"""

from typing import NamedTuple

import numpy as np

from fnn.checking.explain.diagnosis import Note
from fnn.checking.measure.comparison import EPS, gap, scale_of
from fnn.checking.measure.facts import Facts, compared
from fnn.checking.measure.kinks import (
    MANY,
    by_differences,
    has_derivative,
    real_errors,
    where_smooth,
)
from fnn.checking.measure.points import LOW, sets_of
from fnn.checking.measure.taylor import NUMERIC


class Examined(NamedTuple):
    """What is known of one gradient; it is wrong if some entries are."""

    error: float  # relative to the leaf's scale, at the case
    case: str  # the first that shows that it is wrong
    masks: dict[str, np.ndarray]  # the wrong entries, at every case that has some
    truths: dict[str, np.ndarray]  # the reference, at every case
    fits: float = 1e-6  # how exactly an explanation must fit
    by_autodiff: bool = True  # whether the reference is autodiff, at every case that is wrong
    kinks: tuple[str, ...] = ()  # the cases that have some
    doubted: frozenset[str] = frozenset()  # the cases at which differences are the reference
    off: tuple[str, ...] = ()  # the cases off the set of the arguments, if it is wrong there alone
    undecided: str = ""  # why nobody can tell, if nothing is wrong: a kind of note

    def entries(self, case: str) -> np.ndarray:
        """The wrong entries of a case."""
        return self.masks.get(case, np.zeros(np.shape(self.truths[case]), bool))


def examine(facts: Facts) -> tuple[list[Examined], list[Note]]:
    """Every gradient, and notes."""
    n = len(facts.problem.names)
    every = [examine_leaf(facts, j) for j in range(n)]
    outside = [
        case if case not in facts.raised else f"{case} (raises {facts.raised[case]})"
        for case in (*facts.outside, *facts.raised)
    ]
    notes = [Note("outside", tuple(outside))] if outside else []
    if undefined := not_finite(facts):
        notes.append(Note("not finite", tuple(undefined)))
    if not facts.problem.keeps_contract:
        failed = [way for way in (*LOW, "one example") if way in facts.errors]
        notes += [Note("does not run", (way, facts.errors[way])) for way in failed]
    notes += equal_sizes(facts)
    if facts.stops:
        notes.append(Note("stop_gradient"))
    if facts.eps > EPS:
        notes.append(Note("digits", (digits(facts.eps),)))
    if facts.unasked:
        notes.append(Note("unasked", tuple(facts.unasked)))
    if facts.aside:
        notes.append(Note("put aside"))
    doubted = tuple(
        name
        for j, name in enumerate(facts.problem.names)
        if any(known(facts, case, j) for case in every[j].doubted)
    )
    if not facts.followed:
        notes.append(Note("not followed"))
    elif doubted:
        notes.append(Note("differences", doubted))
    if same := shared(facts):
        notes.append(Note("shared", tuple(same)))
    off = sorted({case for examined in every for case in examined.off})
    if off and not by_chance(facts):
        notes.append(Note("off", (sets_in(facts), ", ".join(off))))
    kinks = sorted({case for examined in every for case in examined.kinks})
    if kinks:
        notes.append(Note("kinks", tuple(kinks)))
    return every, notes


def known(facts: Facts, case: str, j: int) -> bool:
    """Whether reference j is a number."""
    return bool(np.isfinite(facts.orders[case][j][1].predicted))


def not_finite(facts: Facts) -> list[str]:
    """Where the function is finite and its reference gradient is not: entries nobody compared."""
    return [
        f"{name} {case}"
        for case in facts.inside
        for j, name in enumerate(facts.problem.names)
        if not facts.contradicted(case, j) and not np.isfinite(facts.results[case].truth[j]).all()
    ]


def shared(facts: Facts) -> list[str]:
    """The cases at which autodiff believes what backward says, so that only the values decide."""
    if facts.plain or not facts.followed:
        return []
    return [
        case
        for case in facts.inside
        if all(map(np.array_equal, facts.results[case].hand, facts.results[case].truth))
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
    truths, doubted = references(facts, j)
    if "as given" not in truths:
        return by_order(facts, j)
    scale = scale_of([truths[c] for c in truths if c in facts.smooth])
    masks, errors, kinks = {}, {}, []
    for case, truth in truths.items():
        if masks and case in facts.special:
            break  # wrong at a plain point: the special ones add nothing
        eps = NUMERIC / 16 if case in doubted else facts.eps
        size = scale if case in facts.smooth else max(scale, scale_of([truth]))
        gaps = compared(facts, case, j, facts.results[case].hand[j], truth, size, eps=eps)
        errors[case], wrong = gaps.error, gaps.wrong
        infinite = wrong & ~np.isfinite(facts.results[case].hand[j])
        if case in facts.special and infinite.any() and not has_derivative(facts, case):
            wrong &= ~infinite
        if case in facts.special or not surely_wrong(facts, j):
            wrong, kink = real_errors(facts, case, j, wrong)
            kinks += [case] if kink else []
        other = facts.disputed.get(j, {}).get(case)
        if other is not None:  # wrong is what neither of the two has
            wrong &= compared(facts, case, j, facts.results[case].hand[j], other, size).wrong
        if wrong.any():
            masks[case] = wrong
    masks, off, why = on_its_set(facts, j, masks, truths)
    first = next(iter(masks), "as given")
    sure = not doubted & set(truths)
    fits = 1e-6 if sure else 1e-4
    why = why or undecided(facts, j, truths)
    by_values = frozenset(doubted & set(truths))
    return Examined(
        errors[first], first, masks, truths, fits, sure, tuple(kinks), by_values, off, why
    )


def references(facts: Facts, j: int) -> tuple[dict[str, np.ndarray], set[str]]:
    """The reference of gradient j at every case, and the cases at which differences are it.

    They are asked at two cases at most: they take a run for every entry. At a small leaf that
    has none the function has no derivative: what the values contradict is as good as another.
    """
    doubted = [case for case in facts.inside if facts.contradicted(case, j)]
    if facts.unsure:  # what contradicts autodiff may have been cut on purpose: see undecided
        return {case: facts.results[case].truth[j] for case in facts.inside}, set()
    found = {case: by_differences(facts, case, j) for case in doubted[:2]}
    if facts.followed and np.size(facts.given.hand[j]) <= MANY:
        doubted = [case for case in doubted if found.get(case, 0) is not None]
    truths = {}
    for case in facts.inside:
        truth = where_smooth(facts, case, j) if case not in doubted else found.get(case)
        if truth is not None:
            truths[case] = truth
    return truths, set(doubted)


def on_its_set(
    facts: Facts, j: int, masks: dict[str, np.ndarray], truths: dict[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], tuple[str, ...], str]:
    """The wrong entries, if some are wrong on the sets of the arguments, and along them.

    Else none; the cases off the sets that are wrong, and why nobody can tell, if so.
    """
    on = [case for case in masks if not facts.points[case].off]
    off = tuple(case for case in masks if facts.points[case].off)
    if not on:
        return {}, off, "chance" if off and by_chance(facts) else ""
    leaf = facts.problem.wrt[j]
    along = [member.kind.along for member in sets_of(facts.problem) if member.leaf == leaf]
    for part in along:
        pairs = [(part(facts.results[case].hand[j]), part(truths[case])) for case in on]
        if not any(gap(a, b, scale_of([b]), NUMERIC / 16).wrong.any() for a, b in pairs):
            return {}, (), "along"
    return masks, (), ""


def undecided(facts: Facts, j: int, truths: dict[str, np.ndarray]) -> str:
    """Why nobody can tell whether gradient j is right, if nothing is wrong with it."""
    if facts.unsure and any(facts.contradicted(case, j) for case in facts.inside):
        return "cut"
    if j in facts.disputed:
        return "disputed"
    hand = facts.given.hand[j]
    unknown = np.isnan(hand) & ~np.isfinite(truths["as given"])
    return "undefined" if unknown.any() else ""


def by_chance(facts: Facts) -> bool:
    """Whether arguments may lie on their set by chance."""
    return any(member.by_chance for member in sets_of(facts.problem))


def sets_in(facts: Facts) -> str:
    """The arguments that lie on a set, and on which."""
    names = dict(zip(facts.problem.wrt, facts.problem.names, strict=True))
    return ", ".join(f"{names[m.leaf]} {m.kind.name}" for m in sets_of(facts.problem))


def surely_wrong(facts: Facts, j: int) -> bool:
    """Whether gradient j is wrong where the function is smooth: then a kink is no excuse."""
    case = next((case for case in ("nearby 1", "as given") if case in facts.orders), None)
    if case is None:
        return False
    hand, truth = facts.orders[case][j]
    return not hand.right and truth.order > 1.5


def by_order(facts: Facts, j: int) -> Examined:
    """The order test's own verdict on a leaf that is too large for differences."""
    order, hand = facts.orders["as given"][j][0], facts.given.hand[j]
    error = abs(order.slope - order.predicted) / (abs(order.slope) or 1.0)
    masks = {} if order.right else {"as given": np.ones(np.shape(hand), bool)}
    vague = not order.error <= 1e-3 * max(abs(order.slope), abs(order.predicted))
    why = "vague" if vague else ""
    return Examined(error, "as given", masks, {}, 1e-4, False, (), frozenset({"as given"}), (), why)
