"""The tables as markdown, and everything as JSON."""

import datetime
import json
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from benchmarks.case import Table
from benchmarks.curves import Curve, Depth
from benchmarks.examples import Single
from benchmarks.machine import Import, Rated, Share
from benchmarks.markdown import digits, geometric, mark, markdown
from benchmarks.measure import Result
from benchmarks.precision import DTYPES, Error, Kept
from benchmarks.profiles import Cost
from benchmarks.runs import Run
from benchmarks.saving import Saving
from benchmarks.steps import Step
from benchmarks.streaming import Streamed
from benchmarks.updates import Update

TIME, MEMORY = 1.03, 1.0  # no row should be above
MEAN_TIME, MEAN_MEMORY = 0.60, 0.40  # nor the means of algorithms
GROWTH = 1.3  # of the compile time, from the first depth to any other


class Report(NamedTuple):
    """All that one run of the benchmarks found."""

    tables: list[tuple[Table, list[Result]]]
    runs: list[Run]
    steps: list[Step]
    shares: list[Share]
    imports: Import | None
    curves: Sequence[Curve] = ()
    depths: Sequence[Depth] = ()
    precision: Sequence[Error] = ()
    kept: Sequence[Kept] = ()
    singles: Sequence[Single] = ()
    updates: Sequence[Update] = ()
    savings: Sequence[Saving] = ()
    streams: Sequence[Streamed] = ()
    profiles: Sequence[Cost] = ()
    rated: Sequence[Rated] = ()
    rate: float | None = None  # FLOP per second, of one product in bfloat16


def ratio_table(table: Table, results: Sequence[Result]) -> str:
    """One row per case, a mark where a target is missed."""
    rows = [
        [
            r.name,
            f"{mark(r.time, time_limit(r))} [{digits(r.low)}, {digits(r.high)}]",
            mark(r.memory, MEMORY)
            if all(r.bytes) or not any(r.bytes)
            else f"{mark(r.bytes[0], 0)} B to {r.bytes[1]}",
            f"{r.flops:.2f}",
            f"{r.compile:.2f}",
            f"{r.error:.0e}",
        ]
        for r in results
    ]
    if table.mean:
        time, memory = (geometric(getattr(r, f) for r in results) for f in ("time", "memory"))
        means = [mark(time, MEAN_TIME), mark(memory, MEAN_MEMORY)]
        rows.append(["geometric mean", *means, "", "", ""])
    head = [
        "hand-written / autodiff",
        "time [quartiles]",
        "memory",
        "FLOPs",
        "compile",
        "error",
    ]
    return f"### {table.title}\n\n{table.note}\n\n{markdown(head, rows)}"


def time_limit(r: Result) -> float:
    """The target of a row's time; none where its quartiles lie on both sides of 1."""
    return TIME if r.low > 1 else math.inf


def run_table(runs: Sequence[Run]) -> str:
    """Whole training runs."""
    rows = [[r.name, *versus(r), "" if r.accuracy is None else f"{r.accuracy:.3f}"] for r in runs]
    note = "Digits, 64-64-10, Adam, batch 32, 20 epochs; every peer in its own process."
    head = ["peer", "time of fnn.fit / time of the peer", "target", "training accuracy"]
    return f"### Whole training runs\n\n{note}\n\n{markdown(head, rows)}"


STEPS = (
    "Forward, loss, backward, Adam, from the same arrays; every peer in its own process. "
    "Writing: 512 bytes by gpt, one sequence, the likeliest each; fnn.generate and PyTorch "
    "keep keys and values, plain JAX runs the whole context for each; the mean of the first 16 for "
    "a loss."
)
LARGE_STEPS = (
    "The same in bfloat16 of float32 parameters, at an accelerator's sizes: Cast, cast params, "
    "PyTorch's autocast; plain JAX has cuDNN's attention on a GPU."
)


