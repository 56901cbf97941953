"""Printed formulas that are wrong, and what the checker says of them.

    uv run python -m experiments.errata

Question: Does a gradient checker notice the mistakes that texts print?

Five source texts, S0 to S4, print formulas of forward passes, gradients and update rules;
60 entries of them are wrong or contradict their own text. Every one that can be evaluated
is written twice, as printed and as corrected, and fnn's checker judges both. Where fnn has
the formula, the corrected side is fnn's own block. A product of matrices that do not fit is
an error where all sizes are distinct; it is judged once more where they are equal, and it
runs.

    nets.py       the nets of the texts, twice: in plain jax.numpy, and by fnn
    judging.py    a case, its verdict, and the distance measured without the checker
    s0.py ...     the entries, one file per text; those of S3 are three files
    report.py     the table and the picture
"""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.common import plots, runs
from experiments.common.cli import UserError
from experiments.errata import report, s0, s1, s2, s3, s3_backward, s3_optimizers, s4
from experiments.errata.judging import Erratum, Judged, Verdict, judge

ERRATA = tuple(
    erratum for text in (s0, s1, s2, s3, s3_backward, s3_optimizers, s4) for erratum in text.ERRATA
)
ONE_EACH = ("E-S0-02", "E-S1-03", "E-S2-11", "E-S3-16", "E-S4-13")


@dataclass(frozen=True)
class Config:
    """Judge the printed formulas of the source texts, and their corrections."""

    only: tuple[str, ...] = ()  # ids or how they begin, E-S2 or S3-1
    quick: bool = False  # one entry of every text
    out: Path | None = None  # a new folder; None: runs/errata-<time>


def main(config: Config) -> None:
    """Judge, print the table of every text, draw all."""
    began = time.perf_counter()
    errata = chosen(config)
    path = runs.folder(config.out, "errata")
    results: dict[Erratum, list[Judged]] = {}
    known: dict[Any, Verdict] = {}
    # compiling takes most of the time, and two threads compile at once
    with runs.Run(path, config) as run, ThreadPoolExecutor(2) as pool:
        judged = pool.map(lambda erratum: judge(erratum, known), errata)
        for text, of_text in itertools.groupby(errata, lambda erratum: erratum.text):
            part = {erratum: next(judged) for erratum in of_text}
            report.table(text, part)
            results |= part
        plots.save(report.picture(results), run.path / "errata.png")
        run.summary(report.summary(results) | {"seconds": time.perf_counter() - began})
    print(report.conclusion(results))
    print(f"written to {run.path}/")


def chosen(config: Config) -> list[Erratum]:
    """The entries that the settings ask for.

    Raises:
        UserError: where a name of --only fits none.
    """
    wanted = config.only or ("",)
    for name in wanted:
        if not any(matches(erratum, name) for erratum in ERRATA):
            raise UserError(f"--only {name}: no such entry; E-S0-01 to E-S4-17.")
    found = [e for e in ERRATA if any(matches(e, name) for name in wanted)]
    return [e for e in found if e.id in ONE_EACH or not config.quick]


def matches(erratum: Erratum, name: str) -> bool:
    """Whether a name, with or without its E-, is how the id begins."""
    return erratum.id.startswith((name, f"E-{name}"))
