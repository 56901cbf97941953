"""A leaf too large for differences along every entry, in a forward that autodiff cannot follow.

The order test says whether it is wrong. Where it is wrong is found by halving: a random
direction on one half of the entries, then on the other. If one half is right each time, a
single entry is left after log₂ n steps; if both are wrong, a sample of entries is moved one
by one, and explained like a small leaf.
"""

import numpy as np

from fnn.checking.explain import Explanation, Suspect, multiple, nothing
from fnn.checking.facts import Facts, dot
from fnn.checking.kinks import moved
from fnn.checking.taylor import order, slope_of

SAMPLE = 24


def probed(facts: Facts, name: str, j: int) -> Explanation:
    """What is wrong with gradient j, which the order test found wrong."""
    hand = facts.results["as given"].hand[j].ravel()
    shape = np.shape(facts.results["as given"].hand[j])
    index = single(facts, j, hand)
    if index is not None:
        want = slopes(facts, j, np.array([index]))[0]
        where = [int(i) for i in np.unravel_index(index, shape)]
        text = f"only {where} is wrong, found by halving: {hand[index]:.4g} for {want:.4g}"
        return Explanation("one entry", text)
    chosen = np.random.default_rng(0).choice(hand.size, min(SAMPLE, hand.size), replace=False)
    truth = slopes(facts, j, chosen)
    sample = Suspect(
        name=name,
        hand=hand[None, chosen],
        truth=truth[None],
        value=0 * truth[None],
        wrong=np.ones((1, len(chosen)), bool),
        sizes={},
        others={},
        by_example=lambda: None,
        fits=1e-4,  # what differences can tell
    )
    found = nothing(sample) or multiple(sample)
    if found is not None:
        return Explanation(found.kind, f"{found.text}, in a sample of {len(chosen)} entries")
    k = facts.orders[j][0]
    return Explanation(
        "another function",
        f"the remainder falls like t^{k.order:.2f}: {k.predicted:.6g} is predicted along a "
        f"direction, {k.slope:.6g} is the slope",
    )


def single(facts: Facts, j: int, hand: np.ndarray) -> int | None:
    """The one wrong entry, found by halving; None if there are more."""
    low, high = 0, hand.size
    while high - low > 1:
        middle = (low + high) // 2
        left, right = (wrong_between(facts, j, hand, *r) for r in ((low, middle), (middle, high)))
        if left == right:
            return None
        low, high = (low, middle) if left else (middle, high)
    return low


def wrong_between(facts: Facts, j: int, hand: np.ndarray, low: int, high: int) -> bool:
    """Whether the entries low to high of gradient j are wrong."""
    inside = np.zeros(hand.size)
    inside[low:high] = 1
    v, values = facts.programs.directions(facts.points["as given"], 3, {j: inside})
    return not order(values[j], dot(hand, np.ravel(v[j])), facts.eps).right


def slopes(facts: Facts, j: int, entries: np.ndarray) -> np.ndarray:
    """The derivative along single entries, by differences."""
    values = moved(facts, "as given", j, entries)
    return np.array([slope_of(value, facts.eps)[0] for value in values])
