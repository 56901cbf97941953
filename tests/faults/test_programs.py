"""The programs of benchmarks.faults, a few of each fault; those of processes are in other files.

They are in one file because they share a run, and what is compiled for it.
"""

import jax.numpy as jnp
import pytest

from benchmarks.faults import damage, refusals, resumes, steady, task
from benchmarks.faults.found import Found
from experiments.common import writing
from fnn import files
from fnn.saving.resuming import Saver

ONE = ["AdamW, cosine"]


def test_runs_taken_away_at_random_steps_go_on_to_the_same_end(tmp_path):
    found = resumes.resumes(4, tmp_path, optimizers=ONE)
    assert (found.tried, found.wrong) == (4, [])


def test_a_run_that_goes_on_elsewhere_is_blamed(tmp_path, monkeypatch):
    before = Saver.begin

    def begin(self, *args):
        position = before(self, *args)
        return position._replace(state=position.state._replace(step=position.state.step + 1))

    found = Found("a step too many")
    with resumes.stopped_at(20):
        task.run(tmp_path / "a", every=20)
    task.straight()  # which is kept: not with what comes now
    monkeypatch.setattr(Saver, "begin", begin)
    task.check_folder(found, tmp_path / "a", "here")
    assert found.wrong == ["here: another end, from step 20"]


def test_damaged_files_of_every_kind_are_refused(tmp_path):
    found = damage.damage(2000, tmp_path)
    assert found.wrong == []
    assert {"a bit: refused", "cut off: refused", "several bytes: refused"} <= {*found.outcomes}


def test_a_reader_that_looks_at_no_digest_is_blamed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "digest", lambda tensors, texts: "always the same")
    found = damage.damage(2000, tmp_path)
    assert "other numbers came back" in "".join(found.wrong)


def test_a_run_goes_on_from_the_file_before_the_damaged_one(tmp_path):
    found = damage.passed_over(3, tmp_path)
    assert (found.tried, found.wrong) == (3, [])


def test_every_way_to_write_tells_what_is_refused_and_keeps_what_was_there(tmp_path):
    found = refusals.refusals(31, tmp_path)
    assert found.wrong == []
    assert {f"{event}: told" for event in refusals.EVENTS} <= {*found.outcomes}


def test_writing_in_place_is_blamed(tmp_path, monkeypatch):
    def replace(path, data):
        with path.open("wb") as file:
            file.write(data)

    monkeypatch.setattr(files, "replace", replace)
    monkeypatch.setattr(writing, "replace", replace)
    found = refusals.refusals(1, tmp_path, ways=("file",))
    assert "left what is not whole" in "".join(found.wrong)


@pytest.mark.long
def test_many_steps_leave_no_arrays_behind(tmp_path):
    for found in steady.steady(9, tmp_path):
        assert (found.tried, found.wrong) == (9, [])


@pytest.mark.slow
def test_what_is_kept_from_epoch_to_epoch_is_blamed():
    kept = []

    def run(epochs, callback):
        for step in range(epochs):
            kept.append(jnp.full(3, step))
            callback(None, None)

    assert "live arrays" in steady.grown(6, "nothing", run).wrong[0]


@pytest.mark.slow
def test_other_optimizers_and_few_rows_go_on_too(tmp_path):
    assert resumes.resumes(2, tmp_path, optimizers=["SGD", "Adam"]).wrong == []
    assert resumes.rows(5, tmp_path, first=5).wrong == []
