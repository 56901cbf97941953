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


def trained(n, devices, folder):
    """What n processes with so many devices each learn together."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}"}
    folder.mkdir()
    how = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    runs = [
        subprocess.Popen([sys.executable, TWO, f"{port}", f"{n}", f"{i}", folder], **how)
        for i in range(n)
    ]
    try:
        said = [run.communicate(timeout=240)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    last = [text.splitlines()[-1] if text else "" for text in said]
    assert last == [f"{n} {n * devices} {devices}"] * n, "\n\n".join(text[-2000:] for text in said)
    return np.load(folder / "found.npz")


@pytest.mark.slow
def test_two_processes_with_two_devices_each_learn_what_one_process_learns(tmp_path):
    together, alone = trained(2, 2, tmp_path / "two"), trained(1, 1, tmp_path / "one")
    assert together.files == alone.files
    for name in alone.files:
        scale = abs(alone[name]).max()
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-5, atol=1e-5 * scale)
