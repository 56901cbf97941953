"""What is wrong with one gradient: the nearest explanation that fits its numbers.

`hand` and `truth` are a leaf's two gradients, stacked over several points and dy: an
explanation must fit all of them, so that a leaf of one number is explained too. The
explanations are tried from the plainest to the farthest; one fits when it leaves less than
a millionth of the gradient.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.checking.compare import EPS

FITS = 1e-6  # of the norm
BATCH = "the number of examples"


class Suspect(NamedTuple):
    """A wrong gradient, with what an explanation may draw on. K points are stacked."""

    name: str  # of the leaf
    hand: np.ndarray  # [K, ...]
    truth: np.ndarray  # [K, ...]
    value: np.ndarray  # of the parameter or input itself, [K, ...]
    wrong: np.ndarray  # which entries, [K, ...]
    sizes: dict[str, int]  # what a constant factor may be named after
    others: dict[str, np.ndarray]  # the true gradients of other leaves
    by_example: Callable[[], np.ndarray | None]  # from each row of dy alone, [B, K, ...]
    fits: float = FITS
    alone: bool = False  # whether it is right for a single example


class Explanation(NamedTuple):
    """What is wrong, and the evidence."""

    kind: str
    text: str


def explain(s: Suspect) -> Explanation | None:
    """The first explanation that fits, or None.

    What fits must leave little of the error too, not only little of the gradient.
    """
    with np.errstate(invalid="ignore"):
        off = np.linalg.norm(s.hand - s.truth) / (np.linalg.norm(s.hand) or 1)
    if np.isfinite(off):
        s = s._replace(fits=min(s.fits, 0.05 * float(off)))
    for find in (bad_number, nothing, multiple, arranged, place, swapped, examples, added, shaped):
        found = find(s)
        if found is not None:
            return found
    return None


def bad_number(s: Suspect) -> Explanation | None:
    """NaN or infinite entries."""
    bad = ~np.isfinite(s.hand) & np.isfinite(s.truth)
    if not bad.any():
        return None
    where = np.argwhere(bad)[0]
    share = f"{bad[where[0]].sum()} of {bad[where[0]].size} entries"
    return Explanation("nan", f"{s.hand[tuple(where)]} at {_index(where[1:])}, {share}")


def nothing(s: Suspect) -> Explanation | None:
    """Zero everywhere."""
    if np.any(s.hand):
        return None
    return Explanation("zero", f"all {s.hand[0].size} entries are 0")


def multiple(s: Suspect) -> Explanation | None:
    """A constant times the gradient."""
    c = factor(s.hand, s.truth, s.fits)
    if c is None:
        return None
    if abs(c + 1) < s.fits:
        return Explanation("sign", "it is −1 × the gradient")
    name = named(c, s.sizes)
    kind = "averaged" if _is_mean(name) else "factor"
    return Explanation(kind, f"it is {name} × the gradient")


def place(s: Suspect) -> Explanation | None:
    """One entry, or one index of one axis, is wrong; the rest is right."""
    wrong = s.wrong.any(0)
    if not wrong.any() or wrong.all():
        return None
    at = np.argwhere(wrong)
    if len(at) == 1:
        i = (slice(None), *at[0])
        return Explanation(
            "one entry", f"only {_index(at[0])} is wrong: {_part(s, i)}, {wrong.size - 1} are right"
        )
    for axis in range(wrong.ndim):
        indices = np.unique(at[:, axis])
        if len(indices) == 1 and wrong.shape[axis] > 1:
            i = (slice(None),) * (axis + 1) + (indices[0],)
            where = ["..."] if wrong.ndim == 1 else [":"] * wrong.ndim
            where[axis] = str(indices[0])
            return Explanation("one slice", f"only [{', '.join(where)}] is wrong: {_part(s, i)}")
    return None


def arranged(s: Suspect) -> Explanation | None:
    """The right numbers in the wrong places, perhaps times a constant."""
    for kind, text, moved in _arrangements(s.truth):
        c = factor(s.hand, moved, s.fits)
        if c is not None:
            times = "" if abs(c - 1) < s.fits else f", times {named(c, s.sizes)}"
            return Explanation(kind, f"{text}{times}")
    return None


def swapped(s: Suspect) -> Explanation | None:
    """The gradient of another leaf."""
    for name, other in s.others.items():
        if other.shape == s.hand.shape and np.any(other):
            c = factor(s.hand, other, s.fits)
            if c is not None:
                times = "" if abs(c - 1) < s.fits else f"{named(c, s.sizes)} × "
                return Explanation("swapped", f"it is {times}the gradient of {name}")
    return None


def examples(s: Suspect) -> Explanation | None:
    """Only some examples count, or they count differently."""
    parts = s.by_example()
    if parts is None or not np.isfinite(parts).all():
        return None
    n, parts, hand = len(parts), parts.reshape(len(parts), -1), s.hand.ravel()
    for counted in _subsets(n):
        if _small(hand - parts[counted].sum(0), hand, s.fits):
            which = ", ".join(map(str, counted[:4])) + (" ..." if len(counted) > 4 else "")
            some = f"only example {which}" if len(counted) == 1 else f"only examples {which}"
            return Explanation("not summed", f"{some} of {n} count")
    if s.alone or len(hand) < 2 * n or np.linalg.matrix_rank(parts) < 2:
        return None  # with so few numbers some weights always fit
    weights, *_ = np.linalg.lstsq(parts.T, hand, rcond=None)
    if not _small(hand - weights @ parts, hand, s.fits):
        return None
    shown = ", ".join(f"{w:.3g}" for w in weights[:4]) + (" ..." if n > 4 else "")
    return Explanation("not summed", f"the examples count {shown} times instead of once")


def _subsets(n: int) -> Iterator[list[int]]:
    """Plain choices of examples: one, all but one, the first or last few, every second."""
    yield from ([i] for i in range(n))
    yield from ([j for j in range(n) if j != i] for i in range(n))
    for k in range(2, n - 1):
        yield list(range(k))
        yield list(range(n - k, n))
    yield from (list(range(i, n, 2)) for i in (0, 1))


def added(s: Suspect) -> Explanation | None:
    """The gradient plus a multiple of the parameter, or plus a constant."""
    rest = s.hand - s.truth
    c = factor(rest, s.value, s.fits) if np.any(s.value) else None
    if c is not None and s.hand.size > 1:
        return Explanation("penalty", f"it is the gradient + {c:.4g} × {s.name}, as of a penalty")
    if s.hand.size > 2 and _small(rest - rest.mean(), rest, s.fits):
        return Explanation("penalty", f"it is the gradient + {rest.mean():.4g} everywhere")
    return None


def shaped(s: Suspect) -> Explanation | None:
    """The absolute value, the sign, the square, a clipped or a rounded gradient."""
    t, h = s.truth, s.hand
    forms = {"its absolute value": abs(t), "its sign": np.sign(t), "its square": t * t}
    for text, form in forms.items():
        if h[0].size > 1 and (t < 0).any() and factor(h, form, s.fits) is not None:
            return Explanation("another function", f"it is {text}")
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        with np.errstate(over="ignore"):
            same = np.array_equal(h.astype(dtype).astype(np.float64), h)
        if same and _small(h - t, t, 2e-2):
            return Explanation("low precision", f"its entries are {jnp.dtype(dtype)} numbers")
    off = np.linalg.norm(h - t) / (np.linalg.norm(t) or 1)
    if EPS < off < 1e-5:
        return Explanation("low precision", f"it has {int(-np.log10(off))} right digits of 16")
    if EPS < off < 2e-2 and (abs(h - t) <= 0.02 * abs(t) + 1e-12 * abs(t).max()).all():
        return Explanation("low precision", f"it has {int(-np.log10(off))} right digits of 16")
    return None


def factor(a: np.ndarray, b: np.ndarray, fits: float) -> float | None:
    """c with a = c b, if there is one that is not 0."""
    square = (b * b).sum()
    if not square > 0 or not np.isfinite(a).all():
        return None
    c = (a * b).sum() / square
    return float(c) if c != 0 and _small(a - c * b, a, fits) else None


def _small(rest: np.ndarray, whole: np.ndarray, fits: float) -> bool:
    """Whether `rest` is nothing beside `whole`."""
    return bool(np.linalg.norm(rest) <= fits * np.linalg.norm(whole))


def named(c: float, sizes: dict[str, int]) -> str:
    """c by its name: 2, 1/2, N, 1/N, √n ..., else in digits."""
    sign, size = ("−" if c < 0 else ""), abs(c)
    if 1 in (round(size * n, 6) for name, n in sizes.items() if name == BATCH and n > 1):
        return f"{sign}1/{sizes[BATCH]} ({sizes[BATCH]} is {BATCH})"
    if 1e-9 < abs(size - 1) < 1e-5:
        return f"{sign}(1 {'−' if size < 1 else '+'} {abs(size - 1):.0e})"
    plain = {2: "2", 0.5: "1/2", 1: "1"}
    for value, name in plain.items():
        if abs(size / value - 1) < 1e-6:
            return f"{sign}{name}{_also(size, sizes)}"
    for name, n in sizes.items():
        if n < 2:
            continue
        forms = {n: "{}", 1 / n: "1/{}", 2 / n: "2/{}", n / 2: "{}/2", n**0.5: "√{}"}
        forms |= {n**-0.5: "1/√{}", n * n: "{}²", 1 / (n * n): "1/{}²"}
        for value, form in forms.items():
            if abs(size / value - 1) < 1e-6:
                return f"{sign}{form.format(n)} ({n} is {name})"
    whole = round(1 / size)
    return f"{sign}1/{whole}" if whole > 1 and abs(size * whole - 1) < 1e-6 else f"{c:.6g}"


def _also(c: float, sizes: dict[str, int]) -> str:
    """A size that c also is, or of which it is the inverse."""
    for name, n in sizes.items():
        if n > 1 and n == c:
            return f" ({n} is also {name})"
        if n > 1 and 1 / n == c:
            return f" ({n} is also {name})"
    return ""


def _is_mean(name: str) -> bool:
    """Whether a factor is one over a number of terms: a mean where a sum belongs."""
    return (
        name.startswith("1/")
        and " is " in name
        and " also " not in name
        and "√" not in name
        and "²" not in name
    )


def _arrangements(truth: np.ndarray) -> Iterator[tuple[str, str, np.ndarray]]:
    """The gradient with its entries moved about; the first axis is the stack of points."""
    axes = range(1, truth.ndim)
    for order in itertools.permutations(axes):
        if list(order) == list(axes):
            continue
        moved = truth.transpose(0, *order)
        if moved.shape == truth.shape:
            yield "transposed", "it is the gradient transposed", moved
        yield (
            "transposed",
            "it is the gradient transposed, then reshaped",
            moved.reshape(truth.shape),
        )
    for axis in axes:
        yield "reversed", f"it is reversed along axis {axis - 1}", np.flip(truth, axis)
    for axis in axes:
        n = truth.shape[axis]
        steps = range(1, n) if n <= 16 else (1, 2, n // 2, n - 2, n - 1)
        for k in steps:
            shift = k if k <= n // 2 else k - n
            text = f"it is rolled by {shift} along axis {axis - 1}"
            yield "rolled", text, np.roll(truth, k, axis)


def _part(s: Suspect, i: tuple[Any, ...]) -> str:
    """What the wrong part of a gradient is."""
    hand, truth = s.hand[i], s.truth[i]
    if not np.any(hand):
        return "it is 0"
    c = factor(hand, truth, s.fits)
    if c is not None:
        return "its sign is wrong" if abs(c + 1) < s.fits else f"it is {named(c, s.sizes)} × right"
    got, want = hand[0].ravel()[0], truth[0].ravel()[0]
    return f"{got:.4g} where {want:.4g} is right"


def _index(i: np.ndarray) -> str:
    """An index as it is written."""
    return f"[{', '.join(map(str, i))}]"
