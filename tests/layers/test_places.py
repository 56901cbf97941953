"""Tests of fnn.layers.places."""

import pytest

from fnn.composite import With
from fnn.layers.activations import Identity, Sigmoid, Tanh
from fnn.layers.dense import Dense
from fnn.layers.parallel import Parallel
from fnn.layers.places import entry, layer_at, placed, replaced
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.ruling import Results

NET = Serial(up=Parallel(Tanh(), Serial(a=Sigmoid(), b=Dense(3, 4))), down=Repeat(2, Tanh()))
TREE = {"up": (1, {"a": 2, "b": 3}), "down": 4}


def test_a_path_leads_to_a_layer_and_to_its_entry():
    assert layer_at(NET, "up.1.b") == Dense(3, 4)
    assert layer_at(NET, "up.0") == Tanh()
    assert (entry(NET, TREE, "up.1.b"), entry(NET, TREE, "up.0"), entry(NET, TREE, "down")) == (
        3, 1, 4,
    )  # fmt: skip
    assert entry(NET, {}, "up.1.b") == ()
    both = With(TREE, {"up": ((), {"b": 5})})
    assert entry(NET, both, "up.1.b") == With(3, 5)


def test_another_layer_and_another_entry_stand_in_the_same_place():
    net = replaced(NET, {"up.1.b": Tanh(), "up.0": Sigmoid()})
    assert [layer_at(net, path) for path in ("up.0", "up.1.a", "up.1.b")] == [
        Sigmoid(), Sigmoid(), Tanh(),
    ]  # fmt: skip
    assert net["down"] == NET["down"]
    found = placed(NET, TREE, {"up.1.b": 7, "down": 8})
    assert found == {"up": (1, {"a": 2, "b": 7}), "down": 8}
    assert placed(NET, TREE, {"up.1.b": ()}) == {"up": (1, {"a": 2}), "down": 4}
    assert placed(NET, {}, {"up.0": 1}) == {"up": (1, ())}


def test_entries_of_several_rules_go_into_the_tree_of_each():
    tree = {"up": Results(((1, {"b": 2}), (3, {"b": 4}))), "down": Results((5, 6))}
    found = placed(NET, tree, {"up.1.b": Results((7, 8)), "down": Results((9, 0))})
    assert found["up"] == Results(((1, {"b": 7}), (3, {"b": 8})))
    assert found["down"] == Results((9, 0))


def test_errors():
    with pytest.raises(ValueError, match="^Tied: no layer 'up.2'; there are 0, 1"):
        layer_at(NET, "up.2")
    with pytest.raises(ValueError, match="^Tied: no layer 'up.0.a': Tanh.. has none inside"):
        layer_at(NET, "up.0.a")
    with pytest.raises(TypeError, match="^Tied: 'down.inner' lies in a Repeat, whose way back is"):
        layer_at(NET, "down.inner")
    assert layer_at(Serial(Identity()), "0") == Identity()
