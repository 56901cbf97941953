"""Tests of fnn.devices.group: several processes are tested in test_processes.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.devices import group as module
from fnn.devices.group import Elsewhere, Group, group_of, same

ALONE, SEVERAL = Group(False), Group(True)


def test_one_process_agrees_with_itself():
    assert (ALONE.size, ALONE.first) == (1, True)
    assert (ALONE.largest(3), ALONE.agreed(True)) == (3, 1)
    assert ALONE.of_all({"a": 1}) == [{"a": 1}]
    assert ALONE.first_does("anything", lambda: 7) == 7


def test_a_state_on_devices_of_this_process_has_one_process():
    plan = fnn.Plan(fnn.mlp([2, 3]), fnn.SquaredError(), fnn.optim.SGD(0.1))
    state = fnn.start(plan, jax.random.key(0))
    assert not group_of(state.layout).several
    assert not group_of(fnn.devices.place(plan, state, fnn.devices.mesh()).layout).several


def test_arrays_come_as_numpys_and_keys_as_they_are():
    tree = {"a": jnp.arange(3), "key": jax.random.key(1), "b": np.float32(2)}
    found = ALONE.on_host(tree)
    assert type(found["a"]) is np.ndarray
    np.testing.assert_array_equal(found["a"], [0, 1, 2])
    assert found["key"] is tree["key"]


@pytest.fixture
def two(monkeypatch):
    """What process 0 of two would see, where the other one says what stands in here."""
    other = {"code": 0, "index": 0, "told": []}

    def numbers(self, value):
        other["told"].append(value)
        both = [int(value), other["code"]]
        return np.asarray(both if other["index"] == 0 else both[::-1])

    monkeypatch.setattr(Group, "numbers", numbers)
    monkeypatch.setattr(module, "wait", lambda what, timeout: None)
    monkeypatch.setattr(module, "is_first", lambda: other["index"] == 0)
    monkeypatch.setattr(jax, "process_index", lambda: other["index"])
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    return other


def test_what_fails_in_one_process_fails_in_all(two):
    assert SEVERAL.each_does("reading", lambda: 5) == 5
    two["code"] = 1
    with pytest.raises(Elsewhere, match="reading: failed in process 1, whose error says why"):
        SEVERAL.each_does("reading", lambda: 5)
    two["told"].clear()
    with pytest.raises(OSError, match="mine"):
        SEVERAL.each_does("reading", failing)
    assert two["told"] == [True]  # the others know before it ends here


def failing():
    raise OSError("mine")


def test_process_0_alone_does_what_the_first_one_does(two):
    assert SEVERAL.first_does("saving", lambda: 5) == 5
    two["index"] = 1
    assert SEVERAL.first_does("saving", failing) is None


def test_every_process_has_what_it_said(two):
    assert SEVERAL.own(["a", "b"]) == "a"
    two["index"] = 1
    assert SEVERAL.own(["a", "b"]) == "b"
    assert SEVERAL.own(["a"] * 3) == "a"
    with pytest.raises(ValueError, match="said by 3 processes, here are 2"):
        SEVERAL.own(["a", "b", "c"])


def test_values_are_the_same_where_all_are_the_first():
    assert same([1])
    assert same([[1], [1]])
    assert not same([1, 1, 2])


def test_what_must_be_the_same_in_all_is_compared(two, monkeypatch):
    ALONE.check_same("x", lambda: 1 / 0)  # nobody is asked
    monkeypatch.setattr(Group, "of_all", lambda self, said: [said, "b"])
    SEVERAL.check_same("x", lambda: "b")
    with pytest.raises(ValueError, match="fit: calibration must be the same in all 2 processes"):
        SEVERAL.check_same("fit: calibration", lambda: "a")
