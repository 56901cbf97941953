"""uv run python -m benchmarks.faults [--quick] [--only NAME...] [--n 9] [--out DIR] [--seed 0]."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from benchmarks.faults.damage import damage, passed_over
from benchmarks.faults.found import Found
from benchmarks.faults.fuzz import fuzz
from benchmarks.faults.kills import MOMENTS, kills, ordered_kills
from benchmarks.faults.refusals import refusals
from benchmarks.faults.resumes import resumes, rows
from benchmarks.faults.signals import signals
from benchmarks.faults.steady import steady
from benchmarks.faults.twice import twice
from benchmarks.markdown import markdown

Program = Callable[[int, Path, int], Found | list[Found]]
PROGRAMS: dict[str, tuple[Program, int, int]] = {  # what runs, its n in full, its n with --quick
    "kills": (kills, 500, 5),
    "ordered": (ordered_kills, len(MOMENTS), 6),
    "signals": (signals, 200, 4),
    "resumes": (resumes, 200, 6),
    "rows": (rows, 17, 5),
    "damage": (damage, 1, 500),
    "passed": (passed_over, 1000, 10),
    "refusals": (refusals, 1, 40),
    "fuzz": (fuzz, 20_000, 50),
    "twice": (twice, 7, 1),
    "steady": (steady, 600, 8),
}


@dataclass(frozen=True)
class Options:
    """Faults by the thousand, and what is left of the run they fall upon."""

    quick: bool = False
    """A few of each, to see that it runs."""
    only: tuple[str, ...] = ()
    """Programs whose name begins so: kills ordered signals resumes rows damage passed refusals
    fuzz twice steady."""
    out: Path = Path("runs/faults")
    """The folder for tables.md and results.json."""
    n: int | None = None
    """In place of the usual number of every program."""
    seed: int = 0
    """Of all that is drawn."""


def main(options: Options, say: Callable[[str], None] = print) -> list[Found]:
    """Run the programs one after another; print and write what came of each."""
    options.out.mkdir(parents=True, exist_ok=True)
    found: list[Found] = []
    for name, (program, many, few) in PROGRAMS.items():
        if options.only and not name.startswith(options.only):
            continue
        with TemporaryDirectory(prefix="fnn-faults-") as folder:
            usual = few if options.quick else many
            n = usual if options.n is None else options.n
            new: Any = program(n, Path(folder), options.seed)
        new = new if isinstance(new, list) else [new]
        found += new
        say(f"{table(new)}\n")
        for one in new:
            for what in one.wrong:
                say(f"WRONG: {what}\n")
        (options.out / "tables.md").write_text(f"{table(found)}\n")
        results = [vars(f) for f in found]
        (options.out / "results.json").write_text(json.dumps(results, default=float, indent=1))
    return found


def table(found: Sequence[Found]) -> str:
    """One row per program."""
    rows = [
        [
            f.name,
            f"{f.tried:,}",
            f.told(),
            f"{f.n_wrong:,}",
            ", ".join(f"{k} {v:.4g}" for k, v in f.figures.items()),
            f"{f.seconds:,.0f}",
        ]
        for f in found
    ]
    return markdown(["program", "tried", "what came of it", "wrong", "figures", "s"], rows)


if __name__ == "__main__":
    sys.exit(any(f.n_wrong for f in main(tyro.cli(Options))))
