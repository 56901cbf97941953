"""Runs in processes of their own, which can be killed.

They are forked from a process that has imported everything and computed nothing, so that a run
begins in a second. That takes Linux, or another Unix.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import jax

from benchmarks.faults import task
from benchmarks.faults.calls import Fault, at_call

PATIENCE = 120.0  # seconds for a run to write its first file
FOREVER = 10**6  # epochs


@contextlib.contextmanager
def started(
    folder: Path, epochs: int = FOREVER, fault: Fault | None = None
) -> Iterator[BaseProcess]:
    """The run with its checkpoints in this folder, a file after every step; dead at the end."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    x64 = bool(jax.config.read("jax_enable_x64"))
    process = context.Process(target=trained, args=(folder, epochs, fault, x64), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def trained(folder: Path, epochs: int, fault: Fault | None, x64: bool) -> None:
    """What such a process does; it ends with the codes of a command."""
    jax.config.update("jax_enable_x64", x64)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), sys.stderr.fileno())
    try:
        with at_call(folder, fault) if fault else contextlib.nullcontext():
            task.run(folder, epochs=epochs)
    except KeyboardInterrupt as error:
        os._exit(getattr(error, "code", 130))


def wait_for_a_file(process: BaseProcess, folder: Path) -> None:
    """Wait until the run has written one more than there is, or is at its end.

    Raises:
        TimeoutError: where neither happens.
    """
    first, end = task.newest(folder), time.monotonic() + PATIENCE
    while process.is_alive() and task.newest(folder) == first:
        if time.monotonic() > end:
            raise TimeoutError(f"no file in {folder} after {PATIENCE} s")
        time.sleep(0.001)


def wait_for_the_end(process: BaseProcess) -> None:
    """Wait until the process has ended.

    Raises:
        TimeoutError: where it does not.
    """
    process.join(PATIENCE)
    if process.is_alive():
        raise TimeoutError(f"no end after {PATIENCE} s")
