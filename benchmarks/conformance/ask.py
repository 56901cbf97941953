"""One case, put to the checker, to jax's own and to differences."""

import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.test_util import check_grads

import fnn
from benchmarks.conformance.case import Case, Tree, rule_of
from benchmarks.conformance.truth import floating, truth

Result = dict[str, Any]  # as it is written to results.json
OWN, PLAIN = "own values", "plain function"


Known = dict[tuple[str, str], Result]  # of an earlier run, by name and question


def ask(package: str, case: Case, known: Known | None = None) -> Iterator[Result]:
    """The rule against its own function, then against the plain one where there is one.

    What is `known` of the truth and of check_grads is not asked again.
    """
    questions = [(OWN, case.f), (PLAIN, case.plain)]
    for question, f in questions:
        if f is None:
            continue
        kinds = {"intended": case.intended, "inexact": case.inexact, "kinds": case.kinds}
        result = {"package": package, "name": case.name, "question": question, **kinds}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            old = (known or {}).get((case.name, question), {})
            result["truth"] = old.get("truth") or timed(lambda f=f: truth(case, f)._asdict())
            result["fnn"] = timed(lambda f=f: by_fnn(case, f))
            if question == OWN:
                result["check_grads"] = old.get("check_grads") or timed(lambda: by_jax(case))
        yield result


def timed(answer: Callable[[], Result]) -> Result:
    """An answer with its seconds; what it raises is an answer too."""
    start = time.perf_counter()
    try:
        found = answer()
    except Exception as e:
        found = {"verdict": "crashed", "text": f"{type(e).__name__}: {e}"[:2000]}
    return {**found, "seconds": time.perf_counter() - start}


def by_fnn(case: Case, f: Callable[..., Tree]) -> Result:
    """The checker's verdict and findings; its own refusals begin with its name."""
    try:
        report = fnn.check_vjp(f, rule_of(case.f), *case.args)
    except (TypeError, ValueError) as e:
        verdict = "refused" if str(e).startswith("check_vjp of") else "crashed"
        return {"verdict": verdict, "text": f"{type(e).__name__}: {e}"[:2000]}
    findings = [
        {"leaf": f.leaf, "kind": f.kind, "text": f.text, "case": f.case, "error": float(f.error)}
        for f in report.findings
    ]
    verdict = getattr(report, "verdict", "right" if report else "wrong")
    return {"verdict": verdict, "text": str(report)[:4000], "findings": findings}


def by_jax(case: Case) -> Result:
    """The verdict of jax.test_util.check_grads, reverse mode, float64, as it comes."""
    with jax.enable_x64(True):
        leaves, tree = jax.tree.flatten(case.args)
        which = [i for i, a in enumerate(leaves) if floating(a)]

        def f(*xs: Any) -> Any:
            moved = list(leaves)
            for i, x in zip(which, xs, strict=True):
                moved[i] = x
            return case.f(*tree.unflatten(moved))

        try:
            check_grads(f, [np.asarray(leaves[i], float) for i in which], 1, modes=("rev",))
        except AssertionError as e:
            return {"verdict": "wrong", "text": " ".join(str(e).split())[:400]}
    return {"verdict": "right", "text": ""}
