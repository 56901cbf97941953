"""What every function keeps: y, dx and gradients against a truth of many digits, entry by entry.

The inputs are swept over magnitudes (1e-38 … 1e38), over offsets (means of up to 1e4
standard deviations) and into the tails, where functions saturate. The inputs are exact: they
are rounded first, the truth is that of the rounded ones. An error is counted in rounding units
of the dtype; a number beyond the dtype's range should be infinite, one below it may be 0.
"""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import mpmath
import numpy as np

from benchmarks.mutations.subjects import BLOCKS, LAYERS, LOSSES, Point, Subject, point
from benchmarks.precision.exact import exactly
from benchmarks.precision.kept import DTYPES, Kept

MAGNITUDES = (1e-38, 1e-30, 1e-20, 1e-10, 1e-5, 1e-2, 1e2, 1e5, 1e10, 1e20, 1e30, 1e38)
OFFSETS = (10, 1e2, 1e3, 1e4)
TAILS = (1, 3, 8, 20, 60, 90)
UNDERFLOW = 2.0**10  # times the smallest normal number: products of two factors may be 0 below it
SUBJECTS = tuple(s for s in (*LAYERS, *BLOCKS, *LOSSES) if not s.key)


def functions(*, quick: bool = False) -> list[Kept]:
    """Every function in every dtype; quickly, one in two."""
    asked = [(s, dtype) for s in SUBJECTS for dtype in DTYPES]
    return [row for s, dtype in (asked[:2] if quick else asked) for row in kept(s, dtype)]


def sweeps(x: np.ndarray, chances: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Inputs made of x; probabilities stay probabilities."""
    if chances:
        for m in (10.0**-k for k in (1, 3, 5, 7, 10, 20, 30, 37)):
            yield "tails", f"{m:.0e} y", x * m
            yield "tails", f"1 - {m:.0e} y", 1 - x * m
        return
    for m in MAGNITUDES:
        yield "magnitudes", f"{m:.0e} x", x * m
    for m in OFFSETS:
        yield "offsets", f"x + {m:.0e}", x + m
    for m in TAILS:
        yield "tails", f"{m} x", x * m


def kept(subject: Subject, dtype: str) -> list[Kept]:
    """All sweeps of one function in one dtype."""
    with jax.enable_x64(dtype == "float64"):
        at = point(subject, 1, dtype)
    chances = is_chance(subject, at)
    if not jnp.issubdtype(at.x.dtype, jnp.floating):
        inputs = iter([("magnitudes", "x", at.x)])
    else:
        inputs = sweeps(np.asarray(at.x, np.float64), chances)
    worst: dict[tuple[str, str], Kept] = {}
    for sweep, where, x in inputs:
        high = 1 - float(jnp.finfo(dtype).epsneg) if chances else float(jnp.finfo(dtype).max)
        x = np.copysign(np.clip(abs(x), float(jnp.finfo(dtype).tiny), high), x)
        with jax.enable_x64(dtype == "float64"):
            here = at._replace(x=jnp.asarray(x).astype(at.x.dtype))
        for what, entry, array in errors(here, dtype):
            old = worst.get((sweep, what), Kept(subject.name, dtype, sweep, what, -1.0, -1.0, ""))
            new = old._replace(array=max(old.array, array))
            worst[sweep, what] = new._replace(entry=entry, at=where) if entry > old.entry else new
    return list(worst.values())


def is_chance(subject: Subject, at: Point) -> bool:
    """Whether the inputs are probabilities."""
    x = np.asarray(at.x, np.float64)
    return subject.family == "loss" and bool(((x >= 0) & (x <= 1)).all())


def errors(at: Point, dtype: str) -> list[tuple[str, float, float]]:
    """y, dx and gradients at one input."""
    f = applied(at)
    with jax.enable_x64(dtype == "float64"):
        y, cache = f(at.params, at.x)
        dy = jnp.asarray(np.random.default_rng(5).standard_normal(y.shape)).astype(y.dtype)
        grads, dx = derivative(at, cache, dy)

    def truth(params, x, dy):
        y, pull = jax.vjp(lambda params, x: f(params, x)[0], params, x)
        return y, *pull(dy.astype(y.dtype))

    exact_y, exact_grads, exact_dx = exactly(truth, at.params, at.x, dy, digits=DTYPES[dtype])
    pairs = [("y", y, exact_y), ("dx", dx, exact_dx)]
    pairs += [
        ("gradients", got, want)
        for got, want in zip(jax.tree.leaves(grads), jax.tree.leaves(exact_grads), strict=True)
    ]
    eps = float(jnp.finfo(dtype).eps) / 2
    return [
        (what, *error(np.asarray(got, np.float64), want, jnp.finfo(got.dtype), eps))
        for what, got, want in pairs
        if got is not None and jnp.issubdtype(got.dtype, jnp.floating)
    ]


def applied(at: Point) -> Any:
    """(params, x) → y, cache."""
    if at.params is None:
        return lambda params, x: at.block.forward(x, at.target)
    return at.block.forward


def derivative(at: Point, cache: Any, dy: Any) -> tuple[Any, Any]:
    """The gradients and dx."""
    if at.params is None:
        return (), at.block.backward(cache, dy)
    return at.block.backward(at.params, cache, dy)


def error(got: np.ndarray, want: np.ndarray, info: Any, eps: float) -> tuple[float, float]:
    """The largest error, relative to each entry and to the largest one, in rounding units."""
    if not got.size:
        return 0.0, 0.0
    low, high = UNDERFLOW * float(info.tiny), float(info.max)
    size = np.array([float(min(max(abs(w), low), high)) for w in want.ravel()]).reshape(want.shape)
    pairs = zip(got.ravel(), want.ravel(), strict=True)
    with mpmath.workdps(30), np.errstate(all="ignore"):
        off = np.array([difference(*pair, low, high) for pair in pairs]).reshape(got.shape)
    return float((off / size).max() / eps), float(off.max() / size.max() / eps)


def difference(got: float, want: Any, low: float, high: float) -> float:
    """|got − want|; beyond the range infinity is right, below it 0."""
    if abs(want) > high and (np.isnan(got) or got == np.copysign(np.inf, float(mpmath.sign(want)))):
        return 0.0
    if abs(want) < low and abs(got) < low:
        return 0.0
    return float(abs(mpmath.mpf(got) - want)) if np.isfinite(got) else np.inf
