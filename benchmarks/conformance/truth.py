"""Whether a rule is the derivative of its function: differences in float64, with numpy.

Nothing here comes from the checker. The function is asked for values only, the rule for one
vector-Jacobian product per point; both are compared along random directions and single entries.
"""

import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from benchmarks.conformance.case import Case, Tree, rule_of
from benchmarks.conformance.differences import KINK, slope

DIRECTIONS, ENTRIES = 3, 8
NOISE = 2e-2  # slopes on both sides that differ by less, of values that are not exact


class Truth(NamedTuple):
    """What differences say."""

    verdict: str  # right, wrong, undefined
    error: float  # the largest difference, relative to the gradient
    where: str  # the point, and the entry or direction, where it is largest
    given: float = 0.0  # what the rule says there
    right: float = 0.0  # what the differences say there
    kinds: tuple[str, ...] = ()  # what is wrong, as far as numbers tell
    kinks: str = ""  # a direction without a derivative at the case's own point, beside others
    points: tuple[tuple[str, str], ...] = ()  # every point and what is said of it


def truth(case: Case, f: Callable[..., Tree] | None = None) -> Truth:
    """The worst of the points; the rule is that of case.f, the values those of f."""
    found, names, tree = [], [], jax.tree.structure(case.args)
    run = jax.jit(lambda xs: (f or case.f)(*tree.unflatten(xs)))
    rule = jax.jit(lambda xs, dy: rule_of(case.f)(*tree.unflatten(xs), dy))
    for i, (name, args) in enumerate(points(case)):
        names.append(name)
        try:
            found.append(at(case, run, rule, name, args, ENTRIES if i == 0 else 3))
        except Exception as e:
            if i == 0:
                raise
            found.append(Truth("undefined", 0.0, f"{name}: {type(e).__name__}"))
    wrong = [t for t in found if t.verdict == "wrong"]
    worst = wrong[0] if wrong else max(found, key=lambda t: (t.verdict == "right", t.error))
    told = tuple(zip(names, (t.verdict for t in found), strict=True))
    return worst._replace(kinks=found[0].kinks, points=told)


def points(case: Case) -> Iterator[tuple[str, tuple[Tree, ...]]]:
    """The case's own point, zeros, and two others beside it."""
    yield "as given", case.args
    if case.only_here:
        return
    yield "zeros", tuple(changed(a, np.zeros_like) for a in case.args)
    rng = np.random.default_rng(seed_of(case.name))
    for k in (1, 2):
        move = case.tangent or (lambda tree: tree)
        by = move(tuple(changed(a, lambda b: rng.normal(size=b.shape)) for a in case.args))
        beside = jax.tree.map(
            lambda a, d: a * (1 + 0.02 * d) + 0.01 * d if floating(a) else a, case.args, by
        )
        yield f"nearby {k}", beside if case.tangent is None else move(beside)


def at(case: Case, run: Any, rule: Any, name: str, args: Any, entries: int) -> Truth:
    """What differences say at one point; run gives the values of its leaves, rule their vjp."""
    with jax.enable_x64(True):
        leaves = jax.tree.leaves(tuple(changed(a, np.asarray) for a in args))
        which = [i for i, a in enumerate(leaves) if floating(a)]
        y, shape = jax.tree.flatten(run(leaves))
        rng = np.random.default_rng(seed_of(case.name + name))
        dy = [weights(rng, a) for a in y]
        given = rule(leaves, shape.unflatten(dy))
        given = [np.asarray(g, float) for g in jax.tree.leaves(given)]

        def phi(vs: list[np.ndarray], t: float) -> float:
            moved = list(leaves)
            for i, v in zip(which, vs, strict=True):
                moved[i] = leaves[i] + t * v
            return weighed(jax.tree.leaves(run(moved)), dy)

        floats = [leaves[i] for i in which]
        return compared(case, name, floats, given, phi, rng, entries)


def compared(
    case: Case, point: str, xs: Any, given: Any, phi: Any, rng: Any, entries: int
) -> Truth:
    """The rule's slopes beside those by differences, along some directions."""
    rows, undefined = [], []
    kink = NOISE if case.inexact else KINK
    for what, vs in directions(case, xs, rng, entries):
        here = slope(lambda t, vs=vs: phi(vs, t), scale_of(xs, vs), kink)
        said = float(sum(np.vdot(v, g) for v, g in zip(vs, given, strict=True)))
        if here.defined:
            rows.append(Row(what, vs, said, here.value, here.error))
        else:
            undefined.append(f"{what}: {here.reason}")
    edge = [text for text in undefined if "finite" in text]
    if edge or not rows:
        kinks = (edge or undefined)[0]
        return Truth("undefined", 0.0, f"{point}, {kinks}", kinks=kinks)
    size = max(abs(r.right) for r in rows)
    finite = [np.abs(g[np.isfinite(g)]).max(initial=0) for g in given]
    size = max(size, 1e-3 * max(finite, default=0), 1e-300)
    worst = max(rows, key=Row.off)
    error = worst.off() / size if worst.off() > 1e-9 else 0.0
    kinks = undefined[0] if undefined else ""
    if kinks and not np.isfinite(error):  # NaN where other directions have no slope
        return Truth("undefined", 0.0, f"{point}, {kinks}", kinks=kinks)
    if error > case.tolerance and not linear(worst, rows, xs, phi):
        text = f"{worst.what}: not linear in the direction"
        return Truth("undefined", 0.0, f"{point}, {text}", kinks=text)
    verdict = "wrong" if error > case.tolerance else "right"
    kinds = told(rows) if verdict == "wrong" else ()
    where = f"{point}, {worst.what}"
    return Truth(verdict, float(error), where, worst.said, worst.right, kinds, kinks)


