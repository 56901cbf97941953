import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

import fnn

ROOT = pathlib.Path(__file__).parents[2]
TWO = pathlib.Path(__file__).parent / "two.py"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (("localhost:1", 2), "give process or JAX_PROCESS_ID"),
        (("localhost:1", 2, 2), "process must be from 0 to 1, got 2"),
        ((), "give coordinator or JAX_COORDINATOR_ADDRESS, processes or JAX_NUM_PROCESSES"),
    ],
)
def test_what_is_nowhere_said_is_an_error(flags, text, monkeypatch):
    def undetected(*args, **options):
        raise ValueError("coordinator_address should be defined.")

    monkeypatch.setattr("jax.distributed.initialize", undetected)
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match=f"join: {text}"):
        fnn.devices.join(*flags)


def test_one_process_waits_for_nobody():
    fnn.devices.wait("nobody", timeout=0)
    assert fnn.devices.is_first()


def started(n, devices, folder, *more):
    """n processes with so many devices each."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}"}
    how = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, TWO, f"{port}", f"{n}"]
    return [subprocess.Popen([*command, f"{i}", folder, *more], **how) for i in range(n)]


def killed(runs):
    """Once all say that they wait."""
    try:
        said = [next((line for line in run.stdout if line == "waits\n"), "") for run in runs]
        assert said == ["waits\n"] * len(runs)
    finally:
        for run in runs:
            run.kill()
            run.communicate()


def learned(runs, begun, devices, folder):
    """What they learn together."""
    try:
        said = [run.communicate(timeout=240)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    last = [text.splitlines()[-1] if text else "" for text in said]
    told = f"{begun} {len(runs)} {len(runs) * devices} {devices}"
    assert last == [told] * len(runs), "\n\n".join(text[-2000:] for text in said)
    return np.load(folder / "found.npz")


@pytest.mark.slow
def test_two_processes_that_are_killed_and_go_on_learn_what_one_process_learns(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    two.mkdir()
    one.mkdir()
    killed(started(2, 2, two, "stop"))
    together = learned(started(2, 2, two), True, 2, two)
    alone = learned(started(1, 1, one), False, 1, one)
    assert together.files == alone.files
    for name in alone.files:
        scale = abs(alone[name]).max()
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-5, atol=1e-5 * scale)
