"""Tests of fnn.streams.reading: one window ahead, nothing hangs, nothing is lost."""

import gc
import os
import signal
import threading
import time

import numpy as np
import pytest
from training import LOSS, NET, PARAMS, plan

import fnn
from fnn.streams import windows
from fnn.streams.reading import END, Reader
from fnn.streams.sources import Place, Source
from fnn.streams.windows import Intake

X, TARGET = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
VOICE = "fit, epoch {}, batch {}"


def reader(data, place=Place(), *, endless=False, marks=False):
    """A reader that was told the form of batches."""
    found = Reader(Source("fit", "data", data), place, VOICE, endless=endless, marks=marks)
    found.admit(Intake(VOICE, (NET, LOSS, PARAMS, None), found.first()))
    return found


def repeated(n, note=lambda i: None):
    def batches():
        for i in range(n):
            note(i)
            yield X, TARGET

    return batches


def eventually(f):
    for _ in range(400):
        if f():
            return True
        time.sleep(0.005)
    return False


@pytest.fixture
def two_at_a_time(monkeypatch):
    monkeypatch.setattr(windows, "MOST", 2)


def places_of(found):
    """Where the batches of all windows stand."""
    places = []
    while (window := found.take()) is not END:
        places += window.places
    return places


def test_every_batch_comes_once_and_in_order(two_at_a_time):
    found = reader(repeated(5))
    assert places_of(found) == [Place(0, i) for i in range(1, 6)]
    assert found.take() is END
    found.close()


def test_it_reads_a_window_ahead_and_no_more(two_at_a_time):
    read = []
    found = reader(repeated(100, read.append))
    assert eventually(lambda: len(read) == 4)  # two on the device, two that wait for room there
    time.sleep(0.05)
    assert len(read) == 4
    assert len(found.take().places) == 2
    assert eventually(lambda: len(read) == 6)
    time.sleep(0.05)
    assert len(read) == 6
    found.close()
    assert not found._thread.is_alive()


def test_what_a_slow_reader_has_is_used_at_once():
    more = threading.Event()
    found = reader(repeated(2, lambda i: i and more.wait()))
    assert found.take().places == (Place(0, 1),)
    assert found.take(0.01) is None
    more.set()
    assert found.take().places == (Place(0, 2),)
    assert found.take() is END


def test_passes_follow_each_other_where_there_is_no_end(two_at_a_time):
    found = reader(repeated(3), endless=True)
    places = [*found.take().places, *found.take().places, *found.take().places]
    assert {*places} >= {Place(0, 1), Place(0, 3), Place(1, 1)}
    found.close()


def test_an_error_of_the_source_comes_behind_the_batches_before_it_with_its_number():
    def broken():
        yield from repeated(3)()
        raise OSError("the disk is gone")

    found = reader(broken, Place(4))
    assert found.take().places[0] == Place(4, 1)
    with pytest.raises(
        RuntimeError, match="^fit, epoch 5, batch 4: its reader failed, OSError: the disk is gone"
    ) as error:
        places_of(found)
    assert type(error.value.__cause__) is OSError


def test_a_batch_that_does_not_fit_comes_behind_those_that_do():
    def odd():
        yield from repeated(2)()
        yield X, TARGET + 7

    found = reader(odd)
    assert eventually(lambda: found._ended)
    assert found.take().places == (Place(0, 1), Place(0, 2))
    with pytest.raises(ValueError, match=r"^fit, epoch 1, batch 3: .*labels in \[0, 2\)"):
        found.take()


def test_a_source_without_batches_is_an_error():
    for data in (lambda: iter([]), iter([])):
        with pytest.raises(ValueError, match="^fit, epoch 1, batch 1: empty batch, there is none"):
            reader(data)


def test_batches_that_are_all_left_out_are_an_error_and_no_loop():
    found = Reader(Source("fit", "data", repeated(2)), Place(), VOICE, endless=True, marks=False)
    first = found.first()
    found.admit(Intake(VOICE, (NET, LOSS, PARAMS, None), first, size=5, drop_last=True))
    with pytest.raises(ValueError, match="^fit, epoch 1, batch 2: no batch is full, and drop_last"):
        found.take()


def test_it_ends_where_nobody_wants_more_and_blocked_it_is_left_alone():
    blocked, reached, ended = threading.Event(), threading.Event(), []

    def batches():
        try:
            yield X, TARGET
            reached.set()
            blocked.wait()
            yield X, TARGET
        finally:
            ended.append(True)

    found = reader(batches)
    assert reached.wait(20)
    began = time.perf_counter()
    found.close()
    assert time.perf_counter() - began < 10
    assert not ended
    blocked.set()
    found._thread.join(5)
    assert ended == [True]


def test_ctrl_c_is_heard_while_the_reader_is_blocked():
    release, before = threading.Event(), signal.signal(signal.SIGINT, signal.default_int_handler)

    def batches():
        yield X, TARGET
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        release.wait(20)

    once = plan(fnn.optim.SGD(0.5))
    began = time.perf_counter()
    gc.disable()  # an exception that comes while garbage is collected is lost
    try:
        with pytest.raises(KeyboardInterrupt):
            fnn.fit(once, fnn.start(once, None, PARAMS), batches, epochs=1)
        assert time.perf_counter() - began < 15
    finally:
        gc.enable()
        release.set()
        signal.signal(signal.SIGINT, before)


def test_a_window_with_room_left_waits_for_more_where_it_is_wanted_full(two_at_a_time):
    goes_on = threading.Event()
    read = reader(repeated(3, lambda i: i != 1 or goes_on.wait(10)))
    assert eventually(lambda: read._begun(False))
    assert read.take(0.05, filled=True) is None
    goes_on.set()
    assert [len(read.take(filled=True).places) for _ in range(2)] == [2, 1]
    assert read.take(filled=True) is END
