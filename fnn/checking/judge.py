"""The verdict: facts in, findings out.

Every leaf gets one finding: what is wrong at the first point that shows it, with the best
explanation. Findings about the other ways (vmap, jit, lower precision, single examples) are
told of leaves that are right where they were given; elsewhere they would only repeat it.
"""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.checking.compare import EPS, gap, scale_of
from fnn.checking.detect import Wrong, examined
from fnn.checking.double import double_in_callbacks
from fnn.checking.explain import BATCH, FITS, Explanation, Suspect, explain
from fnn.checking.facts import Facts, compiled, measure
from fnn.checking.look import BackwardError, agrees
from fnn.checking.parts import by_example, of_dy
from fnn.checking.points import SMOOTH
from fnn.checking.probe import probed
from fnn.checking.problem import Problem
from fnn.checking.report import Finding, Leaf, Report
from fnn.checking.structure import explain_structure
from fnn.checking.ways import ways_that_differ


def judge(problem: Problem, seed: int = 0) -> Report:
    """Measure a problem and say what is wrong. Runs inside jax.enable_x64(True)."""
    with double_in_callbacks(jax.make_jaxpr(problem.forward)(problem.leaves)):
        try:
            return verdict(problem, measure(problem, seed))
        except BackwardError as failure:
            if not right_when_square(problem):
                raise failure.plain() from None
            text = f"it fails here ({failure}), and is right where all sizes are equal"
            finding = Finding("backward", "sizes", text, "as given", np.inf)
            return Report(problem.who, (), (finding,), ("as given",), ())


def verdict(problem: Problem, facts: Facts) -> Report:
    """What the facts say."""
    every, notes = examined(problem, facts)
    wrong = {j: e.wrong for j, e in enumerate(every) if e.wrong is not None}
    told = explanations(problem, facts, wrong)
    findings = [Finding(problem.names[j], *told[j], w.case, w.error) for j, w in wrong.items()]
    findings += ways_that_differ(problem, facts, set(wrong))
    leaves = [
        Leaf(name, np.shape(hand), e.wrong.error if e.wrong else e.error)
        for name, hand, e in zip(problem.names, facts.look.gradient, every, strict=True)
    ]
    cases = tuple(dict.fromkeys((*facts.results, *facts.ways)))
    return Report(problem.who, tuple(leaves), tuple(findings), cases, tuple(notes))


def explanations(problem: Problem, facts: Facts, wrong: dict[int, Wrong]) -> dict[int, Explanation]:
    """One for every wrong gradient."""
    told: dict[int, Explanation] = {}
    for j, w in wrong.items():
        if not w.truths:
            told[j] = probed(facts, problem.names[j], j)
            continue
        found = explain(suspect(problem, facts, j, w))
        if found is None and w.by_autodiff and w.case in SMOOTH and not right_alone(facts, j):
            found = of_dy(problem, facts, j, w.case)
        if found is not None:
            told[j] = found
    for case in dict.fromkeys(w.case for w in wrong.values()):
        rest = [
            j
            for j, w in wrong.items()
            if (w.case, w.by_autodiff) == (case, True)
            and (j not in told or may_be_more(facts, j, told[j]))
        ]
        if rest and not problem.compares:
            told |= by_structure(problem, facts, wrong, rest, case)
    every = {j: told.get(j) or last_resort(problem, facts, j, w) for j, w in wrong.items()}
    if not problem.compares:
        return every
    return {j: e._replace(text=e.text.replace("gradient", "reference")) for j, e in every.items()}


def by_structure(
    problem: Problem, facts: Facts, wrong: dict[int, Wrong], rest: list[int], case: str
) -> dict[int, Explanation]:
    """Mistakes in the chain rule that make these gradients, at one case and at another."""
    other = case if case not in SMOOTH else next(c for c in SMOOTH if c != case)
    first, second = (facts.results[c].hand for c in (case, other))
    hands = {j: first[j] for j in rest}, {j: second[j] for j in rest}
    off = min(relative(wrong[j].truths[case], first[j]) for j in rest)
    pair = facts.points[case], facts.points[other]
    return explain_structure(
        problem, pair, hands, sizes_of(problem, facts, rest[0]), min(FITS, 0.05 * off)
    )


def may_be_more(facts: Facts, j: int, found: Explanation) -> bool:
    """Whether one wrong entry, in a gradient of few, may have a deeper reason."""
    size = facts.results["as given"].hand[j].size
    return found.kind in ("one entry", "one slice") and size <= 16


def relative(truth: np.ndarray, hand: np.ndarray) -> float:
    """How far a gradient is off, relative to its norm."""
    off = np.linalg.norm(hand - truth) / (np.linalg.norm(hand) or 1)
    return float(off) if np.isfinite(off) else 1.0


