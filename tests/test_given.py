"""Tests of fnn.given; what it refuses is in test_train_errors.py and streams/test_sources.py."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.batches import Rows
from fnn.devices.group import Elsewhere, Group
from fnn.given import begun, checked, held_out, trained_by, trained_on
from fnn.streams.evaluating import Judge
from fnn.streams.flow import Stream, streams
from fnn.texts import text

PLAN = fnn.Plan(fnn.Dense(3, 2), fnn.SquaredError(), fnn.optim.SGD(0.1))
STATE = fnn.start(PLAN, jax.random.key(0))
DATA = jnp.ones((4, 3)), jnp.zeros((4, 2))


def test_what_is_evaluated_is_nothing_rows_or_a_stream():
    with contextlib.ExitStack() as stack:
        assert held_out(PLAN, STATE, None, None, 1, 2, stack) is None
        rows, calibration = held_out(PLAN, STATE, DATA, None, 1, 2, stack)
        assert isinstance(rows, Rows)
        assert calibration is None
        assert isinstance(held_out(PLAN, STATE, lambda: iter([DATA]), None, 1, 2, stack), Judge)


def test_what_is_learned_from_is_rows_or_a_stream():
    how = {"epochs": 1, "steps": None, "batch_size": 2, "drop_last": False, "marks": False}
    with contextlib.ExitStack() as stack:
        assert isinstance(trained_on(PLAN, STATE, DATA, stack, **how), Rows)
        stream = trained_on(PLAN, STATE, lambda: iter([DATA]), stack, **how | {"batch_size": None})
        assert isinstance(stream, Stream)
        with pytest.raises(ValueError, match="fit: steps are for data that stream"):
            trained_on(PLAN, STATE, DATA, stack, **how | {"steps": 3})


def test_calibration_must_be_the_same_in_all_processes(several, monkeypatch):
    x = DATA[0]
    net = fnn.Serial(fnn.Dense(3, 2), fnn.BatchNorm(2))
    plan = PLAN.with_fields(net=net)
    state = fnn.start(plan, jax.random.key(0))
    monkeypatch.setattr(Group, "of_all", lambda self, said: [said, text((x,))])
    assert trained_by("evaluate", plan, state, (x,))[3] is None
    with pytest.raises(ValueError, match="evaluate: calibration must be the same in all"):
        trained_by("evaluate", plan, state, (2 * x,))


def test_a_stream_has_read_its_first_batch():
    with begun("fit", "data", lambda: iter([DATA]), PLAN, STATE) as stream:
        assert stream.like.target.shape == (4, 2)


def test_data_meet_the_net_of_training_or_the_one_that_is_evaluated():
    plan = PLAN.with_fields(net=fnn.Serial(fnn.Dense(3, 2), fnn.Dropout(0.5)))
    state = fnn.start(plan, jax.random.key(0))
    assert trained_by("fit", plan, state)[0] is plan.net
    net, _, _, key = trained_by("fit", plan, state, (None,))
    assert (net != plan.net, key) == (True, None)


@pytest.fixture
def several(monkeypatch):
    """A process of two, of which the other one says so much."""
    said = [0]
    monkeypatch.setattr("fnn.given.group_of", lambda layout: Group(True))
    monkeypatch.setattr("fnn.streams.flow.group_of", lambda layout: Group(True))
    monkeypatch.setattr("fnn.devices.group.wait", lambda what, timeout: None)
    monkeypatch.setattr(Group, "numbers", lambda self, n: np.asarray([int(n), said[0]]))
    return said


def test_rows_that_are_wrong_in_one_process_are_an_error_in_all(several):
    several[0] = 1
    with pytest.raises(Elsewhere, match="fit: a look at the data: failed in process 1"):
        checked("fit", PLAN, STATE, DATA)
    with pytest.raises(ValueError, match=r"fit: .*x.*"):
        checked("fit", PLAN, STATE, (DATA[0].at[0].set(jnp.nan), DATA[1]))


def test_all_processes_stream_or_none(several):
    assert not streams("fit", "data", DATA, STATE)
    several[0] = 1  # the other one has a large memory map
    assert streams("fit", "data", DATA, STATE)
    for kind, data in ((2, DATA), (0, lambda: iter([DATA]))):
        several[0] = kind
        with pytest.raises(ValueError, match="data must be a stream in all processes, or in none"):
            streams("fit", "data", data, STATE)


def test_a_batch_of_a_stream_has_the_rows_of_all_processes(several, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with begun("fit", "data", lambda: iter([DATA]), PLAN, STATE) as stream:
        assert stream.like.target.shape == (8, 2)


def test_large_arrays_of_several_processes_share_the_batch_size(several, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    arrays = tuple(map(np.asarray, DATA))
    with begun("fit", "data", arrays, PLAN, STATE, batch_size=4) as stream:
        assert stream.like.target.shape == (4, 2)
    with pytest.raises(ValueError, match="fit: batch_size must be a multiple of the 2 processes"):
        begun("fit", "data", arrays, PLAN, STATE, batch_size=3)
