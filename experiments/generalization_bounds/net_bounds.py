"""The bounds of one net, from what was measured of it.

    held-out rows, PAC-Bayes (two priors), finite class (two), margin and norms, VC dimension

Each holds with probability 1 − δ by itself. Where a bound chooses (the bits, the width of the
prior, the margin), δ is shared among the choices.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from experiments.common import bounds
from experiments.generalization_bounds.measuring import BITS, DELTA, DRAWN, FRESH, STDS, Run, Spread
from experiments.generalization_bounds.parity import HIDDEN, WEIGHTS

GAMMAS = 8 * 2 ** (-np.arange(64) / 4)  # margins of a net with norms 1
DIMENSION = bounds.relu_dimension(WEIGHTS, (HIDDEN, 1))
BIT = sum(WEIGHTS) * math.log(2)  # ln card(H), if every weight has one bit
HELD, HALF, RANDOM, FEW_BITS, MARGIN, ALL_BITS, VC = NAMES = (
    "held-out rows", "PAC-Bayes, prior from half the rows", "PAC-Bayes", "finite class, few bits",
    "margin and norms", "finite class, 32 bits", "VC dimension",
)  # fmt: skip


class Bound(NamedTuple):
    """A bound, and the classifier that it is for."""

    train: float  # its error on the rows of the bound
    value: float
    fresh: float  # its error on fresh rows


def all_bounds(run: Run, n: int, draws: int) -> dict[str, Bound]:
    """The seven bounds of one run with n rows."""
    train, fresh = float(run.train), float(run.fresh)
    coarse = min(
        (
            Bound(a, a + bounds.finite_class(n, bits * BIT, DELTA / len(BITS)), b)
            for bits, (a, b) in zip(BITS, run.coarse.tolist(), strict=True)
        ),
        key=lambda bound: bound.value,
    )
    complexity = bounds.rademacher(float(run.squares[:n].sum()), n, len(WEIGHTS))
    least = bounds.margin(run.margins[:n], complexity, GAMMAS.tolist(), DELTA)
    return {
        HELD: Bound(float(run.held), float(run.held) + bounds.hoeffding(FRESH, DELTA), fresh),
        HALF: posterior(run.half, n - n // 2, draws),
        RANDOM: posterior(run.random, n, draws),
        FEW_BITS: coarse,
        MARGIN: Bound(train, least, fresh),
        ALL_BITS: Bound(train, train + bounds.finite_class(n, 32 * BIT, DELTA), fresh),
        VC: Bound(train, train + bounds.vapnik_chervonenkis(n, DIMENSION, DELTA), fresh),
    }


def posterior(spread: Spread, n: int, draws: int) -> Bound:
    """The PAC-Bayes bound, where the mean of some draws bounds the error on the rows first."""
    error = bounds.kl_inverse(float(spread.train), math.log(2 / DRAWN) / draws)
    delta = (DELTA - DRAWN) / len(STDS)
    value = bounds.pac_bayes(error, float(spread.divergence), n, delta)
    return Bound(float(spread.train), value, float(spread.fresh))


def rows_needed(bound: Callable[[int], float]) -> int:
    """The fewest rows at which a bound without training errors is below 1."""
    low, high = 1, 10**12
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if bound(middle) < 1 else (middle, high)
    return high


def needed() -> dict[str, int]:
    """How many rows make the bounds that count capacity non-vacuous."""
    return {
        VC: rows_needed(lambda n: bounds.vapnik_chervonenkis(n, DIMENSION, DELTA)),
        ALL_BITS: rows_needed(lambda n: bounds.finite_class(n, 32 * BIT, DELTA)),
    }
