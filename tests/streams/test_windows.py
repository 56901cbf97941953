"""Tests of fnn.streams.windows: copied at once, of one form, filled up, checked."""

import numpy as np
import pytest
from training import LOSS, NET, PARAMS

import fnn
from fnn.batches import Rows
from fnn.streams import windows
from fnn.streams.sources import Place
from fnn.streams.windows import Filled, Intake

X, TARGET = np.arange(12.0).reshape(4, 3), np.array([0, 1, 1, 0])
TRAINED = NET, LOSS, PARAMS, None
VOICE = "fit, epoch {}, batch {}"


def intake(first=(X, TARGET), **options):
    return Intake(VOICE, TRAINED, first, **options)


def test_a_short_batch_is_filled_with_its_own_rows_that_do_not_count():
    filling = intake((X, TARGET, np.ones(4))).window()
    filling.put(Place(0, 1), (X, TARGET, np.arange(4.0)))
    filling.put(Place(0, 2), (X[:3] + 1, TARGET[:3], np.ones(3)))
    rows, real, places = filling.on_device()
    assert places == (Place(0, 1), Place(0, 2))
    assert real[:2].tolist() == [[True] * 4, [True] * 3 + [False]]
    assert np.array_equal(rows.x[0], X)
    assert np.array_equal(rows.x[1], X[[0, 1, 2, 0]] + 1)
    assert rows.target[1].tolist() == [0, 1, 1, 0]
    assert rows.weights[0].tolist() == [0, 1, 2, 3]
    one = intake().window()
    one.put(Place(0, 1), (X[:1], TARGET[:1]))
    assert one.on_device().rows.x[0].tolist() == [X[0].tolist()] * 4


def test_the_callers_buffer_is_free_at_once():
    x, filling = X.copy(), intake().window()
    filling.put(Place(0, 1), (x, TARGET))
    x[:] = np.nan
    assert np.array_equal(filling.on_device().rows.x[0], X)


def test_what_is_full_brings_its_own_word_on_what_counts():
    real = np.array([True, False, True, True])
    filling = intake(Filled(Rows(X, TARGET), real)).window()
    filling.put(Place(0, 1), Filled(Rows(X, TARGET), real))
    assert filling.on_device().real[0].tolist() == real.tolist()


def test_full_batches_alone_leave_the_others_out():
    filling = intake(drop_last=True).window()
    filling.put(Place(0, 1), (X, TARGET))
    filling.put(Place(0, 2), (X[:3], TARGET[:3]))
    window = filling.on_device()
    assert window.real is None
    assert len(window.places) == 1


def test_a_window_has_a_few_batches_by_their_bytes(monkeypatch):
    assert intake().slots == windows.MOST
    monkeypatch.setattr(windows, "BYTES", 2 * (X.nbytes + TARGET.nbytes))
    two = intake()
    assert two.slots == 2
    filling = two.window()
    filling.put(Place(0, 1), (X, TARGET))
    assert not filling.full
    filling.put(Place(0, 2), (X, TARGET))
    assert filling.full
    monkeypatch.setattr(windows, "BYTES", 1)
    assert intake().slots == 1


class Tensor:
    """An array of another package, in one of two protocols."""

    def __init__(self, a, *, numpy):
        self.a, self.numpy, self.shape = a, numpy, a.shape

    def __array__(self, dtype=None, copy=None):
        if not self.numpy:
            raise TypeError("can't convert it to numpy.\nUse .cpu().")
        return self.a

    def __dlpack__(self, **options):
        if self.numpy is None:
            raise BufferError
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


@pytest.mark.parametrize("numpy", [True, False])
def test_tensors_of_other_packages_are_taken_without_importing_them(numpy):
    filling = intake().window()
    filling.put(Place(0, 1), [Tensor(X, numpy=numpy), Tensor(TARGET, numpy=numpy)])
    assert np.array_equal(filling.on_device().rows.x[0], X)
    with pytest.raises(TypeError, match=r"2: x must be an array that numpy takes, got Tensor: ca"):
        filling.put(Place(0, 2), (Tensor(X, numpy=None), TARGET))


BAD = [
    (
        (X[:, :2], TARGET),
        ValueError,
        r"x must be float64\[B, 3\] as in the .* float64\[B, 2\]",
    ),
    ((X.astype("f4"), TARGET), ValueError, r"x must be float64\[B, 3\] .* got float32\[B, 3\]"),
    (
        (X, TARGET, np.ones(4)),
        ValueError,
        "must have the arrays of the first batch, x, target, ",
    ),
    (({"a": X}, TARGET), ValueError, r"the arrays of the first batch, x, target, got x.a, target"),
    ((X, TARGET[:3]), ValueError, "x and target must have equally many rows"),
    (
        (np.tile(X, (2, 1)), np.tile(TARGET, 2)),
        ValueError,
        "it has 8 rows, more than those of the",
    ),
    ((X, TARGET + 1), ValueError, r"target must hold labels in \[0, 2\), got 2 at index 1"),
    (
        (np.where(X == 7, np.nan, X), TARGET),
        ValueError,
        r"x must be finite, got nan at index \[2",
    ),
    ({"x": X}, TypeError, "a batch must be .x, target. or .x, target, weights., got dict"),
    (([["a"] * 3] * 4, TARGET), TypeError, "x must hold numbers, got <U1"),
]


@pytest.mark.parametrize(("batch", "error", "message"), BAD)
def test_a_batch_that_does_not_fit_is_refused_by_its_number(batch, error, message):
    filling = intake().window()
    filling.put(Place(1, 6), (X, TARGET))
    with pytest.raises(error, match=rf"^fit, epoch 2, batch 7: .*{message}"):
        filling.put(Place(1, 7), batch)
    assert filling.places == (Place(1, 6),)


def test_the_first_batch_is_looked_at_as_arrays_are():
    with pytest.raises(ValueError, match=r"^fit, epoch 1, batch 1: layer 0, Dense.*got \[4, 2\]"):
        intake((X[:, :2], TARGET))
    with pytest.raises(ValueError, match="^fit, epoch 1, batch 1: empty batch"):
        intake((X[:0], TARGET[:0]))
    with pytest.raises(ValueError, match="^fit, epoch 1, batch 1: x of it has a state"):
        intake((fnn.Sequence(X[:, None], state=(X,)), TARGET))
    with pytest.raises(ValueError, match="1: it has 4 rows, more than batch_size, 3."):
        intake(size=3).window().put(Place(0, 1), (X, TARGET))


def test_rows_of_weight_zero_and_ignored_batches_may_hold_anything():
    weighed = intake((X, TARGET, np.ones(4))).window()
    weighed.put(Place(0, 1), (np.where(X > 8, np.nan, X), TARGET, np.array([1.0, 1, 1, 0])))
    weighed.put(Place(0, 2), (X, TARGET, np.zeros(4)))
    with pytest.raises(ValueError, match="3: weights must be finite and at least 0, got -1.0"):
        weighed.put(Place(0, 3), (X, TARGET, -np.ones(4)))
    ignoring = fnn.SoftmaxCrossEntropy(ignore_label=-1)
    filling = Intake(VOICE, (NET, ignoring, PARAMS, None), (X, TARGET)).window()
    filling.put(Place(0, 1), (X, np.full(4, -1)))
    assert len(filling.places) == 1
