"""The verdict: facts in, faults out.

Every leaf gets one fault: what is wrong at the first point that shows it, with the best
explanation. Faults in the other ways (vmap, jit, low precision, single examples) count for
leaves that are right where they were given; elsewhere they would only repeat it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.explain.chain_rule import of_chain_rule
from fnn.checking.explain.detection import Examined, examine
from fnn.checking.explain.diagnosis import Diagnosis, Fault, Note, Size
from fnn.checking.explain.halving import by_halving
from fnn.checking.explain.linearity import by_example, of_dy
from fnn.checking.explain.patterns import FITS, Suspect, explain
from fnn.checking.explain.ways import ways_that_differ
from fnn.checking.measure.comparison import EPS, gap, scale_of
from fnn.checking.measure.double import double_in_callbacks
from fnn.checking.measure.eager import BackwardError, agrees
from fnn.checking.measure.facts import Facts
from fnn.checking.measure.measuring import measure
from fnn.checking.measure.points import SMOOTH
from fnn.checking.measure.problem import Problem, compiled, squared


class Verdict(NamedTuple):
    """The result of a check, as data."""

    problem: Problem
    faults: tuple[Fault, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()  # of every gradient
    errors: tuple[float, ...] = ()  # as given, relative to each leaf's own scale
    cases: tuple[str, ...] = ("as given",)
    notes: tuple[Note, ...] = ()
    undecided: tuple[Note, ...] = ()  # what nobody can tell
    left_out: tuple[str, ...] = ()


def judge(problem: Problem, seed: int = 0, *, quick: bool = False) -> Verdict:
    """Measure a problem and find what is wrong. Runs inside jax.enable_x64(True)."""
    with double_in_callbacks(jax.make_jaxpr(problem.forward)(problem.leaves)):
        try:
            return verdict(measure(problem, seed, quick=quick))
        except BackwardError as failure:
            if not right_when_square(problem):
                raise failure.plain() from None
            diagnosis = Diagnosis("sizes", "fails", message=str(failure))
            return Verdict(problem, (Fault("backward", diagnosis, "as given", np.inf),))


def verdict(facts: Facts) -> Verdict:
    """What the facts say."""
    every, notes = examine(facts)
    wrong = {j: examined for j, examined in enumerate(every) if examined.masks}
    faults = [
        Fault(facts.problem.names[j], diagnosis, wrong[j].case, wrong[j].error)
        for j, diagnosis in diagnoses(facts, wrong).items()
    ]
    return Verdict(
        facts.problem,
        (*faults, *ways_that_differ(facts, set(wrong))),
        tuple(np.shape(hand) for hand in facts.given.hand),
        tuple(examined.error for examined in every),
        (*facts.smooth, *(c for c in facts.special if c not in facts.unasked), *facts.ways),
        tuple(notes),
        tuple(unknown(facts, every)),
        facts.left_out,
    )


def unknown(facts: Facts, every: list[Examined]) -> list[Note]:
    """What nobody can tell of gradients that are not wrong."""
    kinds: dict[str, list[str]] = {}
    for name, examined in zip(facts.problem.names, every, strict=True):
        if examined.undecided and not examined.masks:
            kinds.setdefault(examined.undecided, []).append(name)
    return [Note(kind, tuple(names)) for kind, names in kinds.items()]


def diagnoses(facts: Facts, wrong: dict[int, Examined]) -> dict[int, Diagnosis]:
    """One for every wrong gradient."""
    found: dict[int, Diagnosis] = {}
    for j, w in wrong.items():
        if not w.truths:
            found[j] = by_halving(facts, j)
            continue
        own = explain(suspect(facts, j, w))
        if own is None and w.by_autodiff and w.case in SMOOTH and not right_alone(facts, j):
            own = of_dy(facts, j, w.case)
        if own is not None:
            found[j] = own
    for case in dict.fromkeys(w.case for w in wrong.values()):
        rest = [
            j
            for j, w in wrong.items()
            if (w.case, w.by_autodiff) == (case, True)
            and (j not in found or may_be_more(facts, j, found[j]))
        ]
        if rest and not facts.problem.compares:
            found |= by_chain_rule(facts, wrong, rest, case)
    return {j: found.get(j) or last_resort(facts, j, w) for j, w in wrong.items()}


def by_chain_rule(
    facts: Facts, wrong: dict[int, Examined], rest: list[int], case: str
) -> dict[int, Diagnosis]:
    """Mistakes in the chain rule that make these gradients, at one case and at another."""
    other = case if case not in SMOOTH else next((c for c in facts.smooth if c != case), case)
    first, second = (facts.results[c].hand for c in (case, other))
    hands = {j: first[j] for j in rest}, {j: second[j] for j in rest}
    off = min(relative(wrong[j].truths[case], first[j]) for j in rest)
    pair = facts.points[case], facts.points[other]
    sizes, fits = sizes_of(facts, rest[0]), min(FITS, 0.05 * off)
    return of_chain_rule(facts.problem, pair, hands, sizes, fits)


def may_be_more(facts: Facts, j: int, found: Diagnosis) -> bool:
    """Whether one wrong entry, in a gradient of few, may have a deeper reason."""
    return found.kind in ("one entry", "one slice") and facts.given.hand[j].size <= 16


def relative(truth: np.ndarray, hand: np.ndarray) -> float:
    """How far a gradient is off, relative to its norm."""
    off = np.linalg.norm(hand - truth) / (np.linalg.norm(hand) or 1)
    return float(off) if np.isfinite(off) else 1.0


def suspect(facts: Facts, j: int, w: Examined) -> Suspect:
    """Gradient j with what may explain it, at the points that belong together."""
    problem = facts.problem
    cases = [c for c in facts.smooth if c in w.masks] if w.case in SMOOTH else [w.case]
    results = [facts.results[case] for case in cases]
    hand = np.stack([r.hand[j] for r in results])
    value = np.zeros_like(hand)
    if not problem.compares:
        value = np.stack([np.asarray(facts.points[c].leaves[problem.wrt[j]]) for c in cases])
    return Suspect(
        name=problem.names[j],
        hand=hand,
        truth=np.stack([w.truths[c] for c in cases]),
        value=value,
        wrong=np.stack([w.entries(c) for c in cases]),
        sizes=sizes_of(facts, j),
        others=[
            (name, np.stack([r.truth[i] for r in results]))
            for i, name in enumerate(problem.names)
            if i != j and np.shape(results[0].truth[i]) == hand.shape[1:]
        ],
        alone=w.by_autodiff and w.case in SMOOTH and right_alone(facts, j),
        by_example=lambda: by_example(facts, j, cases) if w.by_autodiff else None,
        fits=max(1e-6, 100 * facts.eps) if facts.eps > EPS else w.fits,
    )


def sizes_of(facts: Facts, j: int) -> list[Size]:
    """The sizes that a wrong factor may be named after, the likely ones first.

    The batch counts where a gradient is right for one example, if that is known.
    """
    problem, batched = facts.problem, set(facts.problem.batched)
    sizes = []
    for y in facts.given.y[:1]:
        if not batched and y.ndim:
            sizes.append(Size(y.shape[0], "y", 0))
        elif batched and ("one example" in facts.left_out or right_alone(facts, j)):
            sizes.append(Size(y.shape[0]))
        sizes += [Size(y.shape[-1], "y", -1)] if y.ndim > 1 else []
        sizes += positions("y", y.shape)
    leaves = {} if problem.compares else dict(zip(problem.names, problem.wrt, strict=True))
    shapes = {array: problem.leaves[i].shape for array, i in leaves.items()}
    rows = {array for array, i in leaves.items() if i in batched}
    name, shape = problem.names[j], facts.given.hand[j].shape
    for array, axes in ({name: shape} | shapes).items():
        sizes += [Size(n, array, k) for k, n in enumerate(axes) if k or array not in rows]
        sizes += positions(array, axes) if array in rows else []
    for y in facts.given.y[:1]:
        sizes += [Size(n, "y", k) for k, n in enumerate(y.shape) if k or not batched]
        sizes.append(Size(y.size, "y"))
    return [*sizes, Size(int(np.prod(shape)), name)]


def positions(array: str, shape: tuple[int, ...]) -> list[Size]:
    """How many positions lie between the batch and the last axis, and how many in all rows."""
    if len(shape) < 3:
        return []
    n = math.prod(shape[1:-1])
    single = [Size(n, array, positions="positions")] if len(shape) > 3 else []
    return [*single, Size(shape[0] * n, array, positions="rows")]


def last_resort(facts: Facts, j: int, w: Examined) -> Diagnosis:
    """What can be said of a wrong gradient that nothing explains."""
    truth, wrong = w.truths[w.case], w.entries(w.case)
    index = tuple(np.argwhere(wrong)[0].tolist())
    found = Diagnosis(
        "another function",
        where=index,
        got=float(facts.results[w.case].hand[j][index]),
        want=float(truth[index]),
        number=int(wrong.sum()),
        total=truth.size,
    )
    if w.case not in SMOOTH:
        return found._replace(form="elsewhere right")
    if w.by_autodiff and right_alone(facts, j):
        return found._replace(kind="batch", form="one")
    if w.by_autodiff and right_when_square(facts.problem):
        return found._replace(kind="sizes")
    skew = None if facts.problem.compares or truth.size < 2 else asymmetry(facts, j)
    if skew is not None and abs(skew[0] - skew[1]) > 1e-6 * (abs(skew[0]) + abs(skew[1])):
        return found._replace(kind="not a gradient", numbers=skew)
    return found


def right_when_square(problem: Problem) -> bool:
    """Whether the gradient is right when every axis has the same size."""
    square = squared(problem)
    return square is not None and agrees(square)


def right_alone(facts: Facts, j: int) -> bool:
    """Whether gradient j is right for single examples."""
    if "one example" not in facts.ways:
        return False
    _, hand, truth = facts.ways["one example"]
    return not gap(hand[j], truth[j], scale_of([truth[j]])).wrong.any()


def asymmetry(facts: Facts, j: int) -> tuple[float, float] | None:
    """uᵀHv and vᵀHu, H the derivative of gradient j by its own leaf; None if it has none."""
    problem, point = facts.problem, facts.points["as given"]
    i = problem.wrt[j]
    rng = np.random.default_rng(0)
    u, v = (jnp.asarray(rng.standard_normal(point.leaves[i].shape)) for _ in range(2))

    def field(a):
        return problem.backward([*point.leaves[:i], a, *point.leaves[i + 1 :]], point.dy)[j]

    def run(leaf):
        return [(a * jax.jvp(field, (leaf,), (b,))[1]).sum() for a, b in ((u, v), (v, u))]

    try:
        ahead, back = compiled(problem, run)(point.leaves[i])
    except Exception:  # a backward need not be differentiable itself
        return None
    return float(ahead), float(back)
