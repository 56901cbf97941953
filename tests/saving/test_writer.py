"""Tests of fnn.saving.writer."""

import errno
import resource
import threading
import time

import numpy as np
import pytest

from fnn import files
from fnn.files import CheckpointError
from fnn.saving import writer
from fnn.saving.folders import files_in, numbered, step_in
from fnn.saving.writer import Writer, writing

W = {"w": np.arange(300.0)}


@pytest.fixture
def gate(monkeypatch):
    """The disk: nothing is written before it is opened."""
    gate, write = threading.Event(), files.write
    monkeypatch.setattr(writer, "write", lambda *args: (gate.wait(10), write(*args))[1])
    return gate


def steps_in(folder):
    return [step_in(path) for path in files_in(folder)]


def test_offering_waits_for_nothing_and_the_newest_waits_for_the_disk(tmp_path, gate):
    with writing(tmp_path, 5, None) as into:
        for step in range(1, 6):
            assert into.offer(step, W, {"step": f"{step}"}) == numbered(tmp_path, step)
        assert steps_in(tmp_path) == []
        gate.set()
        into.finish()
    found = steps_in(tmp_path)
    assert found[0] == 5
    assert len(found) <= 2
    assert files.read(numbered(tmp_path, 5)).texts["step"] == "5"


def test_older_files_go_behind_newer_ones_that_were_read_back(tmp_path, monkeypatch):
    with writing(tmp_path, 2, None) as into:
        for step in range(1, 6):
            into.offer(step, W, {})
            into.finish()
        assert steps_in(tmp_path) == [5, 4]
        write = files.write

        def damaging(path, *args):
            write(path, *args)
            path.write_bytes(path.read_bytes()[:-1])

        monkeypatch.setattr(writer, "write", damaging)
        into.offer(6, W, {})
        with pytest.raises(CheckpointError, match=r"0000000006\.safetensors is not a safetensors"):
            into.finish()
    assert steps_in(tmp_path) == [6, 5, 4]


def saved(folder, *steps):
    with writing(folder, 1, None) as into:
        for step in steps:
            into.offer(step, W, {})
            into.finish()


def test_what_fails_is_raised_by_the_next_call_with_its_path(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left")

    into = Writer(tmp_path, 2, None)
    into.offer(1, W, {})
    into.finish()
    monkeypatch.setattr(writer, "write", full)
    into.offer(2, W, {})
    while into._error is None:
        time.sleep(0.001)
    with pytest.raises(OSError, match=r"No space left: '\S+/0000000002\.safetensors'") as error:
        into.offer(3, W, {})
    assert error.value.errno == errno.ENOSPC
    monkeypatch.undo()
    into.offer(4, W, {})
    into.finish()
    into.close()
    assert steps_in(tmp_path) == [4, 1]


def test_a_disk_that_is_full_in_the_middle_leaves_the_older_file_and_nothing_beside(tmp_path):
    saved(tmp_path, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '\S+2\.safetensors'"):
            saved(tmp_path, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["0000000001.safetensors"]
    assert files.read(numbered(tmp_path, 1)).tensors["w"].tolist() == W["w"].tolist()


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run/0000000001\.safetensors"):
        saved(tmp_path / "run", 1)


def test_an_error_elsewhere_waits_for_what_is_still_written(tmp_path, gate):
    threading.Timer(0.05, gate.set).start()
    with pytest.raises(ValueError, match="mine"):
        failing(tmp_path)
    assert steps_in(tmp_path) == [1]


def failing(folder):
    with writing(folder, 1, None) as into:
        into.offer(1, W, {})
        raise ValueError("mine")


def test_its_thread_ends_with_it(tmp_path):
    with writing(tmp_path, 1, None) as into:
        thread = into._thread
    thread.join(5)
    assert not thread.is_alive()
