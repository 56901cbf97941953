"""The same command twice, in two processes and two folders: the same files, but for the clock."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.faults import task
from benchmarks.faults.found import Found
from fnn.files import read

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {  # of those that draw no times
    "difference_quotient": "--quick",
    "digits": "--hidden 8 --epochs 3 --batch-size 100",
    "cnn": "--filters 4 4 --epochs 1 --batch-size 200",
    "gpt": "--quick --steps 40 --evaluate-every 20 --n 16 --layers 1",
    "momentum": "--quick",
    "batch_size": "--quick",
    "minima": "--quick",
}
CLOCK = {"seconds", "steps_per_second", "compile_seconds", "bytes_per_second", "out"}


def twice(n: int, folder: Path, seed: int = 0) -> Found:
    """The first n of the commands, each twice."""
    with Found("the same command twice") as found:
        for name, flags in [*COMMANDS.items()][:n]:
            outs = [folder / f"{name} {i}" for i in range(2)]
            for out in outs:
                command(name, [*flags.split(), "--seed", str(seed), "--out", str(out)])
            files = [sorted(p.relative_to(o) for p in o.rglob("*") if p.is_file()) for o in outs]
            if files[0] != files[1]:
                found.blame(f"{name}: {files[0]} and {files[1]}")
            for file in files[0]:
                one, other = (content(out / file) for out in outs)
                found.note(f"{file.suffix} {'equal' if one == other else 'not equal'}")
                if one != other:
                    found.blame(f"{name}: {file} differs")
    return found


def command(name: str, flags: Sequence[str]) -> None:
    """Run an experiment."""
    argv = [sys.executable, "-m", f"experiments.{name}", *flags]
    subprocess.run(argv, cwd=ROOT, env=os.environ, check=True, stdout=subprocess.DEVNULL)


def content(path: Path) -> Any:
    """What is in a file, without what the clock says and where the folder is."""
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".csv":
        return [timeless(row) for row in csv.DictReader(path.read_text().splitlines())]
    if path.suffix == ".safetensors":
        tensors, texts = read(path)
        notes = timeless(json.loads(texts.get("notes", "null")))
        return (
            task.sha(tensors),
            notes,
            {n: t for n, t in texts.items() if n not in ("notes", "sha256")},
        )
    return path.read_bytes()


def timeless(value: Any) -> Any:
    """Without the entries of the clock."""
    if isinstance(value, dict):
        return {name: timeless(v) for name, v in value.items() if name not in CLOCK}
    return [timeless(v) for v in value] if isinstance(value, list) else value
