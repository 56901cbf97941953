"""Ctrl-C and SIGTERM at random moments: the run saves itself and ends, soon, with its code."""

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path
from random import Random

from benchmarks.faults import task
from benchmarks.faults.found import Found
from benchmarks.faults.processes import started, wait_for_a_file

SPREAD = 0.25  # seconds behind a file within which a signal falls
SOON = 10.0  # seconds from a signal to the end
AFTER = {signal.SIGINT: 130, signal.SIGTERM: -signal.SIGTERM}  # a second one: as without fit


def signals(n: int, folder: Path, seed: int = 0) -> Found:
    """n runs, each sent a signal, half of them twice.

    The first: exit code 130 or 143, and the newest file is that of the last step. The second: at
    once. From both a copy of the folder goes on to the end of the straight run, bit for bit.
    """
    draw, run = Random(seed), folder / "signals"
    with Found("SIGINT and SIGTERM") as found:
        for i in range(n):
            number, twice = (signal.SIGINT, signal.SIGTERM)[i % 2], i % 4 > 1
            with started(run) as process:
                wait_for_a_file(process, run)
                time.sleep(SPREAD * draw.random())
                began = time.perf_counter()
                for wait in (0.0, 0.05 * draw.random())[: 1 + twice]:
                    time.sleep(wait)
                    with contextlib.suppress(ProcessLookupError):  # the first has ended it
                        os.kill(process.pid or 0, number)
                process.join(6 * SOON)
                code, took = process.exitcode, time.perf_counter() - began
            found.most("slowest end, s", took)
            name = f"{signal.Signals(number).name}{', twice' * twice}"
            found.note(f"{name}: {code}")
            allowed = {128 + number, AFTER[number]} if twice else {128 + number}
            if code not in allowed or took > SOON:
                found.blame(f"{name}: ended with {code} after {took:.1f} s")
            step = task.newest(run)
            epochs = -(-step // (task.STEPS // task.EPOCHS)) + 1
            task.check_folder(found, run, f"{name} at step {step}", epochs=epochs)
            if step > task.STEPS // 2:
                shutil.rmtree(run)
    return found
