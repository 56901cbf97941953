"""What is wrong with one gradient: the nearest explanation that fits its numbers.

`hand` and `truth` are a leaf's two gradients, stacked over several points and dy: an
explanation must fit all of them, so that a leaf of one number is explained too. The
explanations are tried from the plainest to the farthest; one fits when it leaves less than
a millionth of the gradient.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.checking.explain.diagnosis import Diagnosis, Factor, Size, factor_of
from fnn.checking.measure.comparison import EPS

FITS = 1e-6  # of the norm


class Suspect(NamedTuple):
    """A wrong gradient, with what an explanation may draw on. K points are stacked."""

    name: str  # of the leaf
    hand: np.ndarray  # [K, ...]
    truth: np.ndarray  # [K, ...]
    value: np.ndarray  # of the parameter or input itself, [K, ...]
    wrong: np.ndarray  # which entries, [K, ...]
    sizes: Sequence[Size] = ()  # what a constant factor may be named after
    others: Sequence[tuple[str, np.ndarray]] = ()  # the true gradients of other leaves
    by_example: Callable[[], np.ndarray | None] = lambda: None  # from each row of dy alone
    fits: float = FITS
    alone: bool = False  # whether it is right for a single example


def explain(s: Suspect) -> Diagnosis | None:
    """The first explanation that fits, or None.

    What fits must leave little of the error too, not only little of the gradient.
    """
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(s.hand - s.truth) / (np.linalg.norm(s.hand) or 1)
    if np.isfinite(off):
        s = s._replace(fits=min(s.fits, 0.05 * float(off)))
    for find in (
        bad_number, zero, multiple, rearranged, one_place, swapped, examples, added, shaped, rough
    ):  # fmt: skip
        found = find(s)
        if found is not None:
            return found
    return None


def bad_number(s: Suspect) -> Diagnosis | None:
    """NaN or infinite entries."""
    bad = ~np.isfinite(s.hand) & np.isfinite(s.truth)
    if not bad.any():
        return None
    k, *index = np.argwhere(bad)[0].tolist()
    got = float(s.hand[(k, *index)])
    return Diagnosis("nan", where=(*index,), got=got, number=int(bad[k].sum()), total=bad[k].size)


def zero(s: Suspect) -> Diagnosis | None:
    """Zero everywhere."""
    return None if np.any(s.hand) else Diagnosis("zero", total=s.hand[0].size)


def multiple(s: Suspect) -> Diagnosis | None:
    """A constant times the gradient."""
    factor = fitting(s, s.hand, s.truth)
    if factor is None:
        return None
    kind = "sign" if factor.value == -1 else "averaged" if factor.is_mean else "factor"
    return Diagnosis(kind, factor=factor)


def one_place(s: Suspect) -> Diagnosis | None:
    """One entry, or one index of one axis, is wrong; the rest is right."""
    wrong = s.wrong.any(0)
    if not wrong.any() or wrong.all():
        return None
    where = np.argwhere(wrong)
    if len(where) == 1:
        return part("one entry", s, tuple(where[0].tolist()))
    for axis in range(wrong.ndim):
        index: list[int | None] = [None] * wrong.ndim
        index[axis] = int(where[0, axis])
        if (where[:, axis] == index[axis]).all() and wrong.shape[axis] > 1:
            return part("one slice", s, tuple(index))
    return None


def part(kind: str, s: Suspect, index: tuple[int | None, ...]) -> Diagnosis:
    """What the wrong part of a gradient is: a multiple of what is right, or other numbers."""
    place = (slice(None), *(slice(None) if i is None else i for i in index))
    hand, truth = s.hand[place], s.truth[place]
    factor = fitting(s, hand, truth) if np.any(hand) else Factor(0.0)
    got, want = float(hand[0].ravel()[0]), float(truth[0].ravel()[0])
    right = s.wrong[0].size - 1
    return Diagnosis(kind, factor=factor, where=index, got=got, want=want, total=right)


def rearranged(s: Suspect) -> Diagnosis | None:
    """The right numbers in the wrong places, perhaps times a constant."""
    for diagnosis, moved in arrangements(s.truth):
        factor = fitting(s, s.hand, moved)
        if factor is not None:
            return diagnosis._replace(factor=unless_one(factor))
    return None


def arrangements(truth: np.ndarray) -> Iterator[tuple[Diagnosis, np.ndarray]]:
    """The gradient with its entries moved about; the first axis is the stack of points."""
    axes = range(1, truth.ndim)
    for order in itertools.permutations(axes):
        if order == tuple(axes):
            continue
        moved = truth.transpose(0, *order)
        if moved.shape == truth.shape:
            yield Diagnosis("transposed"), moved
        yield Diagnosis("transposed", "reshaped"), moved.reshape(truth.shape)
    for axis in axes:
        yield Diagnosis("reversed", axis=axis - 1), np.flip(truth, axis)
    for axis in axes:
        n = truth.shape[axis]
        for k in range(1, n) if n <= 16 else (1, 2, n // 2, n - 2, n - 1):
            steps = k if k <= n // 2 else k - n
            yield Diagnosis("rolled", axis=axis - 1, number=steps), np.roll(truth, k, axis)


def swapped(s: Suspect) -> Diagnosis | None:
    """The gradient of another leaf."""
    for name, other in s.others:
        factor = fitting(s, s.hand, other) if other.shape == s.hand.shape else None
        if factor is not None:
            return Diagnosis("swapped", factor=unless_one(factor), names=(name,))
    return None


def examples(s: Suspect) -> Diagnosis | None:
    """Only some examples count, or they count differently."""
    each = s.by_example()
    if each is None or not np.isfinite(each).all():
        return None
    n, each, hand = len(each), each.reshape(len(each), -1), s.hand.ravel()
    for counted in subsets(n):
        if small(hand - each[counted].sum(0), hand, s.fits):
            return Diagnosis("not summed", "some", numbers=tuple(counted), total=n)
    if s.alone or len(hand) < 2 * n or np.linalg.matrix_rank(each) < 2:
        return None  # with so few numbers some weights always fit
    weights, *_ = np.linalg.lstsq(each.T, hand, rcond=None)
    if not small(hand - weights @ each, hand, s.fits):
        return None
    return Diagnosis("not summed", "weighted", numbers=tuple(weights.tolist()), total=n)


def subsets(n: int) -> Iterator[list[int]]:
    """Plain choices of examples: one, all but one, the first or last few, every second."""
    yield from ([i] for i in range(n))
    yield from ([j for j in range(n) if j != i] for i in range(n))
    for k in range(2, n - 1):
        yield list(range(k))
        yield list(range(n - k, n))
    yield from (list(range(i, n, 2)) for i in (0, 1))


def added(s: Suspect) -> Diagnosis | None:
    """The gradient plus a multiple of the parameter, or plus a constant."""
    rest = s.hand - s.truth
    c = ratio(rest, s.value, s.fits)
    if c is not None and s.hand.size > 1:
        return Diagnosis("penalty", factor=Factor(c), names=(s.name,))
    if s.hand.size > 2 and small(rest - rest.mean(), rest, s.fits):
        return Diagnosis("penalty", "constant", factor=Factor(float(rest.mean())))
    return None


def shaped(s: Suspect) -> Diagnosis | None:
    """The absolute value, the sign or the square of the gradient."""
    t = s.truth
    forms = {"absolute value": abs(t), "sign": np.sign(t), "square": t * t}
    for name, form in forms.items():
        if t[0].size > 1 and (t < 0).any() and ratio(s.hand, form, s.fits) is not None:
            return Diagnosis("another function", "of it", names=(name,))
    return None


def rough(s: Suspect) -> Diagnosis | None:
    """A gradient that is right to a few digits."""
    t, h = s.truth, s.hand
    for dtype in ("bfloat16", "float16", "float32"):
        with np.errstate(over="ignore"):
            same = np.array_equal(h.astype(jnp.dtype(dtype)).astype(np.float64), h)
        if same and small(h - t, t, 2e-2):
            return Diagnosis("low precision", "dtype", names=(dtype,))
    off = np.linalg.norm(h - t) / (np.linalg.norm(t) or 1)
    everywhere = (abs(h - t) <= 0.02 * abs(t) + 1e-12 * abs(t).max(initial=0.0)).all()
    if EPS < off < (2e-2 if everywhere else 1e-5):
        return Diagnosis("low precision", "digits", number=int(-np.log10(off)))
    return None


def fitting(s: Suspect, a: np.ndarray, b: np.ndarray) -> Factor | None:
    """The factor of a in a = c b, if there is one that is not 0."""
    c = ratio(a, b, s.fits)
    if c is None:
        return None
    return factor_of(float(np.sign(c)) if abs(abs(c) - 1) < s.fits else c, s.sizes)


def unless_one(factor: Factor) -> Factor | None:
    """A factor that is worth a word."""
    return None if factor.value == 1 else factor


def ratio(a: Any, b: Any, fits: float = FITS) -> float | None:
    """c with a = c b, if there is one that is not 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    square = (b * b).sum()
    if not square > 0 or not np.isfinite(a).all():
        return None
    c = (a * b).sum() / square
    return float(c) if c != 0 and small(a - c * b, a, fits) else None


def small(rest: np.ndarray, whole: np.ndarray, fits: float) -> bool:
    """Whether `rest` is nothing beside `whole`."""
    return bool(np.linalg.norm(rest) <= fits * np.linalg.norm(whole))
