"""A leaf too large for differences along every entry, in a forward that autodiff cannot follow.

The order test says whether it is wrong. Where it is wrong is found by halving: a random
direction on one half of the entries, then on the other. If one half is right each time, a
single entry is left after log₂ n steps; if both are wrong, a sample of entries is moved one
by one, and explained like a small leaf.
"""

import numpy as np

from fnn.checking.explain.diagnosis import Diagnosis
from fnn.checking.explain.patterns import Suspect, multiple, zero
from fnn.checking.measure.facts import Facts, directions, dot
from fnn.checking.measure.kinks import slopes
from fnn.checking.measure.taylor import order

SAMPLE = 24


def by_halving(facts: Facts, j: int) -> Diagnosis:
    """What is wrong with gradient j, which the order test found wrong."""
    hand = facts.given.hand[j].ravel()
    entry = single(facts, j, hand)
    if entry is not None:
        (want,) = slopes(facts, "as given", j, np.array([entry]))
        index = tuple(int(i) for i in np.unravel_index(entry, facts.given.hand[j].shape))
        got, want = float(hand[entry]), float(want)
        return Diagnosis("one entry", "halving", where=index, got=got, want=want)
    chosen = np.random.default_rng(0).choice(hand.size, min(SAMPLE, hand.size), replace=False)
    truth = slopes(facts, "as given", j, chosen)[None]
    sample = Suspect(
        name=facts.problem.names[j],
        hand=hand[None, chosen],
        truth=truth,
        value=0 * truth,
        wrong=np.ones(truth.shape, bool),
        fits=1e-4,  # what differences can tell
    )
    found = zero(sample) or multiple(sample)
    if found is not None:
        return found._replace(sample=len(chosen))
    k = facts.orders["as given"][j][0]
    return Diagnosis("another function", "order", numbers=(k.order, k.predicted, k.slope))


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
    v, values = directions(facts, "as given", 3, {j: inside})
    return not order(values[j], dot(hand, np.ravel(v[j])), facts.eps).right
