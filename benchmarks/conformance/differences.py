"""Slopes of a function of one number, by differences extrapolated to step 0."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

SHRINK, ROWS = 1.6, 9  # each step is the last one divided by this; so many steps
STARTS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # first steps, of which the best one counts
KINK = 1e-4  # a difference of slopes on both sides, relative, that is no rounding


class Slope(NamedTuple):
    """The slope at 0."""

    value: float
    error: float  # its estimated error
    defined: bool  # whether there is one: no kink, no jump, finite values
    reason: str = ""  # why there is none


def extrapolated(quotients: np.ndarray, powers: int) -> tuple[float, float]:
    """Ridders' method: difference quotients at shrinking steps → their limit, its error.

    `powers` is 2 where the quotient's error has even powers of the step only, else 1.
    """
    best, error = np.nan, np.inf
    last = [quotients[0]]
    for i in range(1, len(quotients)):
        row, factor = [quotients[i]], 1.0
        for j in range(1, i + 1):
            factor *= SHRINK**powers
            row.append((row[j - 1] * factor - last[j - 1]) / (factor - 1))
            off = max(abs(row[j] - row[j - 1]), abs(row[j] - last[j - 1]))
            if off < error:
                best, error = row[j], off
        if abs(row[i] - last[i - 1]) >= 2 * error and i > 2:
            break
        last = row
    return float(best), float(error)


def slope(phi: Callable[[float], float], scale: float = 1.0, kink: float = KINK) -> Slope:
    """The slope of phi at 0; scale is the size of a step that changes phi noticeably.

    Slopes on both sides that differ by more than `kink`, relative, make a kink.
    """
    here = phi(0.0)
    if not np.isfinite(here):
        return Slope(np.nan, np.inf, False, "the value is not finite")
    found = [sides(phi, here, start * scale) for start in STARTS]
    found = [three for three in found if three is not None]
    if not found:
        return Slope(np.nan, np.inf, False, "values beside it are not finite")
    middle, left, right = (min(side, key=lambda s: s[1]) for side in zip(*found, strict=True))
    size = abs(middle[0])
    if max(middle[1], left[1], right[1]) > 0.02 * size + 1e-5:
        return Slope(middle[0], middle[1], False, "differences do not converge")
    apart = max(abs(left[0] - right[0]), abs(left[0] - middle[0]))
    if apart > kink * size + 10 * (left[1] + right[1]) and apart > 1e-7:
        return Slope(middle[0], middle[1], False, f"slopes {left[0]:.6g} and {right[0]:.6g}")
    return Slope(middle[0], middle[1], True)


def sides(
    phi: Callable[[float], float], here: float, first: float
) -> tuple[tuple[float, float], ...] | None:
    """Extrapolated central, left and right slopes with errors, from steps that begin at first."""
    steps = first / SHRINK ** np.arange(ROWS)
    with np.errstate(all="ignore"):
        above = np.array([phi(h) for h in steps])
        below = np.array([phi(-h) for h in steps])
    if not (np.isfinite(above).all() and np.isfinite(below).all()):
        return None
    return (
        extrapolated((above - below) / (2 * steps), 2),
        extrapolated((here - below) / steps, 1),
        extrapolated((above - here) / steps, 1),
    )
