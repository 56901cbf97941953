"""Tests of fnn.streams.sources: what is a stream, and where it begins."""

from functools import partial

import numpy as np
import pytest
from training import X

from fnn.streams.sources import NoStream, Place, Source, is_stream, lasting, revived


class Counting:
    """An iterator that can say where it is."""

    def __init__(self, n=5):
        self.i, self.n = 0, n

    def __iter__(self):
        return self

    def __next__(self):
        if self.i == self.n:
            raise StopIteration
        self.i += 1
        return self.i

    def get_state(self):
        return {"i": np.int64(self.i)}

    def set_state(self, state):
        self.i = state["i"]


class Anywhere:
    def batches(self, epoch, begin):
        yield from range(10 * epoch + begin, 10 * epoch + 3)


def test_a_stream_is_what_is_called_or_iterated_and_no_array():
    streams = [lambda: iter([]), iter([]), map(abs, []), Counting, Counting(), Anywhere()]
    assert all(map(is_stream, streams))
    others = [(X, X), [X, X], {"x": X}, X, np.asarray(X), "data", b"data", None, 3, {1}]
    assert [is_stream(a) for a in others] == [False] * 10


def read(source, *place):
    return list(source.opened(Place(*place)))


def test_a_function_and_an_iterable_begin_anew_and_batches_are_passed_over():
    for data in (lambda: iter(range(5)), range(5), lambda: range(5)):
        source = Source("fit", "data", data)
        assert not source.once
        assert read(source) == read(source, 1) == [0, 1, 2, 3, 4]
        assert read(source, 2, 3) == [3, 4]
        assert not source.exact


def test_an_iterator_that_is_made_twice_is_read_by_one_source_at_a_time():
    one = iter(range(5))
    first, other = (Source("fit", name, lambda: one) for name in ("data", "validation"))
    for _ in range(2):  # it may read on itself
        first.opened(Place())
    for _ in range(2):
        with pytest.raises(NoStream, match="fit: validation gives an iterator that is read alrea"):
            other.opened(Place())
        other.leave()
    first.leave()
    assert read(other) == [0, 1, 2, 3, 4]


def test_an_iterator_goes_on_where_it_is():
    source = Source("fit", "data", iter(range(5)))
    assert source.once
    assert [next(source.opened(Place())) for _ in range(2)] == [0, 1]
    source.close()
    assert read(source) == [2, 3, 4]


def test_what_says_where_it_is_goes_back_there():
    source = Source("fit", "data", Counting)
    iterator = source.opened(Place())
    assert [next(iterator), next(iterator)] == [1, 2]
    mark = source.mark()
    assert source.exact
    assert mark == '{"json": {"i": 2}}'
    assert read(source, 0, 2, mark) == [3, 4, 5]
    anywhere = Source("fit", "data", Anywhere())
    assert read(anywhere, 1, 2) == [12]
    assert anywhere.exact
    assert anywhere.mark() is None


def test_a_state_is_kept_as_text_and_what_cannot_be_is_refused():
    for state in (b"\x00\xff", {"a": [1, None]}, "text", 3):
        assert revived(lasting(state)) == state
    with pytest.raises(TypeError, match="state of an iterator must be bytes or JSON, got object"):
        lasting({"a": object()})


def test_what_is_no_iterator_is_refused_by_name():
    with pytest.raises(NoStream, match=r"fit: data must be a function .* and it made int"):
        Source("fit", "data", lambda: 3).opened(Place())


@pytest.fixture
def ended():
    """True for every generator that has ended."""
    return []


def numbers(ended):
    try:
        yield from range(5)
    finally:
        ended.append(True)


def test_a_generator_is_ended_and_the_callers_iterator_is_not(ended):
    for data, want in ((partial(numbers, ended), [True]), (numbers(ended), [])):
        source = Source("fit", "data", data)
        next(source.opened(Place()))
        source.close()
        assert ended == want
        ended.clear()


def test_what_one_thread_has_begun_another_does_not_end(ended):
    source = Source("fit", "data", partial(numbers, ended))
    old, new = source.anew(), source.anew()
    passes = old.opened(Place()), new.opened(Place())
    assert [*map(next, passes)] == [0, 0]
    old.close()
    assert ended == [True]
    assert next(passes[1]) == 1
