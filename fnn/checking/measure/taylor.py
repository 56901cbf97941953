"""The second oracle: what a gradient predicts, against what the function does.

Along a direction v, with φ(t) = Σ dy f(θ + t v) and a gradient g, the remainder

    R(t) = |φ(t) − φ(0) − t g·v|

falls like t² if g·v is the derivative and like t if it is not. No step has to be chosen:
t runs over powers of 2 from ⅛ down, and the order is read off, as log R(t) over log t,
where R is smallest and still above the rounding of φ. A function that is linear along v
has no remainder at all.

The derivative itself is estimated by central differences, (φ(t) − φ(−t)) / 2t, at the t at
which two of them in a row agree best; the same along single coordinates gives a gradient
that knows nothing of JAX's derivatives. At a kink the differences from the right and from
the left do not meet, and everything between them is a subgradient.

A random direction misses an error e of a leaf only if e·v is almost 0. Entries of v have a
size of ½ to 1½ and random signs, so a single wrong entry always counts. Measured with random
errors in leaves of 10³ to 2¹⁸ entries: one direction misses none of 860 errors of 10⁻³ of the
gradient's norm, 1.5 % of those of 10⁻⁴, 10 % of those of 10⁻⁵. Two directions are used.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from fnn.checking.measure.problem import Leaves, Problem
from fnn.numerics import cast

NUMERIC = 1e-6  # what differences can tell, relative to the leaf's scale
OCTAVES = 3  # between two steps
STEPS = 2.0 ** -np.arange(3, 34, OCTAVES)
SHIFTS = np.concatenate([[0.0], STEPS, -STEPS])


class Order(NamedTuple):
    """What the remainder says of one direction."""

    order: float  # 2 if the gradient is right, 1 if it is wrong; inf where nothing remains
    slope: float  # of f along the direction, by differences
    error: float  # of that slope
    predicted: float  # g·v
    kink: bool = False  # whether there is no derivative: a kink, a jump, a slope without end

    @property
    def right(self) -> bool:
        """Whether the gradient is the derivative along this direction, as far as one can see."""
        if not np.isfinite(self.predicted):
            return False
        close = abs(self.slope - self.predicted) <= 10 * self.error
        return close or (self.order > 1.5 and not self.far)

    @property
    def far(self) -> bool:
        """Whether slope and prediction differ by more than a thousandth."""
        return abs(self.slope - self.predicted) > 1e-3 * abs(self.slope) + 100 * self.error


def profile(problem: Problem, leaves: Leaves, dy: Leaves, v: Leaves, masks: Array) -> Array:
    """φ along v with only the leaves of each mask moved.

    φ at 0, at all t and at all −t, with the sum of the sizes of its terms: [M, 1 + 2 T, 2].
    """

    def phi(mask, t):
        moved = list(leaves)
        for i, direction, m in zip(problem.wrt, v, mask, strict=True):
            moved[i] = leaves[i] + t * m * direction
        return weighted(problem, moved, dy)

    return every_step(phi, masks)


def coordinates(problem: Problem, leaf: int, leaves: Leaves, dy: Leaves, entries: Array) -> Array:
    """φ along single entries of one leaf: [M, 1 + 2 T, 2]."""
    a = leaves[leaf]

    def phi(entry, t):
        moved = list(leaves)
        moved[leaf] = a.ravel().at[entry].add(t).reshape(a.shape)
        return weighted(problem, moved, dy)

    return every_step(phi, entries)


def every_step(phi: Callable[[Array, Array], Array], ways: Array) -> Array:
    """φ of each way at every step, one after the other: [M, 1 + 2 T, 2]."""
    n = len(SHIFTS)
    steps = jnp.repeat(ways, n, 0), jnp.tile(jnp.asarray(SHIFTS), len(ways))
    return jax.lax.map(lambda step: phi(*step), steps).reshape(len(ways), n, 2)


def weighted(problem: Problem, leaves: Leaves, dy: Leaves) -> Array:
    """φ = Σ dy f, and Σ |dy f|."""
    y = cast(problem.forward(leaves), "float64")
    terms = [d * a for d, a in zip(cast(dy, "float64"), y, strict=True)]
    zero = jnp.zeros(())
    return jnp.stack(
        [sum((a.sum() for a in several), zero) for several in (terms, map(abs, terms))]
    )


def order(values: np.ndarray, predicted: float, eps: float) -> Order:
    """The order of the remainder; values [1 + 2 T, 2] are φ and its size along one direction."""
    zero, ahead = values[0, 0], values[1 : 1 + len(STEPS), 0]
    noise = noise_of(values, eps)
    remainder = abs(ahead - zero - STEPS * predicted)
    slope, error = slope_of(values, eps)
    kink = parted(*sides(values, eps)) or jumps(values, eps)
    above = np.flatnonzero(remainder > 8 * noise)
    if len(above) < 2 or not np.isfinite(remainder).all():
        return Order(np.inf, slope, error, predicted, kink)
    a, b = above[-2], above[-1]
    fall = np.log2(remainder[a] / remainder[b]) / (OCTAVES * (b - a))
    return Order(float(fall), slope, error, predicted, kink)


def noise_of(values: np.ndarray, eps: float) -> float:
    """The rounding of φ: a few units of its terms, or what its bend at the smallest steps shows.

    A bend that falls like the step is that of a kink, and no rounding.
    """
    n = len(STEPS)
    bend = (values[1 : 1 + n, 0] + values[1 + n :, 0] - 2 * values[0, 0])[-3:]
    turn = bend / STEPS[-3:]
    kinked = np.isfinite(turn).all() and np.ptp(turn) <= 0.01 * abs(turn).max()
    shown = 0.0 if kinked else 4 * float(np.nan_to_num(abs(bend)).max())
    return max(float(8 * eps * (values[:, 1].max() + 1e-300)), shown)


def slope_of(values: np.ndarray, eps: float) -> tuple[float, float]:
    """The derivative by central differences, and its error, at the best step."""
    _, ahead, behind = np.split(values[:, 0], [1, 1 + len(STEPS)])
    (slope,), error = best_step([(ahead - behind) / (2 * STEPS)], noise_of(values, eps))
    return slope, error


def sides(values: np.ndarray, eps: float) -> tuple[float, float, float]:
    """The slopes from the right and from the left, and their error, near the point."""
    zero, ahead, behind = np.split(values[:, 0], [1, 1 + len(STEPS)])
    slopes = [(ahead - zero) / STEPS, (zero - behind) / STEPS]
    (right, left), error = best_step(slopes, noise_of(values, eps))
    return right, left, error


def slack_of(right: float, left: float, error: float) -> float:
    """How far the two slopes at a smooth point may lie apart."""
    return 10 * error + NUMERIC * (abs(left) + abs(right))


def parted(right: float, left: float, error: float) -> bool:
    """Whether the slopes from the right and from the left do not meet."""
    return abs(right - left) > 100 * slack_of(right, left, error)


def jumps(values: np.ndarray, eps: float) -> bool:
    """Whether φ leaves its value at 0 at once: the slope grows and grows as the step falls."""
    zero, ahead, behind = np.split(values[:, 0], [1, 1 + len(STEPS)])
    for side in (ahead, behind):
        move = abs(side - zero)
        if not np.isfinite(move).all() or move[-1] <= 512 * eps * values[:, 1].max():
            continue
        if move[-1] / STEPS[-1] > 100 * (move[:3] / STEPS[:3]).max():
            return True
    return False


def best_step(slopes: list[np.ndarray], noise: float) -> tuple[list[float], float]:
    """Slopes at the step where two in a row agree best, and their error."""
    errors = np.sum([abs(np.diff(slope)) for slope in slopes], 0) + noise / STEPS[1:]
    best = int(np.nanargmin(errors)) if np.isfinite(errors).any() else 0
    return [float(slope[best + 1]) for slope in slopes], float(errors[best])
