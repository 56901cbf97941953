"""uv run python -m benchmarks.mutations [--quick] [--only NAME...] [--out DIR] [--workers 2]."""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.mutations.picture import draw
from benchmarks.mutations.report import tables
from benchmarks.mutations.run import everything, jobs_of
from benchmarks.mutations.work import Result


@dataclass(frozen=True)
class Options:
    """Wrong gradients by the thousand, and which checker notices them."""

    quick: bool = False
    """A few mutants of every kind at the smallest size."""
    only: tuple[str, ...] = ()
    """Blocks whose name begins so, such as Dense or Adam."""
    every: int = 1
    """Every n-th job only: 2 for one half of them, a mixed one."""
    out: Path = Path("runs/mutations")
    """The folder for tables.md, results.json and kills.png."""
    workers: int = 2
    """Processes; 0 for this one."""
    peers: bool = True
    """Whether the other checkers are asked too."""


def main(options: Options) -> list[Result]:
    """Make the mutants, ask everybody, write the tables."""
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {text}", file=sys.stderr, flush=True)

    def save(results: list[Result]) -> None:
        text = json.dumps(results, ensure_ascii=False)
        (options.out / "results.json").write_text(text + "\n")

    jobs = jobs_of(options.only, quick=options.quick, every=options.every)
    say(f"{len(jobs)} jobs")
    results = everything(jobs, options.workers, say, peers=options.peers, save=save)
    text = tables(results)
    (options.out / "tables.md").write_text(text + "\n")
    save(results)
    draw(options.out / "kills.png", results)
    print(text)
    say(f"written to {options.out}: tables.md, results.json, kills.png")
    return results


if __name__ == "__main__":
    main(tyro.cli(Options))
