"""Where autodiff is not the last word: kinks, and forwards it cannot be trusted with.

At a kink a derivative may be anything between the slopes from the left and from the right.
Entries on which the hand-written gradient and autodiff disagree are therefore asked for:
the function itself is moved along that one entry. And where the order test contradicts
autodiff (a custom_vjp or a callback inside the forward), central differences along every
entry become the reference.
"""

import jax.numpy as jnp
import numpy as np

from fnn.checking.measure.facts import Facts, along, directions, dot
from fnn.checking.measure.points import SMOOTH
from fnn.checking.measure.taylor import (
    NUMERIC,
    SHIFTS,
    jumps,
    order,
    parted,
    sides,
    slack_of,
    slope_of,
)

ASKED = 8  # entries of a leaf that are moved, at most
MANY = 4096  # entries of a leaf up to which all of them are moved


def real_errors(facts: Facts, case: str, j: int, wrong: np.ndarray) -> tuple[np.ndarray, bool]:
    """The `wrong` entries of gradient j that the function itself contradicts, and if it has a kink.

    A single layer or loss is asked entry by entry: at a kink a value between both slopes is
    right. In a net the slopes of many kinks mix; there a kink along a random direction
    leaves nothing to judge, and without one the slope decides.
    """
    if facts.problem.compares or not wrong.any() or case not in facts.askable:
        return wrong, False
    infinite = wrong & ~np.isfinite(facts.results[case].hand[j])  # is no slope, even at a kink
    if infinite.any():
        return infinite, False
    if facts.problem.single and wrong.size <= MANY:
        return entry_by_entry(facts, case, j, wrong)
    result = facts.results[case]
    v, values = directions(facts, case, 2)
    right, left, error = sides(values[j], facts.eps)
    slack = slack_of(right, left, error)
    if parted(right, left, error):
        return np.zeros_like(wrong), True
    ours, theirs = (abs(dot(g, v[j]) - right) for g in (result.hand[j], result.truth[j]))
    excused = ours <= slack and not theirs <= slack and not facts.stops
    return np.zeros_like(wrong) if excused else wrong, False


def entry_by_entry(facts: Facts, case: str, j: int, wrong: np.ndarray) -> tuple[np.ndarray, bool]:
    """The function moved along single wrong entries: which of them are wrong indeed."""
    hand, truth = facts.results[case].hand[j].ravel(), facts.results[case].truth[j].ravel()
    flat = np.flatnonzero(wrong)
    asked = flat[np.linspace(0, len(flat) - 1, min(ASKED, len(flat))).astype(int)]
    excused, kink = [], False
    for index, value in zip(asked, along_entries(facts, case, j, asked), strict=True):
        right, left, error = sides(value, facts.eps)
        low, high = min(left, right), max(left, right)
        slack = slack_of(right, left, error)
        ours, theirs = (low - slack <= g[index] <= high + slack for g in (hand, truth))
        here = parted(right, left, error)
        excused.append(ours and (here or not theirs))
        kink = kink or bool(ours and here)
    rest = wrong.copy()
    rest.ravel()[asked[np.array(excused)]] = False
    return np.zeros_like(wrong) if all(excused) else rest, kink


def where_smooth(facts: Facts, case: str, j: int) -> np.ndarray:
    """Reference j, with slopes in place of NaN and ∞ where the function has them all the same.

    As given a kink has slopes, too, and NaN is none of them. Only where the hand-written
    gradient is not finite either, some entries of them: a number cannot be compared with a
    slope as exactly as with a reference.
    """
    hand, truth = (np.asarray(g[j]) for g in facts.results[case][1:])
    unknown = np.flatnonzero(~np.isfinite(truth) & ~np.isfinite(hand))[:ASKED]
    if facts.problem.compares or not unknown.size or case not in facts.askable:
        return truth
    known = truth.copy()
    for index, value in zip(unknown, along_entries(facts, case, j, unknown), strict=True):
        right, left, error = sides(value, facts.eps)
        exact = error <= NUMERIC * max(abs(right), abs(left), 1.0)  # no slope that grows and grows
        if exact and (case in SMOOTH or not parted(right, left, error)):
            known.ravel()[index] = (right + left) / 2
    return known


def has_derivative(facts: Facts, case: str) -> bool:
    """Whether the function is finite and smooth around a point, all leaves moved at once.

    An invented point may lie on the edge of a domain, or on a kink: then a gradient need not
    be a number there.
    """
    if case not in facts.askable:
        return False
    n = len(facts.problem.wrt)
    v, _ = directions(facts, case, 4)
    values = along(facts, case, v, np.ones((n, n)))[0]
    return bool(np.isfinite(values).all()) and not order(values, 0.0, facts.eps).kink


def by_differences(facts: Facts, case: str, j: int) -> np.ndarray | None:
    """Gradient j by central differences along every entry.

    None if there are too many, or if there is no gradient: an entry has a kink or a jump, or
    the slopes do not add up along a random direction.
    """
    leaf = facts.points[case].leaves[facts.problem.wrt[j]]
    if leaf.size > MANY:
        return None
    values = along_entries(facts, case, j, np.arange(leaf.size))
    known = [value for value in values if np.isfinite(value).all()]
    if any(parted(*sides(value, facts.eps)) or jumps(value, facts.eps) for value in known):
        return None
    found = np.array([slope_of(value, facts.eps)[0] for value in values]).reshape(leaf.shape)
    v, slopes_of = directions(facts, case, 0)
    adds = order(slopes_of[j], dot(found, v[j]), facts.eps)
    return found if adds.right or not np.isfinite(adds.predicted) else None


def slopes(facts: Facts, case: str, j: int, entries: np.ndarray) -> np.ndarray:
    """The derivative along single entries of leaf j, by central differences."""
    values = along_entries(facts, case, j, entries)
    return np.array([slope_of(value, facts.eps)[0] for value in values])


def along_entries(facts: Facts, case: str, j: int, entries: np.ndarray) -> np.ndarray:
    """φ along single entries of leaf j, [len(entries), 1 + 2 T, 2]."""
    padded = np.resize(entries, ASKED) if len(entries) < ASKED else entries  # one program for all
    leaf, point = facts.problem.wrt[j], facts.points[case]
    try:
        values = facts.programs.entries(leaf, point.leaves, point.dy, jnp.asarray(padded))
    except Exception:  # outside of its domain a function may raise anything
        return np.full((len(entries), len(SHIFTS), 2), np.nan)
    return np.asarray(values)[: len(entries)]
