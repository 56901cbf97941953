"""Tests of benchmarks.faults.twice: the same command makes the same files."""

import json

import pytest

from benchmarks.faults import twice


@pytest.mark.long
def test_the_same_command_makes_the_same_files(tmp_path):
    found = twice.twice(1, tmp_path)
    assert found.wrong == []
    assert {".json equal", ".csv equal", ".png equal"} <= {*found.outcomes}


def test_another_number_is_another_file_and_another_time_is_not(tmp_path):
    path = tmp_path / "a.json"
    seen = []
    for loss, seconds in ((1, 2), (1, 3), (2, 2)):
        path.write_text(json.dumps({"a": [{"loss": loss, "seconds": seconds}]}))
        seen.append(twice.content(path))
    assert seen[0] == seen[1] != seen[2]
