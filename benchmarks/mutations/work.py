"""One job: a mutant or an unmutated block, judged by everybody.

A job is a dict that JSON can hold, so that workers and other Pythons can rebuild it:

    {"id", "about": "mutant", "subject", "index"}               of plan.chosen_of(subject)
    {"id", "about": "rule", "subject", "index"}                 of rules.cases_of(subject)
    {"id", "about": "clean", "subject", "level", "dtype", "seed"}
    {"id", "about": "clean rule", "subject", "level", "dtype", "seed"}
"""

import re
import time
from typing import Any

import jax

import fnn
from benchmarks.mutations.mutants import (
    BEHIND_A_STOP,
    Flat,
    Hidden,
    Mutant,
    custom,
    flat,
    guilty,
    mutant,
    placed,
)
from benchmarks.mutations.plan import Case, chosen_of, place_of
from benchmarks.mutations.subjects import SUBJECTS, Point, point

Job = dict[str, Any]
Result = dict[str, Any]


def flat_of(job: Job) -> tuple[Flat, bool]:
    """The function of arrays that a job is about, and whether it is a loss."""
    at, block = block_of(job)
    return flat(at, block), not isinstance(at.block, fnn.Layer)


def block_of(job: Job) -> tuple[Point, Any]:
    """The block that a job is about, and where it is judged."""
    if job["about"] == "clean":
        at = point(SUBJECTS[job["subject"]], job["level"], job["dtype"], job["seed"])
        return at, at.block
    case: Case = chosen_of(job["subject"])[job["index"]]
    at = place_of(case)
    return at, mutant(at.block, placed(case.wrong, at))


def ask_fnn(at: Point, block: Any, *, quick: bool = False) -> fnn.Report:
    """fnn.check, of a layer, a loss, or a function and its gradient."""
    if isinstance(block, Mutant) and isinstance(block.wrong, Hidden):
        return ask_of_the_rule(flat(at, block), block.wrong, quick=quick)
    if isinstance(block, fnn.Layer):
        return fnn.check(block, at.x, params=at.params, key=at.key, quick=quick)
    if isinstance(block, fnn.Loss):
        return fnn.check(block, at.x, at.target, quick=quick)
    return fnn.check_gradient(block.value, block.gradient, at.params, quick=quick)


def ask_of_the_rule(flat: Flat, wrong: Hidden, *, quick: bool) -> fnn.Report:
    """fnn.check_vjp of a function that brings its derivative, and of what jax.vjp makes of it."""
    own = custom(flat)

    def f(*leaves):
        y = own(*leaves)
        return y * jax.lax.stop_gradient(1 + 0 * y) if wrong.row == BEHIND_A_STOP else y

    def backward(*leaves_and_dy):
        *leaves, dy = leaves_and_dy
        grads = jax.vjp(f, *leaves)[1](dy)
        return grads if len(leaves) > 1 else grads[0]

    report = fnn.check_vjp(f, backward, *flat.leaves, quick=quick)
    names = {f"args[{i}]": name for i, name in enumerate(flat.names)}
    found = (f._replace(leaf=names.get(f.leaf, f.leaf)) for f in report.findings)
    return report._replace(findings=tuple(found))


def ask_fnn_rule(job: Job) -> tuple[Any, fnn.Report]:
    """fnn.check_same of an optimizer and its reference: the mutant's case and the report."""
    from benchmarks.mutations.optimizers import RULES, inputs, library, reference
    from benchmarks.mutations.rules import cases_of, mutated

    if job["about"] == "rule":
        case = cases_of(job["subject"])[job["index"]]
        return case, fnn.check_same(mutated(case), reference(case.rule), *inputs(case.level))
    (rule,) = (r for r in RULES if r.name == job["subject"])
    args = inputs(job["level"], job["dtype"], job["seed"])
    return None, fnn.check_same(library(rule), reference(rule), *args)


def answer(job: Job, *, peers: bool = True) -> Result:
    """What everybody says; "equivalent" where there is nothing to say."""
    if job["about"].endswith("rule"):
        return answer_rule(job)
    at, block = block_of(job)
    result: Result = {**job, "family": SUBJECTS[job["subject"]].family, "verdicts": {}}
    wrong = None
    if job["about"] == "mutant":
        case = chosen_of(job["subject"])[job["index"]]
        wrong, names = case.wrong, guilty([at, place_of(case, 7)], block)
        result |= described(case) | {"guilty": names, "equivalent": not names}
        if not names:
            return result
    result["verdicts"]["fnn.check"] = verdict(wrong, result, lambda: ask_fnn(at, block))
    if peers and job["peers"]:
        from benchmarks.mutations.peers import asked

        result["verdicts"] |= asked(flat(at, block), is_loss=not isinstance(at.block, fnn.Layer))
    return result


def answer_rule(job: Job) -> Result:
    """The same for an optimizer, about which the peers cannot be asked."""
    result: Result = {**job, "family": "optimizer", "verdicts": {}}
    wrong = None
    if job["about"] == "rule":
        from benchmarks.mutations.rules import cases_of, guilty_of

        case = cases_of(job["subject"])[job["index"]]
        wrong, names = case.wrong, guilty_of(case)
        result |= described(case) | {"guilty": names, "equivalent": not names}
        if not names:
            return result
    result["verdicts"]["fnn.check"] = verdict(wrong, result, lambda: ask_fnn_rule(job)[1])
    return result


def described(case: Any) -> dict[str, Any]:
    """A case in words."""
    wrong = case.wrong
    return {"row": wrong.row, "what": wrong.what, "level": case.level, "kinds": list(wrong.kinds)}


def verdict(wrong: Any, result: Result, ask: Any) -> dict[str, Any]:
    """What fnn.check says, and whether it is right about where and what."""
    start = time.perf_counter()
    try:
        report = ask()
    except Exception as error:
        said = {"killed": True, "raised": type(error).__name__, "text": str(error)}
        return {**said, "named": False, "right": False, "seconds": time.perf_counter() - start}
    seconds = time.perf_counter() - start
    said = {
        "killed": not report,
        "seconds": seconds,
        "findings": [f._asdict() for f in report.findings],
    }
    if wrong is None or report:
        return {**said, "named": False, "right": False}
    return {**said, **judged(wrong, result["guilty"], report.findings)}


def judged(wrong: Any, guilty: dict[str, list[str]], findings: tuple[Any, ...]) -> dict[str, bool]:
    """Whether the guilty arrays and no others are named, and the first reason given is right.

    A reason is right if a person would give it, or if it fits the numbers as well.
    """
    told = {f.leaf for f in findings}
    named = all(any(same(leaf, g) for leaf in told) for g in guilty)
    named &= all(any(same(leaf, g) for g in guilty) for leaf in told)
    mine = [f for f in findings if any(same(f.leaf, g) for g in guilty)] or list(findings)
    first = mine[0]
    right = first.kind in wrong.kinds
    if wrong.says and first.kind in ("factor", "averaged"):
        right &= re.search(wrong.says, first.text) is not None
    fits = next((kinds for g, kinds in guilty.items() if same(first.leaf, g)), [])
    return {"named": bool(named), "right": bool(right or first.kind in fits)}


def same(leaf: str, name: str) -> bool:
    """Whether a finding's leaf is this array; outputs of a rule are known by their ending."""
    a, b = (re.sub(r"[\[\]'.]+", ".", path).rstrip(".") for path in (leaf, name))
    return a == b or (b.startswith(".") and a.endswith(b)) or {a, b} == {"x", "y"}
