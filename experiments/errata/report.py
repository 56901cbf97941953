"""What a run says: a table for every text, one picture, summary.json."""

import itertools
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from experiments.common import plots
from experiments.common.progress import console
from experiments.errata.judging import MISTAKES, UNFIT, Erratum, Judged

Results = Mapping[Erratum, Sequence[Judged]]
COLORS: dict[str, str] = dict(zip(MISTAKES, plots.COLORS, strict=False))


def table(text: str, results: Results) -> None:
    """Print the entries of one text: the equation, both forms, both verdicts."""
    printed = Table(title=text, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    printed.add_column("equation", width=17)
    printed.add_column("✗ printed, ✓ corrected", width=31)
    printed.add_column("verdict on the printed one", width=36)
    printed.add_column("corrected", justify="right", width=10)
    for erratum, judged in results.items():
        equation = f"{erratum.id}\n{erratum.place}"
        forms = f"✗ {erratum.printed}\n✓ {erratum.corrected}"
        if not judged:
            nothing = "typesetting: nothing to compute"
            printed.add_row(*map(escape, (equation, forms, nothing, "")))
        for j in judged:
            printed.add_row(*map(escape, (equation, forms, said(j), passed(j))))
            equation = forms = ""
        printed.add_row()
    console().print(printed)


def said(judged: Judged) -> str:
    """What was judged, and the verdict on the printed formula."""
    if judged.printed.passed:
        return f"{judged.case.what}: passes"
    text = textwrap.shorten(judged.printed.text, 120, placeholder=" ...")
    return f"{judged.case.what}\n→ {judged.printed.kind}: {text}"


def passed(judged: Judged) -> str:
    """The verdict on the corrected formula, and its distance from the reference."""
    if judged.corrected.passed:
        return f"ok\n{judged.corrected.error:.0e}"
    return f"REFUSED: {judged.corrected.kind}"


def conclusion(results: Results) -> str:
    """All results in one sentence."""
    cases = [j for judged in results.values() for j in judged]
    refused = sum(not j.printed.passed for j in cases)
    passed = sum(j.corrected.passed for j in cases)
    named = sum(j.named for j in cases)
    entries = sum(bool(judged) for judged in results.values())
    several = sum(not j.case.kinds for j in cases)
    return (
        f"{entries} of {len(results)} entries can be computed, in {len(cases)} cases: "
        f"{refused} printed formulas refused, {passed} corrections passed. Of the "
        f"{len(cases) - several} that are one mistake with a name the diagnosis names {named}; "
        f"the {several} others are several mistakes at once, or one without a name."
    )


def summary(results: Results) -> dict[str, Any]:
    """What summary.json says."""
    entries = {
        e.id: {
            "place": e.place,
            "mistake": e.mistake,
            "printed": e.printed,
            "corrected": e.corrected,
            "cases": [case_summary(j) for j in judged],
        }
        for e, judged in results.items()
    }
    cases = [j for judged in results.values() for j in judged]
    return {
        "answer": conclusion(results),
        "entries": entries,
        "cases": len(cases),
        "refused": sum(not j.printed.passed for j in cases),
        "named": sum(j.named for j in cases),
        "passed": sum(j.corrected.passed for j in cases),
    }


def case_summary(j: Judged) -> dict[str, Any]:
    """One case: both verdicts and both distances."""
    return {
        "what": j.case.what,
        "printed": {**j.printed._asdict(), "distance": j.distance._asdict()},
        "corrected": j.corrected._asdict(),
        "named": j.named,
        "names": list(j.case.kinds),
    }


def picture(results: Results) -> plots.Figure:
    """One row per entry: how far the printed formula is off, and its correction."""
    rows = list(results.items())
    half = -(-len(rows) // 2) if len(rows) > 24 else len(rows)
    columns = [dict(rows[i : i + half]) for i in range(0, len(rows), half)]
    size = 6.0 * len(columns), 1.4 + 0.23 * half
    figure, ((*axes,),) = plots.picture(headline(results), 1, len(columns), size)
    for a, column in zip(axes, columns, strict=True):
        panel(a, column)
        a.set_ylim(half - 0.4, -0.6)
    legend(figure)
    return figure


def headline(results: Results) -> str:
    """The title: the worst correction beside the best misprint."""
    cases = [j for judged in results.values() for j in judged]
    if not cases:
        return "Typesetting only: nothing to compute"
    right = max(j.corrected.error for j in cases)
    wrong = [j.distance.error for j in cases if np.isfinite(j.distance.error)]
    off = f"off by {100 * min(wrong):.0f} % to {max(wrong):.0f} times" if wrong else "no number"
    count = sum(map(bool, results.values()))
    return f"{count} printed formulas, corrected (○) right to {right:.0e}; as printed (●) {off}"


def panel(axes: Any, results: Results) -> None:
    """One text or several: corrections in the grey strip, printed formulas right of it."""
    axes.set_xlim(0, 5.6)
    axes.axvspan(0, 1.2, color="#ececec", linewidth=0)
    texts = [erratum.text for erratum in results]
    for row, (erratum, judged) in enumerate(results.items()):
        color = COLORS[erratum.mistake]
        axes.axhline(row, color="#e4e4e4", linewidth=0.6, zorder=0)
        if row and texts[row] != texts[row - 1]:
            axes.axhline(row - 0.5, color=plots.INK, linewidth=0.6)
        for j in judged:
            error = j.distance.error
            marker = "o" if np.isfinite(error) else "X"
            axes.plot(position(error), row, marker, color=color, ms=5.5)
            axes.plot(position(j.corrected.error), row, "o", mfc="white", mec=plots.INK, ms=4)
        axes.annotate(
            words(judged), (1, row), xycoords=("axes fraction", "data"), xytext=(4, 0), va="center",
            textcoords="offset points", fontsize=8.5, color=color, annotation_clip=False,
        )  # fmt: skip
    names = [f"{e.id[2:]}  {e.place}" for e in results]
    axes.set_yticks(range(len(names)), names, fontsize=8.5)
    axes.tick_params(axis="y", length=0)
    ticks = {"10⁻¹⁶": 1e-16, "0.1": 0.1, "1": 1, "10": 10, "no number": np.nan}
    axes.set_xticks([position(e) for e in ticks.values()], list(ticks), fontsize=8.5)
    axes.set_xlabel("relative error", fontsize=9)


def position(error: float) -> float:
    """Where an error stands: roundings in the strip, others right of it, none at the edge."""
    if not np.isfinite(error):
        return 5.2
    log = np.log10(max(error, 1e-17))
    return float(0.3 + (log + 17) * 0.3 if error < 1e-12 else max(2.8 + log, 1.8))


def words(judged: Sequence[Judged]) -> str:
    """The kinds that the checker names, without those that only say that nothing fits."""
    kinds = [j.printed.kind or "passes" for j in judged]
    some = [kind for kind, _ in itertools.groupby(kinds) if kind != UNFIT]
    return ", ".join([*dict.fromkeys(some or kinds[:1])][:2]) or "typesetting"


def legend(figure: Any) -> None:
    """The colours of the mistakes."""
    marks = [
        Line2D([], [], marker="o", linestyle="", color=color, label=name)
        for name, color in COLORS.items()
        if name != "typesetting"
    ]
    cross = Line2D(
        [], [], marker="X", linestyle="", color=plots.INK, label="does not fit, or not finite"
    )
    figure.legend(
        handles=[*marks, cross],
        fontsize=9,
        loc="outside lower left",
        ncols=len(marks) + 1,
        frameon=False,
    )
