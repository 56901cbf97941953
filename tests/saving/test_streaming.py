"""Tests of fnn.saving.streaming: a run on a stream goes on to the numbers it would have had."""

import contextlib
import functools
import json
import os
import re
import signal
import threading
import time
import warnings
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn import batches
from fnn.checkpoints import CheckpointError, numbered
from fnn.files import read, write
from fnn.saving.pieces import _jit_piece
from fnn.saving.streaming import StreamRun

ROWS, LABELS = np.asarray(X), np.asarray(TARGET)
METRICS = {"accuracy": fnn.accuracy}
PLAN = plan(fnn.optim.Momentum(0.1), metrics=METRICS, rule=(fnn.rules.backprop, fnn.rules.deltas))
SAMPLER = fnn.Sampler(lambda rows: (ROWS[rows], LABELS[rows]), 11, 4)


def in_order():
    yield from fnn.Sampler(SAMPLER.read, 11, 4, None).batches()


class Cursor:
    """An iterator that says where it is, as grain's do."""

    def __init__(self, bad=None):
        self.i, self.bad = 0, bad

    def __iter__(self):
        return self

    def __next__(self):
        if self.i == 3:
            raise StopIteration
        if self.i == self.bad:
            raise OSError("gone")
        part = slice(4 * self.i, 4 * self.i + 4)
        self.i += 1
        return ROWS[part], LABELS[part]

    def get_state(self):
        return str(self.i).encode()

    def set_state(self, state):
        self.i = int(state)


def fit(data, folder=None, every=1, begin=None, **options):
    begin = fnn.start(PLAN, KEY, PARAMS) if begin is None else begin
    checkpoint = folder and fnn.Checkpointing(folder, every)
    return fnn.fit(PLAN, begin, data, checkpoint=checkpoint, **{"epochs": 3} | options)


