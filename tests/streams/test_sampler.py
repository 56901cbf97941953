"""Tests of fnn.streams.sampler."""

import itertools

import pytest

import fnn


def rows(sampler, epoch, begin=0):
    return [batch.tolist() for batch in sampler.batches(epoch, begin)]


def test_every_epoch_has_every_row_in_an_order_of_its_own():
    sampler = fnn.Sampler(lambda rows: rows, 11, 4, seed=3)
    first, second = rows(sampler, 0), rows(sampler, 1)
    assert list(map(len, first)) == [4, 4, 3]
    assert all(sorted(itertools.chain(*epoch)) == list(range(11)) for epoch in (first, second))
    assert first != second
    assert rows(fnn.Sampler(lambda rows: rows, 11, 4, seed=3), 1) == second
    assert rows(fnn.Sampler(lambda rows: rows, 11, 4, seed=4), 1) != second
    assert rows(fnn.Sampler(lambda rows: rows, 5, 2, None), 7) == [[0, 1], [2, 3], [4]]


def test_it_begins_anywhere():
    sampler = fnn.Sampler(lambda rows: rows, 11, 4)
    assert [rows(sampler, 2, i) for i in range(4)] == [rows(sampler, 2)[i:] for i in range(4)]


def test_incomplete_batches_are_left_out():
    assert list(map(len, rows(fnn.Sampler(lambda rows: rows, 11, 4, drop_last=True), 0))) == [4, 4]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"n": 0}, ValueError, "n must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer, got 2.5"),
        ({"seed": -1}, ValueError, "seed must be at least 0, got -1"),
        ({"read": 3}, TypeError, "read must be a function, got 3"),
        ({"n": 3, "drop_last": True}, ValueError, "batch_size must be at most n, 3, where"),
    ],
)
def test_what_makes_no_batches_is_refused(change, error, message):
    with pytest.raises(error, match=f"^Sampler: {message}"):
        fnn.Sampler(**{"read": len, "n": 11, "batch_size": 4} | change)