def suspect(problem: Problem, facts: Facts, j: int, w: Wrong) -> Suspect:
    """Gradient j with what may explain it, at the points that belong together."""
    cases = [case for case in SMOOTH if case in w.cases] if w.case in SMOOTH else [w.case]
    results = [facts.results[case] for case in cases]
    others = {
        problem.names[i]: np.stack([r.truth[i] for r in results])
        for i in range(len(problem.names))
        if i != j and np.shape(results[0].truth[i]) == np.shape(results[0].truth[j])
    }
    leaf = problem.wrt[j] if j < len(problem.wrt) else None
    value = [np.asarray(facts.points[c].leaves[leaf]) for c in cases] if leaf is not None else []
    hand = np.stack([r.hand[j] for r in results])
    return Suspect(
        name=problem.names[j],
        hand=hand,
        truth=np.stack([w.truths[c] for c in cases]),
        value=np.stack(value)
        if value and value[0].shape == hand.shape[1:] and not problem.compares
        else 0 * hand,
        wrong=np.stack([w.entries(c) for c in cases]),
        sizes=sizes_of(problem, facts, j),
        others=others,
        alone=w.case in SMOOTH and right_alone(facts, j),
        by_example=lambda: by_example(problem, facts, j, cases) if w.by_autodiff else None,
        fits=max(1e-6, 100 * facts.eps) if facts.eps > EPS else w.fits,
    )


def sizes_of(problem: Problem, facts: Facts, j: int) -> dict[str, int]:
    """The sizes that a wrong factor may be named after."""
    sizes: dict[str, int] = {}
    batched = set(problem.batched)
    ys, leaf = facts.results["as given"].y, np.shape(facts.results["as given"].hand[j])
    for y in ys[:1]:
        if not problem.batched and y.ndim:
            sizes["the first axis of y"] = y.shape[0]
        elif problem.batched and right_alone(facts, j):  # else it is no factor of the batch
            sizes[BATCH] = y.shape[0]
        sizes |= {"the last axis of y": y.shape[-1]} if y.ndim > 1 else {}
    named = f"the {{}} axis of {problem.names[j]}"
    sizes |= {
        named.format(("first", "second", "third")[k]): n
        for k, n in enumerate(leaf[:3])
        if k or j >= len(problem.wrt) or problem.wrt[j] not in batched
    }
    for name, i in zip(problem.names, problem.wrt, strict=False):
        shape = facts.points["as given"].leaves[i].shape
        sizes |= {f"axis {k} of {name}": n for k, n in enumerate(shape) if k or i not in batched}
    for y in ys[:1]:
        axes = {f"axis {k} of y": n for k, n in enumerate(y.shape) if k or not batched}
        sizes |= axes | {"the size of y": y.size}
    return sizes | {f"the size of {problem.names[j]}": int(np.prod(leaf))}


def last_resort(problem: Problem, facts: Facts, j: int, w: Wrong) -> Explanation:
    """What can be said of a wrong gradient that nothing explains."""
    result, truth = facts.results[w.case], w.truths[w.case]
    where = np.argwhere(w.entries(w.case))[0]
    i = tuple(where)
    example = (
        f"{w.entries(w.case).sum()} of {truth.size} entries are wrong, "
        f"such as {result.hand[j][i]:.4g} for {truth[i]:.4g} at {where.tolist()}"
    )
    if w.case not in SMOOTH:
        return Explanation("another function", f"{example}; right elsewhere")
    if right_alone(facts, j):
        return Explanation("batch", f"right for one example, wrong for several: {example}")
    if right_when_square(problem):
        return Explanation("sizes", f"right only where all sizes are equal: {example}")
    skew = None if problem.compares or truth.size < 2 else asymmetry(problem, facts, j)
    if skew is not None:
        ahead, back = skew
        if abs(ahead - back) > 1e-6 * (abs(ahead) + abs(back)):
            return Explanation(
                "not a gradient",
                f"no function has it, its own derivative H is not symmetric: "
                f"uᵀHv = {ahead:.4g}, vᵀHu = {back:.4g}; {example}",
            )
    return Explanation("another function", example)


def right_when_square(problem: Problem) -> bool:
    """Whether the gradient is right when every axis has the same size."""
    square = problem.square() if problem.square is not None else None
    return square is not None and agrees(square)


def right_alone(facts: Facts, j: int) -> bool:
    """Whether gradient j is right for single examples."""
    if "one example" not in facts.ways:
        return False
    _, hand, truth = facts.ways["one example"]
    return not gap(hand[j], truth[j], scale_of([truth[j]])).wrong.any()


def asymmetry(problem: Problem, facts: Facts, j: int) -> tuple[float, float] | None:
    """uᵀHv and vᵀHu, H the derivative of gradient j by its own leaf; None if it has none."""
    point = facts.points["as given"]
    leaf = point.leaves[problem.wrt[j]]
    rng = np.random.default_rng(0)
    u, v = (jnp.asarray(rng.standard_normal(leaf.shape)) for _ in range(2))

    def field(a):
        leaves = list(point.leaves)
        leaves[problem.wrt[j]] = a
        return problem.backward(leaves, point.dy)[j]

    def run(leaf):
        return [(a * jax.jvp(field, (leaf,), (b,))[1]).sum() for a, b in ((u, v), (v, u))]

    try:
        ahead, back = compiled(problem, run)(leaf)
    except Exception:  # a backward need not be differentiable itself
        return None
    return float(ahead), float(back)
