"""Several processes: one program on every host, each with its devices.

    fnn.devices.join()                  first of all, before anything runs on a device
    mesh = fnn.devices.mesh()           of the devices of all processes
    …                                   every process does the same, with rows of its own
    if fnn.devices.is_first():          one writes
    fnn.devices.wait("written")         the others wait, not for ever

The engine is jax.distributed, on CPUs with the collectives that jaxlib brings (gloo).
"""

import itertools
import os
from typing import Any

import jax

from fnn.records import integer

NAMES = {
    "coordinator": "JAX_COORDINATOR_ADDRESS",
    "processes": "JAX_NUM_PROCESSES",
    "process": "JAX_PROCESS_ID",
}
_barriers = itertools.count()


def join(
    coordinator: str | None = None,
    processes: int | None = None,
    process: int | None = None,
    *,
    timeout: int = 300,
) -> None:
    """Make this process one of several; call it before JAX runs anything.

    Args:
        coordinator: "host:port" of process 0, where all can reach it.
        processes: how many there are.
        process: which one this is, from 0 on. The three may stand in the environment instead, as
            JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; Slurm, Open MPI,
            Kubernetes and TPU pods say them themselves.
        timeout: seconds to wait for the others, here and at the end.

    Raises:
        ValueError: where one of the three is nowhere said, and for a number that is none of theirs.
        RuntimeError: where JAX has run something already, or not all came in time.
    """
    given: dict[str, Any] = {"coordinator": coordinator, "processes": processes, "process": process}
    for name, variable in NAMES.items():
        given[name] = os.environ.get(variable) if given[name] is None else given[name]
    n, i = (None if given[m] is None else number(m, given[m]) for m in ("processes", "process"))
    if n is not None and i is not None and not 0 <= i < n:
        raise ValueError(f"join: process must be from 0 to {n - 1}, got {i}.")
    timeout = number("timeout", timeout)
    limits: dict[str, Any] = {"initialization_timeout": timeout}
    limits["shutdown_timeout_seconds"] = timeout
    try:
        jax.distributed.initialize(given["coordinator"], n, i, **limits)
    except ValueError as error:
        lacking = ", ".join(f"{m} or {NAMES[m]}" for m, value in given.items() if value is None)
        raise ValueError(f"join: give {lacking or 'other values'}; {error!s:.200}") from error


def number(name: str, value: Any) -> int:
    """The integer that a flag or a variable says."""
    if isinstance(value, str) and value.isascii() and value.isdecimal():
        return int(value)
    return integer(f"join: {name}", value)


def is_first() -> bool:
    """Whether this is process 0, the one that writes."""
    return jax.process_index() == 0


def wait(name: str, *, timeout: float = 300) -> None:
    """Wait until every process is here.

    Raises:
        TimeoutError: where one is missing after `timeout` seconds.
    """
    if jax.process_count() == 1:
        return
    from jax._src import distributed  # whose barrier has a limit; the public one has none

    client: Any = distributed.global_state.client
    try:
        client.wait_at_barrier(f"fnn {next(_barriers)} {name}", timeout_in_ms=int(1000 * timeout))
    except Exception as error:
        raise TimeoutError(
            f"wait: not every process came to {name!r} within {timeout:g} s; {error!s:.200}"
        ) from error
