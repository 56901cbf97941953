"""Tests of fnn.streams.sharing, as process 0 of two; both are in devices/test_processes.py."""

import jax
import numpy as np
import pytest

import fnn
from fnn.devices.group import Elsewhere, Group
from fnn.streams import sharing
from fnn.streams.reading import END
from fnn.streams.sharing import NOTHING, Shared
from fnn.streams.sources import Place
from fnn.streams.windows import Intake, Window

PLAN = fnn.Plan(fnn.Dense(3, 2), fnn.SquaredError(), fnn.optim.SGD(0.1))
FIRST = np.ones((2, 3)), np.ones((2, 2))


class Ready:
    """A reader that hands over what it was given."""

    def __init__(self, *found):
        self.found = [*found]

    def take(self, wait, *, filled):
        assert filled
        found = self.found.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def two(monkeypatch):
    """A Shared, and how many batches the other process says to have."""
    other = {"n": 2, "forms": None, "told": []}

    def numbers(self, n):
        other["told"].append(n)
        return np.asarray([n, other["n"]])

    monkeypatch.setattr(Group, "numbers", numbers)
    monkeypatch.setattr(Group, "of_all", lambda self, said: [said, other["forms"] or said])
    monkeypatch.setattr(sharing, "group_of", lambda layout: Group(True))
    monkeypatch.setattr(sharing, "even", lambda layout, group, n: n)
    mesh = fnn.devices.mesh(devices=jax.devices()[:1])
    state = fnn.devices.place(PLAN, fnn.start(PLAN, jax.random.key(0)), mesh)
    return Shared(state.layout, None), other


def begun(shared, drop_last=False, net=PLAN.net, size=None):
    """Its first batch was read."""
    trained = net, PLAN.loss, net.init(jax.random.key(0)), None
    own = Intake("fit, epoch {0}, batch {1}", trained, FIRST, size, drop_last)
    return shared.intake("fit, epoch {0}, batch {1}", trained, FIRST, own)


def window(intake, n, value=5.0):
    """A window of n batches."""
    filling = intake.window()
    for i in range(n):
        filling.put(Place(0, i + 1), tuple(np.full_like(a, value + i) for a in FIRST))
    return filling.on_device()


def test_rows_that_the_others_lack_count_nothing(two):
    shared, other = two
    intake = begun(shared)
    other["n"] = 3
    found = shared.take(Ready(window(intake, 2)), None, Place())
    assert found.places == (Place(0, 1), Place(0, 2), Place(0, 2))
    assert np.asarray(found.real).any(1)[:4].tolist() == [True, True, False, False]
    assert np.isfinite(np.asarray(found.rows.x)).all()
    assert np.asarray(found.rows.x)[:3, 0, 0].tolist() == [5, 6, 5]


def test_at_its_end_a_process_goes_on_with_rows_that_count_nothing_until_all_are(two):
    shared, other = two
    begun(shared)
    reader = Ready(END)  # it is asked once
    for n in (2, 1):
        other["n"] = n
        found = shared.take(reader, None, Place(0, 7))
        assert found.places == (Place(0, 7),) * n
        assert not np.asarray(found.real).any()
        assert np.asarray(found.rows.x)[0].tolist() == FIRST[0].tolist()
    other["n"] = 0
    assert shared.take(reader, None, Place(0, 7)) is END


def test_a_window_is_kept_until_the_others_have_one(two):
    shared, other = two
    intake = begun(shared)
    reader = Ready(window(intake, 1))
    other["n"] = NOTHING
    assert shared.take(reader, 0.1, Place()) is None
    other["n"] = 1
    assert isinstance(shared.take(reader, 0.1, Place()), Window)
    other["n"] = NOTHING
    assert shared.take(Ready(END), 0.1, Place()) is None
    shared.begins_anew()
    other["n"] = 1
    assert shared.take(Ready(window(intake, 1)), 0.1, Place()).places == (Place(0, 1),)


def test_with_drop_last_the_first_end_is_that_of_all(two):
    shared, other = two
    intake = begun(shared, drop_last=True)
    other["n"] = 1
    found = shared.take(Ready(window(intake, 2)), None, Place())
    assert (found.real, len(found.places)) == (None, 1)
    other["n"] = 0
    assert shared.take(Ready(window(intake, 2)), None, Place()) is END
    other["n"] = 4
    with pytest.raises(ValueError, match="with drop_last every process must have .* 4, got 2, 4"):
        begun(shared, drop_last=True)


def test_batches_have_as_many_rows_as_the_largest_of_any_process(two):
    shared, other = two
    other["n"] = 4
    intake = begun(shared)
    assert intake.size == 4
    assert not intake.said  # nobody gave a batch_size
    other["n"] = 1
    found = shared.take(Ready(window(intake, 1)), None, Place())
    assert np.asarray(found.real)[0].tolist() == [True, True, False, False]


def test_arrays_that_differ_from_those_of_another_process_are_refused(two):
    shared, other = two
    other["forms"] = ["float64[B, 4]", "float64[B, 2]"]
    text = r"fit, epoch 1, batch 1: its arrays .*\[B, 3\] float64\[B, 2\] and float64\[B, 4\]"
    with pytest.raises(ValueError, match=text):
        begun(shared)


def test_what_fails_in_one_reader_ends_all(two):
    shared, other = two
    begun(shared)
    with pytest.raises(RuntimeError, match="mine"):
        shared.take(Ready(RuntimeError("mine")), None, Place())
    assert other["told"][-1] == sharing.FAILED  # the others know before it ends here
    other["n"] = sharing.FAILED
    with pytest.raises(Elsewhere, match="the reader of process 1 failed, whose error says why"):
        shared.take(Ready(None), None, Place())


def test_with_drop_last_the_first_batch_may_lack_rows(two):
    shared, other = two
    other["n"] = 3
    intake = begun(shared, drop_last=True, size=3)
    assert intake.size == 3


def test_in_an_epoch_of_steps_the_end_of_one_is_that_of_all(two):
    shared, other = two
    shared = Shared(shared._layout, 12)
    begun(shared)
    other["n"] = 3
    assert shared.take(Ready(END), None, Place()) is END


def test_rows_that_count_nothing_are_refused_where_a_layer_would_count_them(two):
    shared, other = two
    net = fnn.Serial(fnn.Dense(3, 2), fnn.BatchNorm(2))
    intake = begun(shared, net=net)
    other["n"] = 2
    assert shared.take(Ready(window(intake, 2)), None, Place()).places
    other["n"] = 1
    with pytest.raises(ValueError, match=r"process 1 has fewer batches; .* \(BatchNorm\)"):
        shared.take(Ready(window(intake, 2)), None, Place())
    other["n"] = 4
    with pytest.raises(ValueError, match=r"\(BatchNorm\) every process must have .* 4, got 2, 4"):
        begun(shared, net=net)
