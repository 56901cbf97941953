"""Which gradients are wrong, and where.

The reference is autodiff, unless the order test contradicts it: then central differences
along every entry are, up to some thousand entries, and beyond that the order test itself.
"""

from dataclasses import dataclass

import numpy as np

from fnn.checking.compare import EPS, gap, scale_of
from fnn.checking.facts import Facts
from fnn.checking.kinks import NUMERIC, by_differences, real_errors
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

    def entries(self, case: str) -> np.ndarray:
        """The wrong entries of a case."""
        return self.masks.get(case, np.zeros(np.shape(self.truths[case]), bool))


def wrong_leaves(problem: Problem, facts: Facts) -> tuple[dict[int, Wrong], list[str]]:
    """The wrong gradients by position, and notes."""
    wrong: dict[int, Wrong] = {}
    left_out = ", ".join(outside(facts))
    notes = [f"outside of the domain, left out: {left_out}"] if left_out else []
    if not problem.is_block:
        low = {way: told for way, told in facts.errors.items() if way in ROUGH}
        notes += [f"backward does not run in {way}: {told}" for way, told in low.items()]
    notes += equal_sizes(problem, facts)
    if facts.eps > EPS:
        notes.append(f"it computes with {digits(facts.eps)} digits inside; more cannot be told")
    kinks: set[str] = set()
    for j, name in enumerate(problem.names):
        found, remarks = examined(problem, facts, j, kinks)
        notes += [f"{name}: {remark}" for remark in remarks]
        if found is not None:
            wrong[j] = found
    if kinks:
        notes.append(f"kinks ({', '.join(sorted(kinks))}): any subgradient is right there")
    return wrong, notes


def outside(facts: Facts) -> list[str]:
    """The cases at which the forward itself is not finite."""
    return [
        case
        for case in (*SMOOTH, *SPECIAL)
        if not all(np.isfinite(y).all() for y in facts.results[case].y)
    ]


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


def examined(
    problem: Problem, facts: Facts, j: int, kinks: set[str]
) -> tuple[Wrong | None, list[str]]:
    """Gradient j at every point; `kinks` gathers the cases that have some."""
    cases = [c for c in (*SMOOTH, *SPECIAL) if c not in outside(facts)]
    truths = {c: facts.results[c].truth[j] for c in cases}
    eps, remarks = facts.eps, []
    if facts.orders and not facts.orders[j][1].right:
        cases, numeric = by_values(problem, facts, j, [c for c in cases if c in SMOOTH[:2]])
        remarks.append("autodiff of the forward is not its derivative; differences are used")
        if not numeric:
            return by_order(facts, j, truths), remarks
        truths, eps = numeric, NUMERIC / 16
    scale = scale_of([truths[c] for c in cases if c in SMOOTH])
    masks, worst = {}, {}
    for case in cases:
        hand = facts.results[case].hand[j]
        size = scale if case in SMOOTH else max(scale, scale_of([truths[case]]))
        found = gap(hand, truths[case], size, eps)
        answer = real_errors(problem, facts, case, j, found.wrong)
        if answer.kink:
            kinks.add(case)
        if answer.wrong.any():
            masks[case], worst[case] = answer.wrong, found.error
    if not masks:
        return None, remarks
    first = next(iter(masks))
    fits = 1e-4 if eps > facts.eps else 1e-6
    return Wrong(first, worst[first], tuple(cases), truths, masks, fits), remarks


def by_values(
    problem: Problem, facts: Facts, j: int, cases: list[str]
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Central differences at these cases; nothing if the leaf is too large."""
    found = {c: by_differences(problem, facts, c, j) for c in cases}
    return cases, {c: g for c, g in found.items() if g is not None}


def by_order(facts: Facts, j: int, truths: dict[str, np.ndarray]) -> Wrong | None:
    """The order test's own verdict on a leaf that is too large for differences."""
    order = facts.orders[j][0]
    if order.right:
        return None
    error = abs(order.slope - order.predicted) / (abs(order.slope) or 1.0)
    hand = facts.results["as given"].hand[j]
    everything = np.ones(np.shape(hand), bool)
    return Wrong("as given", error, ("as given",), truths, {"as given": everything}, 1e-4)
