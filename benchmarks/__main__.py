"""uv run python -m benchmarks [--quick] [--tests] [--out DIR] [--only losses runs]."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.case import Table
from benchmarks.cases import ASKED, TABLES
from benchmarks.contracts import contracts
from benchmarks.curve_picture import draw_curves
from benchmarks.curves import curves, depths
from benchmarks.examples import singles
from benchmarks.machine import Import, Share, import_cost, matmul_shares, matrix_rate, rated
from benchmarks.measure import QUICK, Effort, Result, compare
from benchmarks.picture import draw
from benchmarks.precision import precision
from benchmarks.precision.functions import functions
from benchmarks.profiles import profiles
from benchmarks.report import (
    LARGE_STEPS,
    Report,
    curve_table,
    depth_table,
    import_table,
    kept_table,
    machine,
    precision_table,
    profile_table,
    rated_table,
    ratio_table,
    run_table,
    save_json,
    saving_table,
    share_table,
    single_table,
    step_table,
    streaming_table,
    update_table,
)
from benchmarks.runs import Run, training_runs
from benchmarks.saving import savings
from benchmarks.steps import LARGE, Step, training_steps
from benchmarks.streaming import streaming
from benchmarks.turns import SHARED_DEVICE
from benchmarks.updates import ADAM, updates
from benchmarks.updates import LARGE as LARGE_UPDATES

BLOCKS = (
    *[table.title.lower() for table in TABLES],
    "runs",
    "steps",
    "examples",
    "profile",
    "share",
    "import",
    "curves",
    "precision",
    "updates",
    "saving",
    "streaming",
)


@dataclass(frozen=True)
class Options:
    """Hand-written gradients against autodiff, and whole training runs and steps against peers."""

    quick: bool = False
    """The first row of every table, steps of tiny nets, hardly measured: to see that it runs."""
    out: Path = Path("runs/benchmarks")
    """The folder for tables.md, results.json, ratios.png and curves.png."""
    tests: bool = False
    """The contract tests of layers and losses first, on the device that is measured."""
    only: tuple[str, ...] = ()
    """Blocks whose name begins so: multilayer activations losses layers convolution
    normalization curvature algorithms looking recurrence attention heads whole half curves
    precision runs steps examples profile share import updates saving streaming; and accelerator,
    else left out."""


def main(options: Options, say: Callable[[str], None] = print) -> Report:
    """Measure, print block by block, write the files."""
    every = (*BLOCKS, *(table.title.lower() for table in ASKED))
    wanted = [b for b in every if b.startswith(options.only or BLOCKS)]
    if not wanted:
        raise SystemExit(f"--only takes the beginnings of {', '.join(every)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    os.environ.update(SHARED_DEVICE)  # peers need memory of the device, too
    texts = []

    def show(text: str) -> None:
        texts.append(text)
        say(f"{text}\n")

    show(", ".join(f"{name} {value}" for name, value in machine().items()))
    if options.tests:
        show(f"### Contract tests\n\n{contracts()}")
    runs, steps, shares, imports = others(options.quick, wanted, show)
    rate = matrix_rate(QUICK if options.quick else Effort()) if "accelerator" in wanted else None
    tables = []
    for table in (*TABLES, *ASKED):
        if table.title.lower() in wanted:
            tables.append((table, measured(table, options.quick)))
            show(ratio_table(*tables[-1]))
    report = Report(tables, runs, steps, shares, imports, rate=rate)
    report = more(report, options.quick, wanted, show)
    (options.out / "tables.md").write_text("\n\n".join(texts) + "\n")
    save_json(options.out / "results.json", report)
    written = ["tables.md", "results.json"]
    if tables or runs:
        draw(options.out / "ratios.png", report)
        written.append("ratios.png")
    if report.curves:
        draw_curves(options.out / "curves.png", report.curves, report.depths)
        written.append("curves.png")
    say(f"written to {options.out}: {', '.join(written)}")
    return report


def others(
    quick: bool, wanted: list[str], show: Callable[[str], None]
) -> tuple[list[Run], list[Step], list[Share], Import | None]:
    """What is not a table of cases; subprocesses run while this process is still idle."""
    runs, steps, shares, imports = [], [], [], None
    if "import" in wanted:
        imports = import_cost(n=1 if quick else 7)
        show(import_table(imports))
    if "runs" in wanted:
        runs = training_runs(**({"rounds": 1, "epochs": 1} if quick else {}))
        show(run_table(runs))
    if "steps" in wanted:
        steps = training_steps(quick=quick)
        show(step_table(steps))
    if "accelerator" in wanted:
        large = training_steps(LARGE, rounds=4, quick=quick)
        show(step_table(large, "Whole training steps on an accelerator", LARGE_STEPS))
        steps = [*steps, *large]
    if "share" in wanted:
        tiny = {"width": 64, "batch": 64, "size": 128, "n": 3}
        shares = matmul_shares(**(tiny if quick else {}))
        show(share_table(shares))
    return runs, steps, shares, imports


def more(report: Report, quick: bool, wanted: list[str], show: Callable[[str], None]) -> Report:
    """Checkpoints, streams, steps inside the backward pass, curves, precision, examples, added."""
    if "saving" in wanted:
        report = report._replace(savings=savings(quick=quick, rounds=1 if quick else 7))
        show(saving_table(report.savings))
    if "streaming" in wanted:
        report = report._replace(streams=streaming(quick=quick))
        show(streaming_table(report.streams))
    effort = QUICK if quick else Effort()
    if "updates" in wanted:
        report = report._replace(updates=updates(effort, quick=quick))
        show(update_table(report.updates))
    if report.rate is not None:
        report = accelerated(report, report.rate, effort, quick, show)
    if "curves" in wanted:
        found = curves(effort, quick=quick)
        deep = depths(quick=quick, rounds=1 if quick else 5)
        report = report._replace(curves=found, depths=deep)
        for curve in found:
            show(curve_table(curve))
        show(depth_table(deep))
    if "precision" in wanted:
        report = report._replace(precision=precision(quick=quick), kept=functions(quick=quick))
        show(precision_table(report.precision))
        show(kept_table(report.kept))
    if "examples" in wanted:
        report = report._replace(singles=singles(quick=quick))
        show(single_table(report.singles))
    if "profile" in wanted:
        report = report._replace(profiles=profiles(quick=quick))
        show(profile_table(report.profiles))
    return report


def accelerated(
    report: Report, rate: float, effort: Effort, quick: bool, show: Callable[[str], None]
) -> Report:
    """Shares of the matrix rate, and steps inside the backward pass at an accelerator's sizes."""
    shares = rated([r for table, rows in report.tables if table in ASKED for r in rows], rate)
    show(rated_table(shares, rate))
    large = updates(effort, LARGE_UPDATES, ADAM, quick=quick)
    show(update_table(large))
    return report._replace(rated=shares, updates=[*report.updates, *large])


def measured(table: Table, quick: bool) -> list[Result]:
    """The rows of a table, with a sign of life for whoever waits."""
    results, effort = [], QUICK if quick else Effort(compiles=table.compiles)
    for case in (table.quick or table.cases[:1]) if quick else table.cases:
        if sys.stderr.isatty():
            print(f"  {table.title}: {case.name} ...", file=sys.stderr, end="\x1b[K\r")
        results.append(compare(case, effort))
    return results


if __name__ == "__main__":
    main(tyro.cli(Options))
