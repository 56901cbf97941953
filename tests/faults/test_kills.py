"""A run that is killed, at any moment, goes on to the end that it would have had."""

import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.saving.folders import files_in, is_whole

RUN = """
import signal, sys
import jax
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, sys.argv[2])
from training import KEY, PARAMS, TARGET, X, plan
import fnn
adam = plan(fnn.optim.Adam(0.01))
checkpoint = fnn.Checkpointing(sys.argv[1], 1)
told = lambda state, row: print(int(state.step), flush=True)
fnn.fit(adam, fnn.start(adam, KEY, PARAMS), (X, TARGET), epochs=10**6, batch_size=4,
        callback=told, checkpoint=checkpoint)
"""
TESTS = pathlib.Path(__file__).parent.parent


def started(folder):
    """The run in a process of its own, some epochs on."""
    command = [sys.executable, "-c", RUN, f"{folder}", f"{TESTS}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ})
    for _ in range(3):
        process.stdout.readline()
    return process


@pytest.mark.slow
def test_after_a_kill_the_folder_holds_a_whole_file_and_the_run_goes_on(tmp_path):
    draw, adam = random.Random(0), plan(fnn.optim.Adam(0.01))
    begin, data, seen = fnn.start(adam, KEY, PARAMS), (X, TARGET), 0
    for _ in range(4):
        with started(tmp_path) as process:
            time.sleep(draw.random() / 5)
            process.kill()
        whole = [path for path in files_in(tmp_path) if is_whole(path)]
        step = int(fnn.checkpoints.load(whole[0], adam).step)
        assert step > seen
        seen = step
    epochs, checkpoint = seen // 3 + 2, fnn.Checkpointing(tmp_path, 1)
    found, history = fnn.fit(adam, begin, data, epochs=epochs, batch_size=4, checkpoint=checkpoint)
    want, rows = fnn.fit(adam, begin, data, epochs=epochs, batch_size=4)
    for a, b in zip(
        *(jax.tree.leaves((s.params, s.optimizer_state)) for s in (found, want)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(history["loss"], rows["loss"])
    assert not [*tmp_path.glob("*.partial")]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_from_outside_saves_and_ends_soon(number, tmp_path):
    with started(tmp_path) as process:
        began = time.perf_counter()
        process.send_signal(number)
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()
    assert time.perf_counter() - began < 60
    assert process.returncode != 0
    assert is_whole(files_in(tmp_path)[0])
