"""Tests of fnn.saving.resuming: which run a folder holds, and what a file of one may say."""

import json
import shutil
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.checkpoints import CheckpointError, load, notes, numbered, save
from fnn.devices.group import Group
from fnn.files import read, write
from fnn.saving import resuming
from fnn.saving.folders import files_in, locked

PLAN, HOW = plan(fnn.optim.Momentum(0.1)), {"epochs": 2, "batch_size": 4}


def fit(folder, plan=PLAN, key=KEY, data=(X, TARGET), every=2, **options):
    checkpoint = fnn.Checkpointing(folder, every)
    return fnn.fit(plan, fnn.start(plan, key, PARAMS), data, checkpoint=checkpoint, **HOW | options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run of six steps, kept for copies."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    fit(folder)
    return folder


@pytest.fixture
def folder(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def test_a_file_of_a_run_says_what_it_is(run):
    newest = files_in(run)[0]
    assert newest == numbered(run, 6)
    assert load(newest, PLAN).step == 6
    assert sorted(n.split(".")[0] for n in read(newest).tensors)[0] == "history"
    assert notes(newest)["plan"]["optimizer"] == (
        "Momentum(learning_rate=0.1, momentum=0.9, average=False, nesterov=False)"
    )
    place = json.loads(read(newest).texts["run"])["position"]
    assert place == {"epochs": 2, "batch": 0, "stopped": False, "read": [{}]}


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"batch_size": 5}, "is of another run: batch_size was 4 and is now 5; name anoth"),
        ({"drop_last": True}, "is of another run: drop_last was False and is now True"),
        ({"data": (X + 1, TARGET)}, "is of another run: data was "),
        ({"data": (X[:10], TARGET[:10])}, "is of another run: data was "),
        ({"data": (X, TARGET, jnp.ones(11))}, "is of another run: data was "),
        ({"validation": (X, TARGET)}, "is of another run: validation was "),
        ({"key": None}, "is of another run: begin was "),
        ({"plan": plan(fnn.optim.Momentum(0.2))}, r"of another Plan: optimizer was Momentum\(le"),
        ({"plan": plan(fnn.optim.Momentum(0.1), penalty=fnn.L2(0.1))}, "Plan: penalty was None"),
    ],
)  # fmt: skip
def test_another_run_is_refused_and_the_folder_is_as_it_was(other, message, folder):
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(CheckpointError, match=message) as error:
        fit(folder, **other)
    assert len(str(error.value)) < 400 + len(f"{folder}")
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before


def test_fewer_epochs_than_are_done_are_refused(folder):
    with pytest.raises(ValueError, match="fit: epochs must be at least 2, as many as the run in"):
        fit(folder, epochs=1)


def test_a_damaged_newest_file_is_passed_over_and_named(folder):
    want, history = fit(folder)
    numbered(folder, 6).write_bytes(numbered(folder, 6).read_bytes()[:-1])
    with pytest.warns(  # a slow disk leaves step 4 out
        UserWarning, match=r"fit: going on from \S+[24]\.safetensors; passed over 00000"
    ):
        found, again = fit(folder)
    assert jnp.array_equal(found.params[0].w, want.params[0].w)
    assert jnp.array_equal(again["loss"], history["loss"])
    for path in files_in(folder):
        path.write_bytes(b"x")
    with pytest.raises(
        CheckpointError, match=r"fit: no file in \S+ is whole: 0000000006\.safetens"
    ):
        fit(folder)


def test_a_folder_that_another_run_holds_is_refused(folder):
    with locked(folder), pytest.raises(BlockingIOError, match="another run writes into"):
        fit(folder)


def test_a_folder_of_other_files_is_refused(tmp_path):
    save(numbered(tmp_path, 3), {"w": np.arange(3)})
    with pytest.raises(CheckpointError, match=r"3\.safetensors is no run that fit saved; name ano"):
        fit(tmp_path)


def test_a_path_where_no_folder_can_be_is_told_before_a_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        fit(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    "said",
    [
        "3", "{", "{}", '{"position": 3}', '{"position": {}}', {"epochs": "2"}, {"epochs": -1},
        {"epochs": 3}, {"epochs": 10**9}, {"batch": 3}, {"batch": 1}, {"batch": -1}, {"stopped": 7},
    ],
)  # fmt: skip
def test_a_file_may_say_anything_and_its_digest_be_right(said, folder):
    path = numbered(folder, 6)
    tensors, texts = read(path)
    facts = json.loads(texts["run"])
    text = (
        said
        if isinstance(said, str)
        else json.dumps(facts | {"position": facts["position"] | said})
    )
    del texts["sha256"]
    write(path, tensors, texts | {"run": text})
    with pytest.raises(CheckpointError, match=f"{path}"):
        fit(folder)


def test_a_state_of_a_run_is_loaded_by_its_plan_and_its_params_by_shapes(run):
    state = load(numbered(run, 6), PLAN)
    assert load(numbered(run, 6), state).step == 6
    with pytest.raises(CheckpointError, match=r"0\.w is missing"):
        load(numbered(run, 6), PARAMS)


@pytest.mark.slow
def test_every_bit_and_every_end_of_a_run_s_file_is_looked_at(folder):
    path, *older = files_in(folder)
    for other in older:  # one that had to wait for another may not be there
        other.unlink()
    good = path.read_bytes()
    for i in range(0, 8 * len(good), 3):
        data = bytearray(good)
        data[i // 8] ^= 1 << i % 8
        path.write_bytes(data)
        with pytest.raises(CheckpointError):
            load(path, PLAN)
    for n in range(0, len(good), 7):
        path.write_bytes(good[:n])
        with pytest.raises(CheckpointError):
            load(path, PLAN)
    path.write_bytes(good)
    assert load(path, PLAN).step == 6


def test_what_processes_say_of_their_data_stands_side_by_side(monkeypatch):
    monkeypatch.setattr(resuming, "group_of", lambda layout: Group(True))
    monkeypatch.setattr(Group, "of_all", lambda self, said: [said, said | {"data": "theirs"}])
    run = SimpleNamespace(stop=None, facts=lambda sha: {"data": "mine", "batch_size": 4})
    found = resuming.facts(run, fnn.start(PLAN, KEY, PARAMS))
    assert (found["data"], found["batch_size"]) == (["mine", "theirs"], 4)
