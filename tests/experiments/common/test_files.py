from pathlib import Path

import numpy as np
import pytest

from experiments.common import data, files
from experiments.common.cli import DATA, DataError, UserError


def test_a_data_error_is_a_user_error_and_a_value_error_and_ends_with_3(tmp_path):
    with pytest.raises(ValueError, match="there is no file") as caught:
        files.existing(tmp_path / "a.csv")
    assert isinstance(caught.value, UserError)
    assert caught.value.code == DATA == 3


def test_missing_files_and_folders_are_named_with_what_is_called_nearly_so(tmp_path):
    (tmp_path / "iris.csv").write_text("1")
    (tmp_path / "mnist").mkdir()
    with pytest.raises(DataError, match=r"no file .*iirs\.csv\. Did you mean iris\.csv\?"):
        files.existing(tmp_path / "iirs.csv")
    with pytest.raises(DataError, match=r"no folder .*mnits\. Did you mean mnist\?"):
        files.folder(tmp_path / "mnits")
    with pytest.raises(DataError, match=r"no folder .*mnits\. Did you mean mnist\?"):
        files.existing(tmp_path / "mnits" / "deep" / "a.csv")
    with pytest.raises(DataError, match=r"there is no file .*zzz\.$"):
        files.existing(tmp_path / "zzz")


def test_a_folder_for_a_file_a_file_for_a_folder_and_nothing_in_it_are_told(tmp_path):
    empty = tmp_path / "empty"
    empty.touch()
    with pytest.raises(DataError, match="is a folder; name a file"):
        files.existing(tmp_path)
    with pytest.raises(DataError, match="is a file; name the folder"):
        files.folder(empty)
    with pytest.raises(DataError, match="is empty: 0 bytes"):
        files.existing(empty)
    with pytest.raises(DataError, match="/empty is not a folder; name one"):
        files.existing(empty / "a.csv")
    with pytest.raises(DataError, match="/dev/null is not a file; name one"):
        files.existing(Path("/dev/null"))
    with pytest.raises(DataError, match=r"there is no file .*/empti\. Did you mean empty\?"):
        files.existing(tmp_path / "empti")
    with pytest.raises(DataError, match=r"there is no folder .*/empti\.$"):
        files.folder(tmp_path / "empti")
    with pytest.raises(DataError, match="cannot be read: File name too long"):
        files.existing(tmp_path / ("a" * 300))


@pytest.mark.parametrize("shares", [(0.70, 0.15, 0.15), (0.85, 0.15)])
def test_as_many_rows_as_are_asked_for_give_every_part_some_of_each_class(shares):
    fewer = []
    for n in range(2, 200):
        label = np.zeros(n, np.int32)
        parts = data.split(data.Rows(np.zeros((n, 1), np.float32), label), shares, seed=0)
        if min(len(part.label) for part in parts) == 0:
            fewer.append(n)
    assert max(fewer, default=0) < files.FEWEST
    assert len(shares) == 2 or max(fewer) == files.FEWEST - 1


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ((1,), "where: 1 row; at least 12 are needed"),
        ((11,), "where: 11 rows; at least 12"),
        ((12,), "where: all 12 rows have the class 'a'"),
        ((3,) * 26, "where: 26 different values in 78 rows. That looks like a number"),
        ((5, 30), "where: class 'a' has 5 of 35 rows; every class needs 6"),
    ],
)
def test_classes_without_enough_rows_are_refused(counts, message):
    label = np.repeat(np.arange(len(counts)), counts)
    with pytest.raises(DataError) as caught:
        files.check_classes("where", "abcdefghijklmnopqrstuvwxyz"[: len(counts)], label)
    assert message in str(caught.value)
    files.check_classes("where", "ab", np.repeat([0, 1], 6))


def test_a_file_that_says_it_is_huge_is_not_read_and_the_limit_can_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(700_000_000)
    with pytest.raises(DataError) as caught:
        files.existing(path)
    assert str(caught.value) == (
        f"{path} takes 700000000 bytes; at most 500000000 are read. Where there is memory for ten "
        "times as many, set FNN_MAX_BYTES=700000000 before the command."
    )
    monkeypatch.setenv("FNN_MAX_BYTES", "700000000")
    assert files.existing(path) == path
    path.write_bytes(b"12345")
    monkeypatch.setenv("FNN_MAX_BYTES", "4")
    with pytest.raises(DataError, match=r"takes 5 bytes; at most 4 are read"):
        files.content(path)
    monkeypatch.setenv("FNN_MAX_BYTES", "1_000")
    with pytest.raises(UserError, match=r"FNN_MAX_BYTES must be an integer, got '1_000'"):
        files.existing(path)


def test_half_written_files_are_not_suggested(tmp_path):
    (tmp_path / "a.safetensors.partial").touch()
    with pytest.raises(DataError, match=r"there is no file .*a\.safetensors\.$"):
        files.existing(tmp_path / "a.safetensors")
