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


def test_one_process_waits_for_nobody():
    fnn.devices.wait("nobody", timeout=0)
    assert fnn.devices.is_first()


def started(n, devices, folder, how):
    """n processes with so many devices each."""
    folder.mkdir(exist_ok=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    flags = f"--xla_force_host_platform_device_count={devices}"
    env = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{ROOT}"}
    pipes = {"env": env, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, TWO, f"{port}", f"{n}"]
    return [subprocess.Popen([*command, f"{i}", folder, how], **pipes) for i in range(n)]


def reached(runs, line):
    """Wait until all say this."""
    for run in runs:
        said = []
        while said[-1:] != [line]:
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
    epochs = [line for line in said[0].splitlines() if line.startswith("epoch")]
    return np.load(folder / "found.npz"), epochs


@pytest.mark.slow
@pytest.mark.parametrize("how", ["arrays", "stream"])
def test_two_processes_that_are_killed_and_go_on_learn_what_one_process_learns(how, tmp_path):
    two, one = tmp_path / "two", tmp_path / "one"
    alone, all_epochs = learned(started(1, 1, one, how), 1, one)
    assert all_epochs == [f"epoch {i + 1}" for i in range(6)]
    two.mkdir()
    (two / "slowly").touch()
    runs = started(2, 2, two, how)
    reached(runs, "epoch 2\n")
    for run in runs:
        run.kill()
    ended(runs)
    (two / "slowly").unlink()
    together, epochs = learned(started(2, 2, two, how), 2, two)
    assert 2 <= len(epochs) < 6
    assert together.files == alone.files
    for name in alone.files:
        scale = abs(alone[name]).max()
        np.testing.assert_allclose(together[name], alone[name], rtol=1e-5, atol=1e-5 * scale)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_where_the_run_is_saved(tmp_path):
    (tmp_path / "slowly").touch()
    runs = started(2, 1, tmp_path, "arrays")
    reached(runs, "epoch 2\n")
    runs[1].send_signal(signal.SIGTERM)
    codes, said = ended(runs)
    assert codes == [143, 143], said
    assert len(list((tmp_path / "run").iterdir())) == 2
