"""The suite from the command line; benchmarks/conformance/README.md has the command.

python -m benchmarks.conformance [--only PACKAGE...] [--out DIR] [--seconds 120]
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.conformance.ask import Known, Result
from benchmarks.conformance.cases import PACKAGES
from benchmarks.conformance.report import tables
from benchmarks.conformance.run import everything


@dataclass(frozen=True)
class Options:
    """Hand-written derivatives of other people's packages, put to the checker."""

    only: tuple[str, ...] = ()
    """Packages, such as jax or optax; all of them if none is named."""
    match: tuple[str, ...] = ()
    """Only cases whose name contains one of these."""
    out: Path = Path("runs/conformance")
    """The folder for tables.md and results.json."""
    reuse: tuple[Path, ...] = ()
    """results.json of earlier runs whose differences and check_grads still hold."""
    seconds: float = 120.0
    """How long a case may take before its process is ended."""


def main(options: Options) -> list[Result]:
    """Ask everybody, write the tables."""
    packages = options.only or tuple(PACKAGES)
    unknown = sorted(set(packages) - set(PACKAGES))
    if unknown:
        raise SystemExit(f"no cases of {', '.join(unknown)}; there are: {', '.join(PACKAGES)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"{time.perf_counter() - start:6.0f} s  {text}", file=sys.stderr, flush=True)

    def save(results: list[Result]) -> None:
        text = json.dumps(results, ensure_ascii=False, indent=1)
        (options.out / "results.json").write_text(text + "\n")

    results = everything(
        packages, options.seconds, say, match=options.match, known=earlier(options.reuse), save=save
    )
    text = tables(results)
    (options.out / "tables.md").write_text(text + "\n")
    print(text)
    say(f"written to {options.out}: tables.md, results.json")
    return results


def earlier(paths: tuple[Path, ...]) -> Known:
    """What earlier runs found, by name and question."""
    results = [r for path in paths for r in json.loads(path.read_text())]
    return {(r["name"], r["question"]): r for r in results if "truth" in r}


if __name__ == "__main__":
    main(tyro.cli(Options))
