"""uv run python -m benchmarks.scale [--only 124M-8 7B-8] [--out DIR] [--bandwidth 100]."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.scale.models import CASES, CONTEXT, SIZES, Case
from benchmarks.scale.picture import draw

WAYS = "hand", "autodiff"
Found = dict[str, dict[str, Any]]  # "hand" and "autodiff" → what programs.py prints


@dataclass(frozen=True)
class Options:
    """Compile steps of GPT-2 for many devices, and read what they need."""

    only: tuple[str, ...] = ()
    """Cases, such as 124M-8: a size and the number of devices."""
    out: Path = Path("runs/scale")
    """The folder for scale.md, scale.json and scale.png; what is there is not compiled again."""
    bandwidth: float = 100
    """Gigabytes that a device sends in a second."""
    teraflops: float = 100
    """What a device computes in a second."""


def main(options: Options) -> None:
    """Compile every case twice, each in a process of its own; print and draw."""
    options.out.mkdir(parents=True, exist_ok=True)
    path, found = options.out / "scale.json", {}
    if path.exists():
        found = json.loads(path.read_text())
    for case in CASES:
        if case.name not in found and (not options.only or case.name in options.only):
            print(f"{case.name} ...", file=sys.stderr)
            found[case.name] = {way: compiled(case, way) for way in WAYS}
            path.write_text(json.dumps(found, indent=1) + "\n")
    text = table(found, options.bandwidth, options.teraflops)
    (options.out / "scale.md").write_text(text + "\n")
    draw(options.out / "scale.png", [(c, found[c.name]) for c in CASES if c.name in found])
    print(f"{text}\nwritten to {options.out}: scale.json, scale.md, scale.png")


def compiled(case: Case, way: str) -> dict[str, Any]:
    """What programs.py prints of it."""
    flags = f"--xla_force_host_platform_device_count={case.data * case.model}"
    command = [sys.executable, "-m", "benchmarks.scale.programs", case.name, way]
    env = os.environ | {"XLA_FLAGS": flags}
    run = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(run.stdout)


def table(found: dict[str, Found], bandwidth: float, teraflops: float) -> str:
    """One row per case; of two numbers the second is that of jax.grad."""
    lines = [
        "| GPT-2 | devices | cut | State, GiB | beside it, GiB | a block sends, MB | the rest, MB "
        "| time of sending, % |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in CASES:
        if case.name not in found:
            continue
        ways = [found[case.name][way] for way in WAYS]
        cells = [f"{ways[0]['state'] / 2**30:.2f}"]
        cells += [two(w["temporary"] / 2**30 for w in ways)]
        cells += [two(w[name] / 1e6 for w in ways) for name in ("block", "rest")]
        cells += [two(100 * share(case, w, bandwidth, teraflops) for w in ways)]
        mesh = f"{case.data} × {case.model}" if case.model > 1 else f"{case.data}"
        lines.append(f"| {' | '.join([case.size, mesh, way_of(case), *cells])} |")
    return "\n".join(lines)


def two(values: Any) -> str:
    """The number of the hand-written step, and that of jax.grad."""
    return " · ".join(f"{v:,.3g}" if v < 1000 else f"{v:,.0f}" for v in values)


def way_of(case: Case) -> str:
    """How the State lies, in a word or two."""
    how = case.how if type(case.how) is tuple else (case.how,)
    return " + ".join(h if isinstance(h, str) else "perceptrons" for h in how)


def share(case: Case, found: dict[str, Any], bandwidth: float, teraflops: float) -> float:
    """Of the time of a step, what sending takes where nothing is sent while it computes.

    A token takes 8 floating-point operations for every parameter, with the forward of a block
    again, and 16 T n for every layer's attention.
    """
    size = SIZES[case.size]
    sends = (found["block"] * size.n_layers + found["rest"]) / (bandwidth * 1e9)
    work = 8 * found["parameters"] + 16 * CONTEXT * size.n * size.n_layers
    computes = work * found["tokens"] / (case.data * case.model) / (teraflops * 1e12)
    return sends / (sends + computes)


if __name__ == "__main__":
    main(tyro.cli(Options))
