"""kill −9 at random moments, while a file is being written too, and at every call that writes."""

import shutil
import time
from pathlib import Path
from random import Random

from benchmarks.faults import task
from benchmarks.faults.calls import Fault, killed
from benchmarks.faults.found import Found
from benchmarks.faults.processes import started, wait_for_a_file, wait_for_the_end

SPREAD = 0.25  # seconds behind a file within which a kill falls
NAMES, LATEST = ("mkdir", "open", "write", "fsync", "replace", "unlink"), range(1, 13)
MOMENTS = [
    (i, name, after)
    for i in LATEST for name in NAMES for after in (False, True)
    if i == 1 or name != "mkdir"  # the folder is made once
]  # fmt: skip


def kills(n: int, folder: Path, seed: int = 0) -> Found:
    """n processes, one after another on one run, each killed at some moment.

    After each the newest file is whole and no older than before, and a copy of the folder goes on
    from it to the end of the run that nothing happened to, bit for bit. At its end a run begins
    anew.
    """
    draw, run, step = Random(seed), folder / "kills", 0
    with Found("kill −9 at a random moment") as found:
        while found.tried < n:
            with started(run, task.EPOCHS) as process:
                wait_for_a_file(process, run)
                time.sleep(SPREAD * draw.random())
                process.kill()
                process.join()
            half = any(run.glob("*.partial"))
            ended = process.exitcode == 0
            found.note(
                "behind the end" if ended else f"{'in' if half else 'behind'} a file's writing"
            )
            now = task.newest(run)
            if now < step:
                found.blame(f"kill {found.tried}: from step {step} back to {now}")
            step = now
            task.check_folder(found, run, f"kill {found.tried} at step {step}")
            if step == task.STEPS:
                shutil.rmtree(run)
                step = 0
    return found


def ordered_kills(n: int, folder: Path, seed: int = 0) -> Found:
    """n kills (at most all) before and behind calls that write, the first, second, … of a name."""
    with Found("kill −9 at a call that writes") as found:
        for i, name, after in Random(seed).sample(MOMENTS, min(n, len(MOMENTS))):
            run, what = folder / "ordered", f"{'behind' if after else 'before'} {name}"
            with started(run, 1, Fault(killed, i, name, after=after)) as process:
                wait_for_the_end(process)
            found.note("behind the end" if process.exitcode == 0 else what)
            task.check_folder(found, run, f"{what} {i}")
            shutil.rmtree(run, ignore_errors=True)
    return found
