"""Tests of fnn.saving.folders."""

import numpy as np
import pytest

from fnn import files
from fnn.saving import folders


def filled(folder, *steps):
    for step in steps:
        files.write(folders.numbered(folder, step), {"w": np.arange(step % 7)}, {})


def steps_in(folder):
    return [folders.step_in(path) for path in folders.files_in(folder)]


def test_files_are_ordered_by_their_numbers_not_their_names(tmp_path):
    filled(tmp_path, 9, 10, 12345678901)
    (tmp_path / "notes.safetensors").touch()
    (tmp_path / "0000000011.txt").touch()
    assert steps_in(tmp_path) == [12345678901, 10, 9]
    assert folders.numbered("a", 10).name == "0000000010.safetensors"


def test_a_damaged_file_counts_for_nothing_and_goes_only_behind_whole_ones(tmp_path):
    filled(tmp_path, 1, 2, 3, 4, 5)
    for step in (2, 5):
        folders.numbered(tmp_path, step).write_bytes(b"damaged")
    assert folders.pruned(tmp_path, 3, set()) == []
    assert [*map(folders.step_in, folders.pruned(tmp_path, 2, set()))] == [2, 1]
    assert steps_in(tmp_path) == [5, 4, 3]


def test_a_file_whose_digest_has_lost_its_name_counts_for_nothing(tmp_path):
    filled(tmp_path, 1, 2)
    path = folders.numbered(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"sha25v"'))
    assert "sha256" not in files.read(path).texts  # one of somebody else's
    with pytest.warns(UserWarning, match=r"fit: going on from \S+1\.\S+; passed .* no SHA-256"):
        assert folders.newest("fit", tmp_path).path == folders.numbered(tmp_path, 1)
    assert folders.pruned(tmp_path, 1, set()) == []


def test_files_that_are_known_are_not_read_again(tmp_path, monkeypatch):
    filled(tmp_path, 1, 2)
    monkeypatch.setattr(folders, "read", None)
    known = {folders.numbered(tmp_path, 2)}
    assert folders.pruned(tmp_path, 1, known) == [folders.numbered(tmp_path, 1)]


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path):
    filled(tmp_path, 1)
    (tmp_path / "0000000002.safetensors.partial").touch()
    (tmp_path / "mine.partial").touch()
    folders.cleaned(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0000000001.safetensors", "mine.partial"]


def test_folders_are_made_with_those_above_them(tmp_path):
    folders.made(tmp_path / "a" / "b")
    folders.made(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "c").touch()
    with pytest.raises(OSError, match="c"):
        folders.made(tmp_path / "c" / "d")


def test_one_run_holds_a_folder_and_lets_go_of_it(tmp_path):
    for _ in range(2):
        with (
            folders.locked(tmp_path),
            pytest.raises(BlockingIOError, match=f"another run writes into {tmp_path}; wait for"),
            folders.locked(tmp_path),
        ):
            pass


def test_without_locks_of_the_system_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "fcntl", None)
    with folders.locked(tmp_path), folders.locked(tmp_path):
        pass
