"""The other ways to the same numbers, compared: jit, vmap, single examples, lower precision."""

from typing import Any

import jax
import numpy as np

from fnn.checking.compare import EPS, NORM, cast_all, gap, host, norm_gap, scale_of
from fnn.checking.detect import SLIGHT, largest, trusted
from fnn.checking.facts import Facts, compiled
from fnn.checking.points import SMOOTH
from fnn.checking.problem import Problem
from fnn.checking.report import Finding


def ways_that_differ(problem: Problem, facts: Facts, wrong: set[int]) -> list[Finding]:
    """Findings about gradients that are right as given, and wrong in another way."""
    findings = [
        Finding("backward", kind_of(way), f"it fails {under(way)}: {message}", way, np.inf)
        for way, message in facts.errors.items()
        if problem.is_block or way not in (*NORM, "one example")
    ]
    for j, name in enumerate(problem.names):
        if j not in wrong:
            findings += [Finding(name, *rest) for rest in differing(problem, facts, j)]
    return findings + mixed_rows(problem, facts)


def kind_of(way: str) -> str:
    """The kind of a finding about this way."""
    return {"one example": "batch", "another axis": "axis"}.get(way, way)


def under(way: str) -> str:
    """The way as part of a sentence."""
    named = {"vmap": "under vmap", "one example": "for a batch of one"}
    return named.get(way, "with an axis after the batch" if way == "another axis" else f"in {way}")


def differing(problem: Problem, facts: Facts, j: int) -> list[tuple[str, str, str, float]]:
    """(kind, text, case, error) for every way in which gradient j is wrong."""
    out: list[tuple[str, str, str, float]] = []
    given = facts.results["as given"]
    scale = scale_of([facts.results[c].truth[j] for c in SMOOTH])

    def compare(kind: str, text: str, case: str, got: Any, want: Any, size: float) -> None:
        found = gap(got, want, size, facts.eps)
        if found.wrong.any() and found.error * size < SLIGHT * largest(facts, "as given"):
            point, truth = facts.points["as given"], given.truth[j]
            noise = facts.programs.noise(point, truth, j, facts.eps).max()
            found = gap(got, want, size, facts.eps, noise)
        if found.wrong.any():
            out.append((kind, f"{text}: {shown(got, want, found.wrong)}", case, found.error))

    compare("jit", "eager and jit differ", "jit", facts.look.gradient[j], given.hand[j], scale)
    if "1000 dy" in facts.ways:
        text = "1000 dy does not make 1000 times the gradient"
        compare("dy", text, "1000 dy", facts.ways["1000 dy"][j] / 1000, given.hand[j], scale)
    if "vmap" in facts.ways:
        for k, case in enumerate(SMOOTH[:2]):
            got, want = facts.ways["vmap"][j][k], facts.results[case].hand[j]
            compare("vmap", "vmap and one by one differ", "vmap", got, want, scale)
    plain = gap(given.hand[j], given.truth[j], scale, facts.eps)
    sure = trusted(facts, j) and not plain.wrong.any()  # else autodiff is no reference
    if "one example" in facts.ways and sure and problem.is_block:
        _, hand, truth = facts.ways["one example"]
        text = "right for several examples, wrong for one alone"
        size = max(scale, scale_of([truth[j]]))
        compare("batch", text, "one example", hand[j], truth[j], size)
    if "another axis" in facts.ways and sure:
        hand, truth = facts.ways["another axis"]
        text = "wrong with an axis between the batch and the others"
        compare("axis", text, "another axis", hand[j], truth[j], scale_of([truth[j]]))
    return out + rough(problem, facts, j)


def rough(problem: Problem, facts: Facts, j: int) -> list[tuple[str, str, str, float]]:
    """The same gradient in float32 and bfloat16: its dtype and its error."""
    out = []
    for dtype in NORM:
        if dtype not in facts.ways:
            continue
        got, want = facts.ways[dtype][j], facts.results[dtype].hand[j]
        if problem.is_block and got.dtype.name != dtype:
            text = f"the gradient of a {dtype} array must be {dtype}, got {got.dtype.name}"
            out.append(("dtype", text, dtype, 0.0))
        error, allowed = norm_gap(got, want), max(NORM[dtype], 8 * facts.eps)
        others = largest(facts, dtype) * np.sqrt(np.size(want))
        if np.linalg.norm(want) < 1e-12 * others:  # 0 but for rounding: beside the others
            off = np.nan_to_num(np.asarray(got, np.float64) - want, nan=np.inf)
            error = float(np.linalg.norm(off) / (others or 1.0))
        if error > allowed and np.isfinite(np.asarray(want)).all():
            theirs = autodiff_error(problem, facts, j, dtype)
            if error > 10 * theirs:
                text = f"off by {error:.0e} of its norm; autodiff in {dtype} by {theirs:.0e}"
                out.append((dtype, f"right in float64, {text}", dtype, error))
    return out


def autodiff_error(problem: Problem, facts: Facts, j: int, dtype: str) -> float:
    """What autodiff loses in this dtype at the same numbers."""
    point = facts.points[dtype]

    def run(leaves, dy):
        low = cast_all(leaves, dtype)
        shapes = jax.eval_shape(problem.forward, low)
        dy = [d.astype(a.dtype) for d, a in zip(dy, shapes, strict=True)]
        return problem.reference(low, dy)

    theirs = host(compiled(problem, run)(point.leaves, point.dy))
    return norm_gap(theirs[j], facts.results[dtype].hand[j])


def mixed_rows(problem: Problem, facts: Facts) -> list[Finding]:
    """A row of y that depends on other rows, in a layer that does not say so."""
    if problem.mixes_examples or "one example" not in facts.ways:
        return []
    alone, y = facts.ways["one example"][0], facts.results["as given"].y
    for a, b in zip(alone, y, strict=True):
        ends = b[[0, -1]]
        if gap(a[:, 0], ends, scale_of([b]), max(facts.eps, EPS)).wrong.any():
            text = "a row of y depends on other rows; set mixes_examples = True"
            return [Finding("y", "rows", text, "one example", np.inf)]
    return []


def shown(got: Any, want: Any, wrong: np.ndarray) -> str:
    """One wrong entry."""
    where = np.argwhere(wrong)[0].tolist()
    a, b = (float(np.asarray(g)[tuple(where)]) for g in (got, want))
    return f"{a:.4g} for {b:.4g} at {where}"