def step_table(
    steps: Sequence[Step], title: str = "Whole training steps", note: str = STEPS
) -> str:
    """Whole training steps."""
    rows = []
    for s in steps:
        rest = ["", ""]
        if s.seconds is not None:
            rest = [digits(1e3 * s.seconds), f"{s.first:.3f} → {s.last:.3f}"]
        rows.append([s.net, s.peer, *versus(s), *rest])
    head = ["net", "peer", "time of fnn / time of the peer", "target", "ms", "loss"]
    return f"### {title}\n\n{note}\n\n{markdown(head, rows)}"


def profile_table(costs: Sequence[Cost]) -> str:
    """Where the time of a step goes."""
    rows = [
        [
            c.net, c.kind, c.where, f"{c.times:.0f}", digits(c.milliseconds), f"{c.share:.1%}",
            "" if c.gigaflops is None else f"{c.gigaflops:.0f}",
        ]
        for c in costs
    ]  # fmt: skip
    note = (
        "One step of fnn's, by jax.profiler: the largest parts, products by their sizes, the rest "
        "by its kind, and the file of fnn/ that asks for it; share of the time of all cores."
    )
    head = ["net", "what", "where", "times a step", "ms", "share", "GFLOP/s"]
    return f"### Profile\n\n{note}\n\n{markdown(head, rows)}"


def single_table(singles: Sequence[Single]) -> str:
    """Norms and clipped sums, and curvature."""
    ours = {(s.net, s.quantity): s.mebibytes for s in singles if s.peer == "fnn"}
    rows = []
    for s in singles:
        if s.ratio is None:
            rest = [f"refused: {s.refused}" if s.refused else "not installed", "", "", "", ""]
        else:
            own, peak = ours[s.net, s.quantity], s.mebibytes
            memory = ["", ""]
            if own is not None and peak is not None:
                memory = [digits(own / max(peak, 0.1)), f"{peak:.1f}"]
            time = f"{digits(s.ratio)} [{digits(s.low or 0)}, {digits(s.high or 0)}]"
            rest = [time, digits(1e3 * (s.seconds or 0)), *memory, f"{s.error:.0e}"]
        rows.append([s.net, s.quantity, s.peer, *rest])
    note = (
        "Norms ‖g_b‖ of the examples' own gradients, and their sum, each clipped; products, "
        "diagonals and factors of curvature; every peer in its own process. Peak: temporaries and "
        "results. Error: the largest difference from fnn, relative to its largest entry."
    )
    head = ["net", "quantity", "peer", "time of fnn / time of the peer", "ms"]
    head += ["peak of fnn / peak of the peer", "MiB", "error"]
    return f"### Single examples and curvature\n\n{note}\n\n{markdown(head, rows)}"


def versus(row: Run | Step) -> list[str]:
    """The ratio with its quartiles, and the target."""
    if row.ratio is None:
        return ["not installed", ""]
    ratio = mark(row.ratio, row.target or math.inf)
    goal = "" if row.target is None else f"≤ {row.target}"
    return [f"{ratio} [{digits(row.low or 0)}, {digits(row.high or 0)}]", goal]


def share_table(shares: Sequence[Share]) -> str:
    """Shares of the matrix-product rate."""
    rows = [
        [
            s.name,
            f"{mark(s.share, s.target, best=max)} [{s.low:.2f}, {s.high:.2f}]",
            f"≥ {s.target}",
        ]
        for s in shares
    ]
    note = "Of the rate of one square float32 product, measured in turn with the step."
    return f"### Matrix products\n\n{note}\n\n{markdown(['step', 'share', 'target'], rows)}"


def update_table(updates: Sequence[Update]) -> str:
    """Peak memory of a step inside the backward pass, of one behind it and of plain JAX's."""
    head = ["net, optimizer", "inside", "behind", "plain JAX", "time / behind", "target"]
    rows = [
        [
            u.name,
            *(f"{m:.1f}" for m in (u.inside, u.behind, u.plain)),
            f"{mark(u.time, u.target)} [{digits(u.low)}, {digits(u.high)}]",
            f"≤ {u.target}",
            digits(u.time_plain),
        ]
        for u in updates
    ]
    note = (
        "Peak memory in MiB, params, State and data included, States donated; "
        "Plan(in_backward=True), the same Plan without, jax.value_and_grad and optax."
    )
    table = markdown([*head, "time / plain JAX"], rows)
    return f"### Steps inside the backward pass\n\n{note}\n\n{table}"


