"""The tables: who notices, who says what, and who cries wolf."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.markdown import markdown
from benchmarks.mutations.run import DTYPES, GRADCHECK
from benchmarks.mutations.subjects import LEVELS
from benchmarks.mutations.work import Result

OURS = "fnn.check"
CHECKERS = (OURS, "jax.test_util.check_grads", "chex.assert_numerical_grads", GRADCHECK)
SHORT = {CHECKERS[1]: "check_grads", CHECKERS[2]: "chex", GRADCHECK: "gradcheck", OURS: OURS}


def mutants(results: Iterable[Result]) -> list[Result]:
    """The mutants that change the numbers."""
    return [r for r in results if "row" in r and not r["equivalent"]]


def clean(results: Iterable[Result], dtype: str) -> list[Result]:
    """The unmutated blocks in a dtype."""
    return [r for r in results if r.get("dtype") == dtype and "row" not in r]


def asked(results: Iterable[Result], checker: str) -> list[dict[str, Any]]:
    """What a checker says where it was asked."""
    return [r["verdicts"][checker] for r in results if checker in r["verdicts"]]


def share(verdicts: Sequence[dict[str, Any]], key: str) -> str:
    """The share of verdicts for which `key` holds, in percent, rounded down."""
    if not verdicts:
        return ""
    tenths = 1000 * sum(bool(v[key]) for v in verdicts) // len(verdicts)
    return f"{tenths // 10}" if tenths % 10 == 0 else f"{tenths / 10}"


def summary(results: list[Result]) -> str:
    """One row per checker."""
    rows = []
    for checker in CHECKERS:
        verdicts = asked(mutants(results), checker)
        if not verdicts:
            rows.append([checker, "not installed", *[""] * 9])
            continue
        ours = checker == OURS
        alarms = [
            f"{sum(v['killed'] for v in here)} of {len(here)}"
            for here in (asked(clean(results, dtype), checker) for dtype in DTYPES)
        ]
        forms = ["", ""] if ours else [share(verdicts, form) for form in ("vector", "mean")]
        rows.append([
            checker, str(len(verdicts)), share(verdicts, "killed"), *forms,
            share(verdicts, "named") if ours else "0", share(verdicts, "right") if ours else "0",
            *alarms, f"{statistics.median(v['seconds'] for v in verdicts):.2f}",
        ])  # fmt: skip
    head = [
        "checker", "mutants", "killed %", "by the vector %", "by a mean %", "named the array %",
        "right diagnosis %", "false alarms float64", "float32", "bfloat16", "median s",
    ]  # fmt: skip
    return markdown(head, rows)


def by(results: list[Result], key: str, names: dict[Any, str] | None = None) -> str:
    """One row per value of `key`: killed by each, and our diagnoses."""
    groups: dict[Any, list[Result]] = defaultdict(list)
    for r in mutants(results):
        groups[r[key]].append(r)
    rows = []
    order = sorted(groups) if names else list(groups)
    for value in order:
        group = groups[value]
        rows.append([
            (names or {}).get(value, str(value)), str(len(group)),
            *[share(asked(group, checker), "killed") for checker in CHECKERS],
            share(asked(group, OURS), "right"),
        ])  # fmt: skip
    head = [key_name(key), "mutants", *[f"{SHORT[c]} %" for c in CHECKERS], "right diagnosis %"]
    return markdown(head, rows)


def key_name(key: str) -> str:
    """The head of a column."""
    return {"row": "mistake", "subject": "block", "level": "parameters"}[key]


def survivors(results: list[Result]) -> str:
    """The mutants that fnn.check passes, one by one."""
    rows = [
        [r["subject"], LEVELS[r["level"]], r["row"], r["what"]]
        for r in mutants(results) if not r["verdicts"][OURS]["killed"]
    ]  # fmt: skip
    return markdown(["block", "parameters", "mistake", "where"], rows) if rows else "None."


def misjudged(results: list[Result]) -> str:
    """The mutants that are noticed and explained otherwise than a person would."""
    rows = []
    for r in mutants(results):
        v = r["verdicts"][OURS]
        if v["killed"] and not v["right"]:
            first = (
                v.get("findings") or [{"kind": "raised", "leaf": "", "text": v.get("text", "")}]
            )[0]
            text = " ".join(first["text"].split()).replace("|", "/")
            rows.append([
                r["subject"], LEVELS[r["level"]], r["row"], r["what"], " or ".join(r["kinds"]),
                f"{first['leaf']}: {first['kind']}: {text:.90}",
            ])  # fmt: skip
    head = ["block", "parameters", "mistake", "where", "right", "told"]
    return markdown(head, rows) if rows else "None."


def alarms(results: list[Result]) -> str:
    """The unmutated blocks that fnn.check finds fault with."""
    rows = []
    for dtype in DTYPES:
        for r in clean(results, dtype):
            v = r["verdicts"][OURS]
            if v["killed"]:
                texts = [f"{f['leaf']}: {f['kind']}: {f['text']}" for f in v.get("findings", [])]
                text = " ".join((texts or [v.get("text", "")])[0].split()).replace("|", "/")
                rows.append(
                    [r["subject"], LEVELS[r["level"]], dtype, str(r["seed"]), f"{text:.120}"]
                )
    head = ["block", "parameters", "dtype", "seed", "told"]
    return markdown(head, rows) if rows else "None."


def tables(results: list[Result]) -> str:
    """The whole report."""
    equivalent = sum(r.get("equivalent", False) for r in results)
    parts = [
        summary(results),
        f"{equivalent} further mutants leave the numbers as they are and do not count.",
        "### By mistake", by(results, "row"),
        "### By block", by(results, "subject"),
        "### By size", by(results, "level", dict(enumerate(LEVELS))),
        "### Survivors", survivors(results),
        "### Diagnosed otherwise", misjudged(results),
        "### False alarms", alarms(results),
    ]  # fmt: skip
    return "\n\n".join(parts)
