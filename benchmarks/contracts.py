"""The contract tests of layers and losses, on the device that the benchmarks are about to measure.

They run in a process of their own, float64, float32 and bfloat16, with products as precise as the
device has them; pytest's header says on which device.
"""

import os
import subprocess
import sys
from collections.abc import Sequence

import jax

from benchmarks.turns import ROOT, SHARED_DEVICE

TESTS = ("tests/layers", "tests/losses")
PRECISE = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}


def contracts(tests: Sequence[str] = TESTS) -> str:
    """The last line of pytest; SystemExit where a test fails or runs elsewhere."""
    command = [sys.executable, "-m", "pytest", *tests, "-n", "0", "-v", "--tb=short"]
    process = subprocess.run(
        command, cwd=ROOT, env=os.environ | SHARED_DEVICE | PRECISE, capture_output=True, text=True
    )
    lines = process.stdout.strip().splitlines()
    device = f"device: {jax.devices()[0].device_kind}"
    if process.returncode != 0:
        told = [*lines[-40:], process.stderr[-2000:]]
        raise SystemExit("\n".join(["The contract tests fail:", *told]))
    if device not in lines:
        raise SystemExit(f"The contract tests did not run on this {device}.")
    return f"{lines[-1].strip('= ')}, {device}"