def streaming_table(streams: Sequence[Streamed]) -> str:
    """A stream from memory against the same data as arrays."""
    rows = [
        [
            s.name, f"{s.parameters:,}", digits(s.milliseconds),
            f"{mark(s.ratio, s.target or 0, max)} [{digits(s.low)}, {digits(s.high)}]",
            "" if s.target is None else f"≥ {s.target}",
        ]
        for s in streams
    ]  # fmt: skip
    note = (
        "Steps per second of fnn.fit on a generator that slices arrays in memory / those of "
        "fnn.fit on the arrays; Adam, the same State. ms: of a step of arrays."
    )
    head = ["net", "parameters", "ms", "stream / arrays", "target"]
    return f"### Streams\n\n{note}\n\n{markdown(head, rows)}"


def saving_table(savings: Sequence[Saving]) -> str:
    """What a checkpoint costs."""
    head = ["net, params", "file, MiB", "step, ms", "a step waits, ms", "save, ms/MiB"]
    rows = [
        [s.name, f"{s.mib:.1f}", *(f"{v:.2f}" for v in (s.step, s.wait, s.save, s.load, s.disk))]
        for s in savings
    ]
    note = (
        "A State of Adam, 3 numbers a parameter, batch 256. Saving and loading have the SHA-256 "
        "and the fsync; the disk alone is the same bytes and an fsync."
    )
    table = markdown([*head, "load, ms/MiB", "disk alone, ms/MiB"], rows)
    return f"### Checkpoints\n\n{note}\n\n{table}"


def rated_table(rows: Sequence[Rated], rate: float) -> str:
    """Shares of the matrix-product rate in bfloat16, and peak memory."""
    cells = [
        [r.name, *(digits(v) for v in (r.milliseconds, r.teraflops, r.share, r.gibibytes))]
        for r in rows
    ]
    note = (
        "Of the hand-written one. One large square product in bfloat16: "
        f"{rate / 1e12:.3g} TFLOP/s. FLOPs are those of the products of plain autodiff, causal "
        "attention in full, nothing computed twice. Peak: arguments, temporaries and results."
    )
    head = ["row", "ms", "TFLOP/s", "share of the product's", "peak, GiB"]
    return f"### Share of the matrix rate, and peak memory\n\n{note}\n\n{markdown(head, cells)}"


def import_table(cost: Import) -> str:
    """The cost of the import."""
    seconds = f"{mark(cost.seconds, cost.target)} [{cost.low:.2f}, {cost.high:.2f}]"
    rows = [["import fnn, after import jax", seconds, f"≤ {cost.target}"]]
    return f"### Import\n\n{markdown(['what', 'seconds', 'target'], rows)}"


def curve_table(curve: Curve) -> str:
    """Time and memory of both at every size."""
    rows = [[f"{p.size}", *three(p.milliseconds), *three(p.mebibytes)] for p in curve.points]
    head = [curve.letter, "hand-written, ms", "autodiff, ms", "ratio"]
    head += ["hand-written, MiB", "autodiff, MiB", "ratio"]
    note = "Medians of pairs in one run; temporary memory."
    if any(None in p.milliseconds for p in curve.points):
        note += " Not run: what needs more than half of the machine's memory."
    return f"### Curve: {curve.title}\n\n{note}\n\n{markdown(head, rows)}"


def three(pair: tuple[float | None, float | None]) -> list[str]:
    """Two values and their ratio."""
    hand, auto = pair
    ratio = f"{digits(hand / auto)}" if hand and auto else ""
    return ["not run" if v is None else f"{v:.3g}" for v in pair] + [ratio]


