"""Tests of fnn.nets.loading; those of its tables are in test_gpt2 and test_llama."""

import jax
import numpy as np
import pytest

import fnn
from fnn.nets.loading import Place, check_net, incoming, outgoing, table, tied_head

NET = fnn.Serial(first=fnn.Dense(3, 2), blocks=fnn.Repeat(2, fnn.Dense(2, 2)))
ROWS = {"a.{}.all": "blocks.w blocks.w", "lm_head.weight": "first.w.T", "b": "first.b"}


def test_a_row_names_the_arrays_side_by_side_and_the_turned_ones():
    assert table(ROWS, "x.", tied=False) == [
        Place("x.a.{}.all", ("blocks.w", "blocks.w"), turned=False),
        Place("lm_head.weight", ("first.w",), turned=True),
        Place("x.b", ("first.b",), turned=False),
    ]
    assert [place.name for place in table(ROWS, "", tied=True)] == ["a.{}.all", "b"]


def test_a_head_is_tied_where_it_is_missing_or_the_table_itself():
    a = np.arange(6.0)
    assert tied_head({"a": a}, "a") == ({"a": a}, True)
    assert tied_head({"a": a, "lm_head.weight": a.copy()}, "a") == ({"a": a}, True)
    for head in (a + 1, a.astype("float32"), a[:3]):
        given = {"a": a, "lm_head.weight": head}
        assert tied_head(given, "a") == (given, False)
    assert tied_head({}, "a") == ({}, False)


def test_by_hand():
    rows = {"w": "first.w.T", "b": "first.b", "{}": "blocks.w.T", "b{}": "blocks.b"}
    places = table(rows, "x.", tied=False)
    first = fnn.DenseParams(np.array([[1.0, 2], [3, 4], [5, 6]]), np.array([7.0, 8]))
    blocks = fnn.DenseParams(np.arange(8.0).reshape(2, 2, 2), np.arange(4.0).reshape(2, 2))
    found = outgoing("me", places, NET, {"first": first, "blocks": blocks})
    assert {name: a.tolist() for name, a in found.items()} == {
        "x.w": [[1, 3, 5], [2, 4, 6]], "x.b": [7, 8], "x.0": [[0, 2], [1, 3]],
        "x.1": [[4, 6], [5, 7]], "x.b0": [0, 1], "x.b1": [2, 3],
    }  # fmt: skip
    params = incoming("me", places, found, NET)
    jax.tree.map(np.testing.assert_array_equal, params, {"first": first, "blocks": blocks})


def test_arrays_side_by_side_are_parted_where_they_met():
    net = fnn.Serial(a=fnn.Dense(3, 2, bias=False), b=fnn.Dense(3, 4, bias=False))
    places = table({"ab": "a.w b.w"}, "", False)
    both = np.arange(18.0).reshape(3, 6)
    params = incoming("me", places, {"ab": both}, net)
    np.testing.assert_array_equal(params["a"].w, both[:, :2])
    np.testing.assert_array_equal(params["b"].w, both[:, 2:])
    np.testing.assert_array_equal(outgoing("me", places, net, params)["ab"], both)
    mixed = params | {"b": fnn.DenseParams(params["b"].w.astype("float32"), None)}
    with pytest.raises(ValueError, match=r"me: .*: b\.w must be float64\[3, 4\], got float32"):
        outgoing("me", places, net, mixed)


def test_the_first_layer_that_differs_is_named_by_its_path():
    def net(f, n=2):
        return fnn.Serial(blocks=fnn.Repeat(n, fnn.Residual(fnn.Serial(fnn.Dense(2, 2), f))))

    check_net("me", net(fnn.Tanh()), net(fnn.Tanh()))
    with pytest.raises(ValueError, match=r"^me: layer blocks\.1 must be Tanh\(\), got ReLU\(\)\.$"):
        check_net("me", net(fnn.ReLU()), net(fnn.Tanh()))
    with pytest.raises(ValueError, match=r"^me: layer blocks must be Repeat\(2, .*, got Repeat\(3"):
        check_net("me", net(fnn.Tanh(), 3), net(fnn.Tanh()))
    with pytest.raises(ValueError, match=r"^me: net must be Serial\(.*, got Dense"):
        check_net("me", fnn.Dense(2, 2), net(fnn.Tanh()))
