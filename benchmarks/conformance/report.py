"""The tables: who says what about which derivative."""

import importlib.metadata
import platform
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.conformance.ask import OWN, PLAIN, Result
from benchmarks.markdown import markdown

OURS, JAX = "fnn", "check_grads"
DISTRIBUTIONS = {  # of packages that are not called as they are imported
    "ott": "ott-jax", "tensorflow-probability": "tfp-nightly",
}  # fmt: skip
ROUGH = 2e-2  # up to which a rule marked as inexact counts as right to its tolerance
SHARED = ("jax", "jaxlib", "numpy")


def answered(results: Iterable[Result]) -> list[Result]:
    """The results that hold a verdict of the differences."""
    return [r for r in results if "truth" in r]


def group(result: Result) -> str:
    """What kind of derivative it is, by the differences and by what its authors mean."""
    truth = result["truth"]["verdict"]
    if truth == "crashed":
        return "unknown"
    if truth == "undefined" or (truth == "right" and result["truth"]["kinks"]):
        return "undefined"
    if truth == "right" and only_where_undefined(result):
        return "undefined"
    if truth == "wrong" and result["intended"]:
        return "intended"
    if truth == "wrong" and result["inexact"] and result["truth"]["error"] < ROUGH:
        return "inexact"
    return truth


def only_where_undefined(result: Result) -> bool:
    """Whether all that is found are values that are not finite where there is no derivative."""
    points, findings = dict(result["truth"]["points"]), result["fnn"].get("findings") or []
    return bool(findings) and all(
        f["kind"] == "nan" and points.get(f["case"]) == "undefined" for f in findings
    )


GROUPS = {
    "right": "right",
    "wrong": "wrong or NaN",
    "undefined": "not defined everywhere there (kink, jump, edge of the domain)",
    "intended": "another derivative on purpose",
    "inexact": "off by the tolerance of an iteration",
    "unknown": "the function fails outside the checker",
}
VERDICTS = ("right", "wrong", "cannot tell", "refused", "crashed")


def summary(results: list[Result]) -> str:
    """One row per kind of derivative, question and checker."""
    rows = []
    for question, asked in ((OWN, (OURS, JAX)), (PLAIN, (OURS,))):
        for checker in asked:
            for kind, text in GROUPS.items():
                here = [r for r in answered(results) if r["question"] == question]
                here = [r[checker]["verdict"] for r in here if group(r) == kind]
                if here:
                    counts = [str(here.count(v)) for v in VERDICTS]
                    rows.append([f"{checker}, {question}", text, str(len(here)), *counts])
    return markdown(["checker", "the derivative is", "asked", *VERDICTS], rows)


def count(results: Iterable[Result], checker: str, kind: str, verdict: str) -> int:
    """How many derivatives of a kind a checker gives a verdict."""
    return sum(group(r) == kind and r[checker]["verdict"] == verdict for r in results)


def by_package(results: list[Result]) -> str:
    """One row per package: verdicts, and the time."""
    rows = []
    for package in dict.fromkeys(r["package"] for r in results):
        here = [r for r in results if r["package"] == package]
        if "missing" in here[0]:
            rows.append([package, here[0]["missing"], *[""] * 12])
            continue
        rows.append(package_row(f"{package} {version(package)}", here))
    rows.append(package_row("all", results))
    head = [
        "package", "asked", "right, said right", "wrong, noticed", "missed", "false alarms",
        "cannot tell", "other rows", "refused", "crashed", "no answer in time",
        "check_grads: missed", "check_grads: false alarms", "median s, check_grads",
    ]  # fmt: skip
    return markdown(head, rows)