def depth_table(depths: Sequence[Depth]) -> str:
    """Compile time at every depth, and over that of the first."""
    first = depths[0]
    rows = [
        [
            f"{d.blocks}",
            f"{d.seconds[0]:.2f}",
            f"{d.seconds[1]:.2f}",
            mark(d.seconds[0] / first.seconds[0], GROWTH),
            digits(d.seconds[1] / first.seconds[1]),
        ]
        for d in depths
    ]
    over = f"over that of {first.blocks}"
    head = [
        "blocks",
        "hand-written, s",
        "autodiff, s",
        f"hand-written, {over}",
        f"autodiff, {over}",
    ]
    note = "Trace and compile a GPT whose blocks of width 64 stand in Repeat."
    return f"### Compile time against depth\n\n{note}\n\n{markdown(head, rows)}"


def precision_table(errors: Sequence[Error]) -> str:
    """Relative differences from float64."""
    rows = [
        [e.net, e.way, f"{e.loss:.0e}", f"{e.gradient:.1e}", f"{e.worst:.1e}", e.leaf]
        for e in errors
    ]
    head = ["net", "computed in", "loss", "gradient", "worst array", "which is"]
    note = "Relative to float64: ‖g − g₆₄‖ / ‖g₆₄‖. bfloat16: Cast, with float32 masters."
    return f"### Precision\n\n{note}\n\n{markdown(head, rows)}"


def kept_table(found: Sequence[Kept]) -> str:
    """The largest errors of every function, over all sweeps."""
    columns = [(dtype, what) for dtype in DTYPES for what in ("y", "dx", "gradients")]
    rows = []
    for name in dict.fromkeys(k.function for k in found):
        own = [k for k in found if k.function == name]
        cells = [[k for k in own if (k.dtype, k.what) == column] for column in columns]
        beyond = dict.fromkeys(k.at for k in own if not math.isfinite(k.entry))
        rows.append([name, *map(worst, cells), ", ".join(beyond)])
    head = ["function", *[f"{what}, {dtype}" for dtype, what in columns], "beyond the range at"]
    note = (
        "In rounding units: relative to the largest entry of the array / to the entry itself. "
        "–: there is none. lost: an error of a tenth or more."
    )
    return f"### What every function keeps\n\n{note}\n\n{markdown(head, rows)}"


def worst(found: Sequence[Kept]) -> str:
    """The largest finite errors of some sweeps."""
    if not found:
        return "–"
    lost = 0.2 / float(jnp.finfo(found[0].dtype).eps)
    errors = [
        max((e for e in values if math.isfinite(e)), default=0.0)
        for values in ([k.array for k in found], [k.entry for k in found])
    ]
    return " / ".join("lost" if e >= lost else f"{e:.0f}" for e in errors)


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    device = jax.devices()[0]
    return {
        "jax": jax.__version__,
        "python": platform.python_version(),
        "device": device.device_kind,
        "platform": device.platform,
        "processor": platform.machine(),
        "date": datetime.date.today().isoformat(),
    }


def save_json(path: Path, report: Report) -> None:
    """Every number, unrounded."""
    content = {
        "machine": machine(),
        "tables": {t.title: [r._asdict() for r in results] for t, results in report.tables},
        "runs": [r._asdict() for r in report.runs],
        "steps": [s._asdict() for s in report.steps],
        "shares": [s._asdict() for s in report.shares],
        "imports": report.imports and report.imports._asdict(),
        "curves": {c.title: [p._asdict() for p in c.points] for c in report.curves},
        "depths": [d._asdict() for d in report.depths],
        "precision": [e._asdict() for e in report.precision],
        "kept": [finite(k._asdict()) for k in report.kept],
        "singles": [s._asdict() for s in report.singles],
        "updates": [u._asdict() for u in report.updates],
        "streams": [s._asdict() for s in report.streams],
        "savings": [s._asdict() for s in report.savings],
        "profiles": [c._asdict() for c in report.profiles],
        "rated": [r._asdict() for r in report.rated],
        "rate": report.rate,
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def finite(row: dict[str, Any]) -> dict[str, Any]:
    """A row with None for what is not finite."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}