class Row(NamedTuple):
    """One direction."""

    what: str
    vs: list[np.ndarray]
    said: float  # by the rule
    right: float  # by differences
    error: float  # of the differences

    def off(self) -> float:
        """How far the rule is off, beyond what the differences may be."""
        if not np.isfinite(self.said):
            return np.inf
        return max(abs(self.said - self.right) - 10 * self.error, 0.0)


def linear(worst: Row, rows: list[Row], xs: list[np.ndarray], phi: Any) -> bool:
    """Whether slopes add up, as those of a function with a derivative do."""
    for other in rows[:3]:
        if other is worst:
            continue
        vs = [v - 0.7 * u for v, u in zip(worst.vs, other.vs, strict=True)]
        both = slope(lambda t, vs=vs: phi(vs, t), scale_of(xs, vs))
        want = worst.right - 0.7 * other.right
        size = abs(worst.right) + abs(other.right) + 1e-6
        if not both.defined or abs(both.value - want) > 1e-3 * size + 10 * both.error:
            return False
    return True


def told(rows: list[Row]) -> tuple[str, ...]:
    """What is wrong, as far as the numbers tell: NaN, zero, a sign, a factor."""
    said, right = np.array([r.said for r in rows]), np.array([r.right for r in rows])
    if not np.isfinite(said).all():
        return ("nan",)
    if not said.any():
        return ("zero",)
    keep = np.abs(right) > 1e-6 * np.abs(right).max()
    if not keep.any():
        return ()
    ratios = said[keep] / right[keep]
    if np.ptp(ratios) < 1e-4 * np.abs(ratios).max():
        return ("sign", "factor") if ratios[0] < 0 else ("factor", "averaged")
    return ()


def directions(
    case: Case, xs: list[np.ndarray], rng: np.random.Generator, entries: int
) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Random directions in all arrays, and single entries of each."""
    move = case.tangent or (lambda vs: vs)
    for k in range(DIRECTIONS):
        yield f"direction {k + 1}", move([rng.normal(size=a.shape) for a in xs])
    for k in range(entries):
        i = k % len(xs)
        if xs[i].size:
            j = tuple(int(rng.integers(n)) for n in xs[i].shape)
            vs = [np.zeros(a.shape) for a in xs]
            vs[i][j] = 1.0
            yield f"array {i}{list(j) or ''}", move(vs)


def scale_of(xs: list[np.ndarray], vs: list[np.ndarray]) -> float:
    """A step along vs that moves every array by about its own size."""
    pairs = [(a, v) for a, v in zip(xs, vs, strict=True) if v.any()]
    sizes = [(np.sqrt(np.mean(a**2)) or 1.0) / np.abs(v).max() for a, v in pairs]
    return float(np.clip(min(sizes, default=1.0), 1e-2, 1e2))


def weighed(y: list[Any], dy: list[np.ndarray]) -> float:
    """⟨dy, y⟩ of all floating outputs, as jax.vjp pairs them."""
    return float(sum(np.sum(np.asarray(a) * b).real for a, b in zip(y, dy, strict=True) if b.size))


def weights(rng: np.random.Generator, a: Any) -> np.ndarray:
    """A random cotangent for an output; none for an integer."""
    if not np.issubdtype(a.dtype, np.inexact):
        return np.zeros(0)
    dy = rng.normal(size=a.shape)
    return dy + 1j * rng.normal(size=a.shape) if np.iscomplexobj(a) else dy


def changed(tree: Tree, change: Callable[[np.ndarray], Any]) -> Tree:
    """The tree with its floating arrays changed, as float64 numpy arrays."""
    return jax.tree.map(
        lambda a: np.asarray(change(np.asarray(a, float)), float) if floating(a) else a, tree
    )


def floating(a: Any) -> bool:
    """Whether an array has a derivative."""
    return np.issubdtype(np.asarray(a).dtype, np.floating)


def seed_of(name: str) -> int:
    """The same seed for the same name, everywhere."""
    return zlib.crc32(name.encode())
