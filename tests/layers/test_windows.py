"""Tests of fnn.layers.windows."""

import pytest

from fnn.layers.windows import check_padding, pairs, windows


def test_windows_by_hand():
    (a,) = windows("f", (7,), (3,), (2,), (1,), "valid")
    assert (a.n_out, a.span, a.low, a.high) == (3, 3, 0, 0)
    (a,) = windows("f", (7,), (3,), (2,), (2,), ((1, 2),))
    assert (a.n_out, a.span, a.low, a.high) == (3, 5, 1, 2)
    (a,) = windows("f", (7,), (4,), (1,), (1,), "same")
    assert (a.n_out, a.low, a.high) == (7, 1, 2)
    tall, broad = windows("f", (7, 5), (3, 1), (1, 1), (1, 1), 2)
    assert (tall.n_out, broad.n_out) == (9, 9)


def test_a_window_larger_than_the_input_is_refused():
    with pytest.raises(ValueError, match=r"f: axis 1 of x has 2 entries and 0 \+ 0 of padding"):
        windows("f", (2,), (3,), (1,), (1,), "valid")


def test_one_number_stands_for_all_axes():
    assert pairs("f", "stride", 2, 3) == (2, 2, 2)
    assert pairs("f", "stride", (1, 2), 2) == (1, 2)
    for wrong in (0, (1,), (1, -1), (1.5, 1)):
        with pytest.raises(ValueError, match="f: stride must be 2 numbers of at least 1"):
            pairs("f", "stride", wrong, 2)
    assert pairs("f", "more", 0, 2, 0) == (0, 0)
    with pytest.raises(ValueError, match="f: more must be 2 numbers of at least 0, got -1"):
        pairs("f", "more", -1, 2, 0)


def test_paddings():
    for right in ("valid", "same", 0, ((0, 1), (2, 3))):
        check_padding("f", right, 2)
    for wrong in ("full", -1, ((0, 1),), ((0, 1), (0, -1)), (1, 2), 1.5, True):
        with pytest.raises(ValueError, match="f: padding must be 'valid', 'same', a number or 2"):
            check_padding("f", wrong, 2)