def package_row(name: str, here: list[Result]) -> list[str]:
    """The verdicts on the derivatives of one package."""
    asked, died = answered(here), sum("died" in r for r in here)
    both = [r for r in asked if JAX in r]
    decided = [r for r in asked if group(r) in ("right", "wrong")]

    def total(verdict: str, among: list[Result]) -> str:
        return str(sum(r[OURS]["verdict"] == verdict for r in among))

    seconds = [
        statistics.median(r[c]["seconds"] for r in both) if both else 0.0 for c in (OURS, JAX)
    ]
    return [
        name, str(len(asked) + died),
        str(count(asked, OURS, "right", "right")), str(count(asked, OURS, "wrong", "wrong")),
        str(count(asked, OURS, "wrong", "right")), str(count(asked, OURS, "right", "wrong")),
        total("cannot tell", decided), str(len(asked) - len(decided)),
        total("refused", asked), total("crashed", asked), str(died),
        str(count(both, JAX, "wrong", "right")), str(count(both, JAX, "right", "wrong")),
        f"{seconds[0]:.1f}, {seconds[1]:.2f}",
    ]  # fmt: skip


def version(package: str) -> str:
    """The installed version of a package."""
    try:
        return importlib.metadata.version(DISTRIBUTIONS.get(package, package))
    except importlib.metadata.PackageNotFoundError:
        return ""


def listed(results: Iterable[Result], chosen: Callable[[Result], bool]) -> str:
    """The chosen results one by one, with what differences and the checker say."""
    rows = []
    for r in answered(results):
        if not chosen(r):
            continue
        truth, ours = r["truth"], r[OURS]
        numbers = f"{truth['given']:.6g} for {truth['right']:.6g}" if "given" in truth else ""
        rows.append([
            r["name"], r["question"], truth["verdict"], truth.get("where", ""), numbers,
            ours["verdict"], said(ours), r.get(JAX, {}).get("verdict", ""),
        ])  # fmt: skip
    head = ["derivative", "against", "truth", "where", "given", "fnn", "says", "check_grads"]
    return markdown(head, rows) if rows else "None."


def said(verdict: dict[str, Any], length: int = 140) -> str:
    """The first finding, or what was raised, on one line."""
    findings: Sequence[Any] = verdict.get("findings") or ()
    first = findings[0] if findings else None
    text = f"{first['leaf']}, {first['case']}: {first['kind']}: {first['text']}" if first else ""
    if not first and verdict["verdict"] in ("refused", "crashed"):
        text = verdict["text"].partition("Traceback")[0]  # what follows names files of a machine
    return " ".join(text.split()).replace("|", "/")[:length]


def diagnosed(result: Result) -> bool | None:
    """Whether a noticed wrong derivative is explained rightly; None where nothing is known."""
    kinds = set(result["kinds"]) | set(result["truth"].get("kinds", ()))
    findings = result[OURS].get("findings") or []
    return any(f["kind"] in kinds for f in findings) if kinds and findings else None


def tables(results: list[Result]) -> str:
    """The whole report."""
    wrong = [r for r in answered(results) if group(r) == "wrong"]
    noticed = [r for r in wrong if r[OURS]["verdict"] == "wrong"]
    told = [d for r in noticed if (d := diagnosed(r)) is not None]
    packages = {r["package"] for r in results}
    names = [f"{p} {version(p)}" for p in (*SHARED, *sorted(packages - set(SHARED)))]
    parts = [
        f"python {platform.python_version()}, {', '.join(names)}",
        summary(results),
        f"Diagnosis right in {sum(told)} of {len(told)} wrong ones whose fault is known.",
        "### By package", by_package(results),
        "### Wrong derivatives", listed(results, lambda r: group(r) == "wrong"),
        "### False alarms",
        listed(results, lambda r: group(r) == "right" and r[OURS]["verdict"] == "wrong"),
        "### Refused, crashed, cannot tell",
        listed(results, lambda r: r[OURS]["verdict"] in VERDICTS[2:]),
        "### On purpose, inexact, undefined",
        listed(results, lambda r: group(r) in ("intended", "inexact", "undefined", "unknown")),
        "### No answer in time", unanswered(results),
    ]  # fmt: skip
    return "\n\n".join(parts)


def unanswered(results: Iterable[Result]) -> str:
    """The cases whose process took too long or died."""
    rows = [[r["name"], r["died"]] for r in results if "died" in r]
    return markdown(["derivative", "what happened"], rows) if rows else "None."
