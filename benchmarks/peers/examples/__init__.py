"""What more there is to ask of a backward pass, of the nets of benchmarks.examples.

    python -m benchmarks.peers.examples.NAME QUANTITY NET DATA.npz N FOLDER

    norms           ‖g_b‖ of the examples' own gradients, [B]
    clipped         Σ_b g_b min(1, max_norm / ‖g_b‖)
    hessian         ∂²L v, a direction v by name as "v.NAME" among the arrays
    gauss_newton    Jᵀ H J v
    diagonal        diag(Jᵀ H J)
    kfac            the Kronecker factors of the empirical Fisher matrix; shown as (A ⊗ G) v

A way to compute it is start(quantity, net, params, x, target, given) → run, given max_norm or v;
run() returns it when it is known, as an array or as name → array, by the names and in the layout of
the arrays of benchmarks.examples. What way i finds first is kept in FOLDER/NAME-i.npz, to be
compared.
"""

import ctypes
import functools
import gc
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers import serve

Run = Callable[[], Any]
Start = Callable[..., Run]


def main(*starts: Start) -> None:
    """`n` further runs whenever asked."""
    quantity, net, path, n, folder = sys.argv[1:]
    with np.load(path) as data:
        arrays = dict(data)
    x, target = arrays.pop("x"), arrays.pop("target")
    max_norm, name = float(arrays.pop("max_norm")), Path(sys.argv[0]).stem
    v = {k[2:]: arrays.pop(k) for k in list(arrays) if k.startswith("v.")}
    runs = [start(quantity, net, arrays, x, target, v or max_norm) for start in starts]
    for i, run in enumerate(runs):
        found = run()
        found = found if isinstance(found, Mapping) else {quantity: found}
        found = {k: np.asarray(a) for k, a in found.items()}
        np.savez(Path(folder) / f"{name}-{i}.npz", **found)  # pyright: ignore[reportArgumentType]
    peaks = [peak(run) for run in runs]
    serve([
        functools.partial(timed, run, int(n), mebibytes)
        for run, mebibytes in zip(runs, peaks, strict=True)
    ])  # fmt: skip


def timed(run: Run, n: int, mebibytes: float | None) -> dict[str, Any]:
    """Seconds of one run, and what it takes of memory."""
    start = time.perf_counter()
    for _ in range(n):
        run()
    return {"seconds": (time.perf_counter() - start) / n, "mebibytes": mebibytes}


def peak(run: Run) -> float | None:
    """MiB by which the process is larger at most, while it runs, than before; None if unknown."""
    run()
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # what is free goes back
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark is now
        before = resident("VmRSS")
        run()
        return (resident("VmHWM") - before) / 1024
    except (OSError, AttributeError):  # not Linux
        return None


def resident(field: str) -> int:
    """Of /proc/self/status, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(field)))
