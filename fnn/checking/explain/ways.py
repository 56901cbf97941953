"""The other ways to the same numbers, compared: jit, vmap, single examples, low precision."""

from typing import Any

import jax
import numpy as np

from fnn.checking.explain.diagnosis import Diagnosis, Fault
from fnn.checking.measure.comparison import EPS, NORM, cast_all, gap, host, norm_gap, scale_of
from fnn.checking.measure.facts import Facts, compared, largest
from fnn.checking.measure.problem import compiled

KINDS = {"eager": "jit", "1000 dy": "dy", "one example": "batch", "another axis": "axis"}


def ways_that_differ(facts: Facts, wrong: set[int]) -> list[Fault]:
    """What is wrong with gradients that are right as given, and wrong in another way."""
    asked = facts.problem.keeps_contract
    faults = [
        Fault("backward", Diagnosis(kind_of(way), "fails", names=(way,), message=text), way, np.inf)
        for way, text in facts.errors.items()
        if asked or way not in (*NORM, "one example")
    ]
    for j in range(len(facts.problem.names)):
        if j not in wrong:
            faults += [*numbers(facts, j), *low_precision(facts, j)]
    return faults + mixed_rows(facts)


def kind_of(way: str) -> str:
    """The kind of a fault in this way."""
    return KINDS.get(way, way)


def numbers(facts: Facts, j: int) -> list[Fault]:
    """The ways in float64 in which gradient j comes out different."""
    ways, given = facts.ways, facts.given
    scale = scale_of([facts.results[case].truth[j] for case in facts.smooth])
    believed = not any(facts.contradicted(case, j) for case in facts.smooth)
    sure = believed and not gap(given.hand[j], given.truth[j], scale, facts.eps).wrong.any()
    pairs: list[tuple[str, Any, Any, float]] = []
    if "eager" in ways:
        pairs.append(("eager", ways["eager"][j], given.hand[j], scale))
    if "1000 dy" in ways:
        pairs.append(("1000 dy", ways["1000 dy"][j] / 1000, given.hand[j], scale))
    for k, case in enumerate(facts.smooth[:2] if "vmap" in ways else ()):
        pairs.append(("vmap", ways["vmap"][j][k], facts.results[case].hand[j], scale))
    if "one example" in ways and sure and facts.problem.keeps_contract:
        _, hand, truth = ways["one example"]
        pairs.append(("one example", hand[j], truth[j], max(scale, scale_of([truth[j]]))))
    if "another axis" in ways and sure:
        hand, truth = ways["another axis"]
        pairs.append(("another axis", hand[j], truth[j], scale_of([truth[j]])))
    faults = []
    eps = facts.eps if facts.eps == EPS else 64 * facts.eps  # of float32 another order is another
    for way, got, want, size in pairs:
        found = compared(facts, "as given", j, got, want, size, eps=eps)
        if found.wrong.any():
            index = tuple(np.argwhere(found.wrong)[0].tolist())
            a, b = (float(np.asarray(g)[index]) for g in (got, want))
            diagnosis = Diagnosis(kind_of(way), "differs", where=index, got=a, want=b, names=(way,))
            faults.append(Fault(facts.problem.names[j], diagnosis, way, found.error))
    return faults


def low_precision(facts: Facts, j: int) -> list[Fault]:
    """The same gradient in float32 and bfloat16: its dtype and its error."""
    faults, name = [], facts.problem.names[j]
    for dtype in NORM:
        if dtype not in facts.ways or dtype not in facts.results:
            continue
        got, want = facts.ways[dtype][j], facts.results[dtype].hand[j]
        if facts.problem.keeps_contract and got.dtype.name != dtype:
            faults.append(
                Fault(name, Diagnosis("dtype", names=(dtype, got.dtype.name)), dtype, 0.0)
            )
        error, allowed = norm_gap(got, want), max(NORM[dtype], 8 * facts.eps)
        others = largest(facts, dtype) * np.sqrt(np.size(want))
        if np.linalg.norm(want) < 1e-12 * others:  # 0 but for rounding: beside the others
            off = np.nan_to_num(np.asarray(got, np.float64) - want, nan=np.inf)
            error = float(np.linalg.norm(off) / (others or 1.0))
        if error > allowed and np.isfinite(np.asarray(want)).all():
            theirs = autodiff_error(facts, j, dtype)
            if error > 10 * theirs:
                diagnosis = Diagnosis(dtype, names=(dtype,), numbers=(error, theirs))
                faults.append(Fault(name, diagnosis, dtype, error))
    return faults


def autodiff_error(facts: Facts, j: int, dtype: str) -> float:
    """What autodiff loses in this dtype at the same numbers."""
    problem, point = facts.problem, facts.points[dtype]

    def run(leaves, dy):
        low = cast_all(leaves, dtype)
        shapes = jax.eval_shape(problem.forward, low)
        dy = [d.astype(a.dtype) for d, a in zip(dy, shapes, strict=True)]
        return problem.reference(low, dy)

    theirs = host(compiled(problem, run)(point.leaves, point.dy))
    return norm_gap(theirs[j], facts.results[dtype].hand[j])


def mixed_rows(facts: Facts) -> list[Fault]:
    """A row of y that depends on other rows, in a layer that does not say so."""
    if facts.problem.mixes_examples or "one example" not in facts.ways:
        return []
    for alone, y in zip(facts.ways["one example"][0], facts.given.y, strict=True):
        if gap(alone[:, 0], y[[0, -1]], scale_of([y]), facts.eps).wrong.any():
            return [Fault("y", Diagnosis("rows"), "one example", np.inf)]
    return []
