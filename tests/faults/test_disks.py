"""A disk that is full, read-only or gone in the middle of a run: told by its path, nothing lost."""

import contextlib
import os
import resource
import shutil
import subprocess
import time

import chex
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.checkpoints import latest, load
from fnn.saving.folders import files_in

ADAM = plan(fnn.optim.Adam(0.01))
BEGIN = fnn.start(ADAM, KEY, PARAMS)


def mount(*args):
    return subprocess.run(["mount", *args], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A disk of 1 MiB, where this process may mount one, else a folder; and which of them it is."""
    path = tmp_path / "disk"
    path.mkdir()
    own = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", f"{path}")
    yield path, own
    if own:
        subprocess.run(["umount", f"{path}"], check=True)


@contextlib.contextmanager
def full(path, own):
    """No room on it; on a folder no room in a file."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not own:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    with contextlib.suppress(OSError), (path / "filler").open("wb", buffering=0) as file:
        while own:
            file.write(bytes(4096))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (path / "filler").unlink()


@contextlib.contextmanager
def read_only(path, own):
    """Nothing can be written."""
    if own:
        assert mount("-o", "remount,ro", f"{path}")
    else:
        os.chmod(path / "run", 0o500)
    yield
    if own:
        assert mount("-o", "remount,rw", f"{path}")
    else:
        os.chmod(path / "run", 0o700)


@contextlib.contextmanager
def gone(path, own):
    """The folder is not there."""
    shutil.move(path / "run", path / "elsewhere")
    yield
    shutil.move(path / "elsewhere", path / "run")


FAULTS = {
    full: "No space left on device|File too large",
    read_only: "Read-only file system|Permission denied|cannot be written",
    gone: "No such file or directory",
}


def fit(folder, callback=None):
    saving = fnn.Checkpointing(folder, 3)  # after every epoch
    how = {"epochs": 4, "batch_size": 4, "checkpoint": saving, "callback": callback}
    return fnn.fit(ADAM, BEGIN, (X, TARGET), **how)


def broken_by(fault, path, own):
    """An epoch behind the first file the disk breaks: the error, and the disk as it is then."""
    with contextlib.ExitStack() as broken:

        def breaking(state, row):
            if state.step == 6:
                while not files_in(path / "run"):  # another thread writes the first one
                    time.sleep(0.01)
                time.sleep(0.1)
                broken.enter_context(fault(path, own))

        with pytest.raises(OSError, match=FAULTS[fault]) as error:
            fit(path / "run", breaking)
        if fault is read_only:
            with pytest.raises(OSError, match=FAULTS[fault]):  # before a step
                fit(path / "run", lambda state, row: pytest.fail("a step was taken"))
    return str(error.value)


@pytest.mark.slow
def test_a_disk_that_fails_is_told_and_when_it_is_mended_the_run_goes_on(disk):
    path, own = disk
    want = fit(path / "straight")
    for fault in FAULTS:
        if fault is read_only and not own and os.getuid() == 0:
            continue  # nothing is read-only to root
        assert f"{path / 'run'}" in broken_by(fault, path, own)  # its folder, or a file of it
        assert [p.name for p in (path / "run").iterdir()] == ["0000000003.safetensors"]
        assert load(latest(path / "run"), ADAM).step == 3
        found = fit(path / "run")
        chex.assert_trees_all_equal(*(s._replace(key=None) for s in (found[0], want[0])))
        chex.assert_trees_all_equal(found[1], want[1])
        shutil.rmtree(path / "run")