def same(found, want):
    """Equal bit for bit, of a run's State and history."""
    (a, rows), (b, others) = found, want
    pairs = (a._replace(key=None), rows), (b._replace(key=None), others)
    assert jax.tree.structure(pairs[0]) == jax.tree.structure(pairs[1])
    for one, other in zip(*map(jax.tree.leaves, pairs), strict=True):
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def close(found, want):
    """The same but for rounding: the programs differ."""
    for one, other in zip(*(jax.tree.leaves((s.params, h)) for s, h in (found, want)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-14)


class Stopped(Exception):  # noqa: N818
    """What takes a run away."""


@contextlib.contextmanager
def stopping(monkeypatch, n):
    """Take the run away behind n pieces that had a step."""
    before, left = StreamRun.piece, [n]

    def piece(self, position, *args):
        if not left[0]:
            raise Stopped
        found = before(self, position, *args)
        left[0] -= found[0].batch > position.batch
        return found

    with monkeypatch.context() as patch:
        patch.setattr(StreamRun, "piece", piece)
        with pytest.raises(Stopped):
            yield


SELDOM = functools.partial(pytest.param, marks=pytest.mark.slow)
SOURCES = {
    "a sampler": (SAMPLER, {}, None),
    "an iterator with a state": (Cursor, {"validation": SAMPLER}, None),
    "a sampler without an end": (SAMPLER, {"steps": 4}, None),
    "a generator": (
        in_order,
        {"validation": (X, TARGET)},
        "data cannot say where it is: its first . batches are passed",
    ),
    "a generator without an end": (in_order, {"steps": 5}, "its first . batches are passed over"),
}


@pytest.mark.slow
def test_a_file_behind_several_steps_of_a_window_says_where_the_last_one_ended(
    tmp_path, monkeypatch
):
    source = fnn.Sampler(SAMPLER.read, 11, 1)
    want = fit(source, tmp_path / "want", every=4, epochs=1)
    for n in (2, 3, 4):
        with stopping(monkeypatch, n):
            fit(source, tmp_path / f"{n}", every=4, epochs=1)
        same(fit(source, tmp_path / f"{n}", every=4, epochs=1), want)


@pytest.mark.parametrize(
    "name", [SELDOM(n) if "without" in n or "state" in n else n for n in SOURCES]
)
def test_a_run_that_was_taken_away_goes_on_to_the_same_end(name, tmp_path, monkeypatch):
    data, options, warned = SOURCES[name]
    want = fit(data, tmp_path / "want", **options)
    close(want, fit(data, **options))
    before = _jit_piece._cache_size()
    for n in (3, 5, 8):  # behind the first epoch, in the next, in the last
        folder = tmp_path / f"{n}"
        with stopping(monkeypatch, n):
            fit(data, folder, **options)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            same(fit(data, folder, **options), want)
        if warned is None:
            assert not caught
        else:
            assert re.search(warned, str(caught[-1].message))
    assert _jit_piece._cache_size() == before
    same(fit(data, folder, **options), want)  # all is done


def test_an_iterator_of_another_process_is_passed_over_to_where_the_run_was(tmp_path, monkeypatch):
    def endless():
        while True:
            yield from in_order()

    folder = tmp_path / "run"
    want = fit(endless(), tmp_path / "want", steps=4)
    with stopping(monkeypatch, 6):
        fit(endless(), folder, steps=4)
    with pytest.warns(UserWarning, match="its first . batches are passed over"):
        same(fit(endless(), folder, steps=4), want)
    short = (batch for batch in in_order())
    with (
        pytest.warns(UserWarning, match="passed over"),
        pytest.raises(ValueError, match="ended after 3 batches, of which 12 were used before"),
    ):
        fit(short, folder, steps=4, epochs=4)


@pytest.mark.slow
def test_a_large_memory_map_goes_on_in_the_order_of_arrays(tmp_path, monkeypatch):
    file = np.memmap(tmp_path / "x", "float64", "w+", shape=X.shape)
    file[:] = ROWS
    want = fit((X, TARGET), batch_size=4)
    monkeypatch.setattr(batches, "WHOLE", 0)
    with stopping(monkeypatch, 4):
        fit((file, LABELS), tmp_path / "run", batch_size=4)
    found = fit((file, LABELS), tmp_path / "run", batch_size=4)
    close(found, want)
    file[:] = file[:] + 1
    with pytest.raises(CheckpointError, match="is of another run: data was "):
        fit((file, LABELS), tmp_path / "run", batch_size=4)


def test_other_data_are_another_run(tmp_path):
    fit(SAMPLER, tmp_path, epochs=1)
    for data, options, message in (
        (fnn.Sampler(SAMPLER.read, 11, 4, seed=1), {}, "data was .*seed=0.* and is now .*seed=1"),
        (SAMPLER, {"drop_last": True}, "drop_last was False and is now True"),
        (SAMPLER, {"steps": 3}, "steps was None and is now 3"),
        (in_order, {}, "data was .* and is now .*a stream of"),
        ((X, TARGET), {"batch_size": 4}, "is of another run"),
    ):
        with pytest.raises(CheckpointError, match=message):
            fit(data, tmp_path, **options)


def test_what_fails_while_it_is_read_leaves_all_that_was_done(tmp_path):
    with pytest.raises(RuntimeError, match="fit, epoch 1, batch 3: its reader failed, OSError: g"):
        fit(lambda: Cursor(bad=2), tmp_path, every=100)
    assert fnn.checkpoints.load(fnn.checkpoints.latest(tmp_path), PLAN).step == 2
    close(fit(Cursor, tmp_path, every=100), fit(Cursor))


def test_a_signal_is_heard_while_the_reader_is_blocked(tmp_path):
    release, before = threading.Event(), signal.signal(signal.SIGINT, signal.default_int_handler)

    def blocked():
        yield from in_order()
        while not numbered(tmp_path, 3).exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(60)

    try:
        began = time.perf_counter()
        with pytest.raises(fnn.Interrupted) as error:
            fit(blocked, tmp_path)
        assert time.perf_counter() - began < 30
        assert error.value.step == 3
    finally:
        release.set()
        signal.signal(signal.SIGINT, before)


@pytest.mark.slow
def test_a_step_that_is_not_finite_is_named_and_not_taken(tmp_path):
    sgd = plan(fnn.optim.SGD(1e200), loss=fnn.SquaredError())
    data = fnn.Sampler(lambda rows: (ROWS[rows], ROWS[rows, :2]), 11, 4)
    with pytest.raises(
        fnn.NotFinite, match=r"step 2 is not finite in loss.*\(epoch 1, batch 2"
    ) as e:
        fnn.fit(
            sgd, fnn.start(sgd, KEY, PARAMS), data, epochs=2,
            checkpoint=fnn.Checkpointing(tmp_path, 100),
        )  # fmt: skip
    assert fnn.checkpoints.load(e.value.path, sgd).step == 1


def test_a_file_may_say_anything_and_its_digest_be_right(tmp_path, monkeypatch):
    with stopping(monkeypatch, 4):
        fit(SAMPLER, tmp_path)
    path = max(tmp_path.glob("*.safetensors"))
    tensors, texts = read(path)
    facts = json.loads(texts["run"])
    del texts["sha256"]
    wrong: list = []
    for said in (
        {"turn": -1}, {"at": "3"}, {"mark": 7}, {"sums": {"loss": "x"}}, {"sums": []},
        {"lengths": [1] * 9}, {"weight": None}, {"lengths": [1.5]},
    ):  # fmt: skip
        said = {"read": [facts["position"]["read"][0] | said]}
        wrong.append(said)
    for said in (*wrong, {"batch": 10**9}, {"read": []}, {"read": "all"}, {"read": [{}, 1]}):
        text = json.dumps(facts | {"position": facts["position"] | said})
        write(path, tensors, texts | {"run": text})
        with pytest.raises(CheckpointError, match=f"{path}"):
            fit(SAMPLER, tmp_path)


class Numbers:
    """A source of grain's."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        return ROWS[i], LABELS[i]

    def __repr__(self):
        return "Numbers()"  # by which grain tells one from another


@pytest.mark.slow
def test_loaders_of_grain_go_on_where_they_were(tmp_path, monkeypatch):
    grain = pytest.importorskip("grain.python")
    shards = grain.ShardOptions(0, 1)
    sampler = grain.IndexSampler(11, shards, shuffle=True, num_epochs=1, seed=3)
    loaders = (
        lambda: grain.DataLoader(
            data_source=Numbers(), sampler=sampler, operations=[grain.Batch(4)], worker_count=0
        ),
        lambda: grain.MapDataset.source(Numbers()).shuffle(seed=1).batch(4).to_iter_dataset(),
    )
    for i, make in enumerate(loaders):
        want = fit(make(), tmp_path / f"want{i}")
        with stopping(monkeypatch, 4):
            fit(make(), tmp_path / f"{i}")
        same(fit(make(), tmp_path / f"{i}"), want)


def test_a_stream_of_several_processes_is_another_run_for_one():
    def facts(n):
        run = object.__new__(StreamRun)
        run.how, run.held_out, run._judge = {"batch_size": 4}, None, None
        run._stream = SimpleNamespace(processes=n, told=lambda sha: "a stream")
        return run.facts(lambda tree: "sha")

    assert facts(2) == facts(1) | {"processes": 2}
