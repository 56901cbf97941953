"""Tests of the command of benchmarks.faults, and of its table."""

import json

from benchmarks.faults import __main__ as command
from benchmarks.faults import found as counts
from benchmarks.faults.found import Found


def test_a_program_is_chosen_run_told_and_written(tmp_path, monkeypatch):
    def program(n, folder, seed):
        with Found("a program") as found:
            for i in range(n + seed):
                found.note("good")
                found.most("largest", i)
            found.blame("a thing")
        assert folder.is_dir()
        return found

    monkeypatch.setattr(command, "PROGRAMS", {"one": (program, 9, 2), "two": (None, 1, 1)})
    said = []
    options = command.Options(quick=True, only=("on",), out=tmp_path, seed=1)
    (found,) = command.main(options, said.append)
    assert (found.tried, found.n_wrong, found.figures) == (3, 1, {"largest": 2})
    assert "WRONG: a thing" in "".join(said)
    assert command.table([found]) in (tmp_path / "tables.md").read_text()
    assert json.loads((tmp_path / "results.json").read_text())[0]["outcomes"] == {"good": 3}


def test_a_long_program_says_how_far_it_is(capsys, monkeypatch):
    monkeypatch.setattr(counts, "OFTEN", 1e-9)
    with Found("long") as found:
        found.note("good")
        found.blame("a thing")
        found.note("good")
    assert "long: 2 good; 1 wrong so far" in capsys.readouterr().err


def test_the_first_wrong_ones_are_kept_and_all_are_counted():
    found = Found("a")
    for _ in range(1000):
        found.blame("x" * 1000)
    assert (found.n_wrong, len(found.wrong), len(found.wrong[0])) == (1000, 20, 500)
