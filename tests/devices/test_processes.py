import os
import pathlib
import signal
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
    with pytest.raises(TypeError, match="join: timeout must be an integer, got 'soon'"):
        fnn.devices.join("localhost:1", 2, 0, timeout="soon")


def test_one_process_waits_for_nobody():
    fnn.devices.wait("nobody", timeout=0)
    assert fnn.devices.is_first()


def started(n, devices, folder):
    """n processes with so many devices each."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}"}
    pipes = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, TWO, f"{port}", f"{n}"]
    return [subprocess.Popen([*command, f"{i}", folder], **pipes) for i in range(n)]


def reached(runs, line):
    """Wait until all say this."""
    for run in runs:
        said = []
        while said[-1:] != [f"{line}\n"]:
            said.append(run.stdout.readline())
            assert said[-1], "".join(said)


def ended(runs):
    """The exit codes, and what was said at the end."""
    try:
        said = [run.communicate(timeout=240)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    return [run.returncode for run in runs], said


def learned(runs, devices, folder):
    """What they learn together, and the epochs that process 0 has seen."""
    codes, said = ended(runs)
    assert codes == [0] * len(runs), "\n\n".join(text[-3000:] for text in said)
    told = f"{len(runs)} {len(runs) * devices} {devices}"
    assert [text.splitlines()[-1] for text in said] == [told] * len(runs)
    refused = [line for text in said for line in text.splitlines() if line.startswith("refused")]
    assert len(refused) == (0 if len(runs) == 1 else 4), refused
    epochs = [line for line in said[0].splitlines() if line.startswith(("arrays", "stream"))]
    return np.load(folder / "found.npz"), epochs


@pytest.mark.slow
def test_two_processes_that_are_stopped_and_killed_learn_what_one_process_learns(tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    alone, all_epochs = learned(started(1, 1, one), 1, one)
    assert len(all_epochs) == 12
    two.mkdir()
    (two / "slowly").touch()
    runs = started(2, 2, two)
    reached(runs, "arrays, epoch 2")
    runs[1].send_signal(signal.SIGTERM)
    codes, said = ended(runs)
    assert codes == [143, 143], said
    assert len(list((two / "arrays").iterdir())) == 2  # files of one process
    runs = started(2, 2, two)
    reached(runs, "stream, epoch 2")
    for run in runs:
        run.kill()
    ended(runs)
    (two / "slowly").unlink()
    together, epochs = learned(started(2, 2, two), 2, two)
    assert 2 <= len(epochs) < 6, epochs
    assert together.files == alone.files
    for name in alone.files:
        scale = abs(alone[name]).max()
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-5, atol=1e-5 * scale)
