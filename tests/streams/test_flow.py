"""Tests of fnn.streams.flow: epochs and pieces, by passes and by steps."""

import jax
import numpy as np
import pytest
from training import LOSS, NET, PARAMS

from fnn.streams import windows
from fnn.streams.flow import Stream, streamed
from fnn.streams.mapped import Mapped
from fnn.streams.sources import Place

X, TARGET = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
TRAINED = NET, LOSS, PARAMS, None


def batches(n=3):
    for i in range(n):
        yield X + i, TARGET


def first_numbers(pieces):
    """x[0, 0] of every batch of pieces, which tells which one it is."""
    return [float(w.rows.x[i, 0, 0]) for w, begin, end in pieces for i in range(begin, end)]


@pytest.fixture(params=[1, 2, 32])
def slots(request, monkeypatch):
    monkeypatch.setattr(windows, "MOST", request.param)


def test_an_epoch_is_a_pass(slots):
    with streamed("fit", "data", batches, TRAINED, epochs=2) as stream:
        for turn in (0, 1):
            assert first_numbers(stream.epoch()) == [0, 1, 2]
            assert stream.place == Place(turn + 1)


def test_with_steps_it_is_so_many_batches_of_one_flow(slots):
    with streamed("fit", "data", batches, TRAINED, epochs=3, steps=2) as stream:
        epochs = [first_numbers(stream.epoch()) for _ in range(3)]
        assert epochs == [[0, 1], [2, 0], [1, 2]]
        assert stream.place == Place(1, 3)
    with streamed("fit", "data", batches(5), TRAINED, epochs=3, steps=2) as stream:
        assert [first_numbers(stream.epoch()) for _ in range(2)] == [[0, 1], [2, 3]]
        with pytest.raises(ValueError, match="fit: data ended after 5 batches, in an epoch of 2"):
            first_numbers(stream.epoch())


def test_a_piece_ends_where_it_must(slots):
    with streamed("fit", "data", lambda: batches(5), TRAINED) as stream:
        pieces = []
        while (piece := stream.piece(2)) is not None:
            pieces.append(piece)
            assert piece[2] - piece[1] <= 2
        assert first_numbers(pieces) == [0, 1, 2, 3, 4]
        assert stream.place == Place(0, 5)


def test_an_iterator_is_for_one_epoch():
    with pytest.raises(ValueError, match="^fit: validation is an iterator, .* where 2 epochs want"):
        streamed("fit", "validation", batches(), TRAINED, epochs=2)
    with streamed("fit", "data", batches(), TRAINED) as stream:
        assert first_numbers(stream.epoch()) == [0, 1, 2]


def test_errors_name_the_part_the_epoch_and_the_batch():
    def odd():
        yield X, TARGET + 9

    for owner, name, steps, voice in (
        ("fit", "data", None, "fit, epoch 1, batch 1: "),
        ("fit", "data", 3, "fit, pass 1, batch 1: "),
        ("fit", "validation", None, "fit, validation batch 1: "),
        ("evaluate", "data", None, "evaluate, batch 1: "),
    ):
        with (
            pytest.raises(ValueError, match=rf"^{voice}Soft.*got 9 at index 0"),
            streamed(owner, name, odd, TRAINED, steps=steps) as stream,
        ):
            first_numbers(stream.epoch())


def test_arrays_have_no_steps_and_need_a_batch_size():
    with pytest.raises(ValueError, match="^fit: steps are for data that stream"):
        streamed("fit", "data", (X, TARGET), TRAINED, steps=3, batch_size=2)
    with pytest.raises(TypeError, match="^fit: give batch_size"):
        streamed("fit", "data", (X, TARGET), TRAINED)
    with streamed("fit", "data", (X, TARGET), TRAINED, batch_size=2) as stream:
        assert isinstance(stream.data, Mapped)
        assert first_numbers(stream.epoch()) == [0, 6]


def test_under_jit_there_is_nothing_to_read():
    def run(params):
        return streamed("fit", "data", batches, (NET, LOSS, params, None))

    with pytest.raises(ValueError, match="^fit: a stream is read on the host; call it outside jit"):
        jax.jit(run)(PARAMS)


def test_nothing_is_read_before_it_is_asked_for():
    stream, read = Stream("fit", "data", lambda: iter([read.append(1)]), "{} {}"), []
    stream.close()
    assert not read
