import errno
import os
import subprocess
import sys

import pytest

from experiments.common import writing
from experiments.common.cli import DATA, UserError


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def refusing(monkeypatch, name):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, refuse)


def test_a_file_is_written_whole_and_replaces_the_one_before(tmp_path):
    for text in (b"one", b"two"):
        writing.whole(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_is_one_line_and_the_old_file_stays_alone(
    call, tmp_path, monkeypatch
):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    refusing(monkeypatch, call)
    with pytest.raises(UserError, match=r"/a cannot be written: No space left on device; put") as e:
        writing.whole(path, b"new")
    assert e.value.code == DATA
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_what_a_kill_left_is_removed_and_links_are_replaced_not_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("a", "a.partial"):
        (folder / name).symlink_to(mine)
    writing.whole(folder / "a", b"new")
    assert (folder / "a").read_bytes() == b"new"
    assert not (folder / "a").is_symlink()
    assert names(folder) == ["a"]
    assert mine.read_bytes() == b"mine"


def test_nothing_is_added_to_a_file_that_is_gone_or_has_become_a_link(tmp_path):
    path = tmp_path / "a"
    writing.whole(path, b"one\n")
    writing.append(path, b"two\n")
    assert path.read_bytes() == b"one\ntwo\n"
    path.rename(tmp_path / "b")
    with pytest.raises(UserError, match="cannot be written: No such file"):
        writing.append(path, b"three\n")
    path.symlink_to(tmp_path / "b")
    with pytest.raises(UserError, match="cannot be written"):
        writing.append(path, b"three\n")
    assert (tmp_path / "b").read_bytes() == b"one\ntwo\n"


@pytest.mark.long
def test_a_row_that_has_only_room_in_part_is_not_added(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"x" * 90)
    script = f"""
import resource
from pathlib import Path
from experiments.common import cli, writing
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
raise SystemExit(cli.exit_code(lambda: writing.append(Path({str(path)!r}), b"y" * 20)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == DATA
    assert "a cannot be written: only 10 of 20 bytes had room" in done.stderr
    assert done.stderr.count("\n") == 1
    assert path.read_bytes() == b"x" * 90
