"""Tests of fnn.epochs; tests/test_train.py has those of callbacks."""

import jax.numpy as jnp
import numpy as np

from fnn.devices.group import Group
from fnn.epochs import by_epochs, longer, stacked, stops


def test_a_callback_ends_the_loop_and_sees_numbers():
    seen = []

    def epoch(state):
        return state + 1, {"loss": jnp.asarray(state), "norms": jnp.ones(2)}

    def callback(state, row):
        seen.append((state, row["loss"]))
        return state == 3

    state, history = by_epochs(epoch, 0, callback, None, 9)
    assert state == 3
    assert history["loss"].tolist() == [0, 1, 2]
    assert history["norms"].shape == (3, 2)
    assert seen == [(1, 0), (2, 1), (3, 2)]
    assert type(seen[0][1]) is int
    assert by_epochs(epoch, 0, None, None, 2)[0] == 2


def test_shorter_epochs_end_in_nan():
    history = stacked([{"a": jnp.ones((2, 3))}, {"a": jnp.ones((1, 3))}])["a"]
    assert np.isnan(history[1]).tolist() == [[False] * 3, [True] * 3]
    assert longer(np.ones(1, int), 3).tolist() == [1, 0, 0]
    assert longer(np.array(5.0)) == 5


def test_a_callback_of_any_process_ends_all_and_all_ask(monkeypatch):
    told, other = [], [False]

    def numbers(self, value):
        told.append(value)
        return np.asarray([value, other[0]])

    monkeypatch.setattr(Group, "numbers", numbers)
    monkeypatch.setattr("fnn.devices.group.wait", lambda what, timeout: None)
    two = Group(True)
    assert not stops(two, lambda state, row: False, 0, {})
    assert told == [False, False]  # no error, and no end
    assert stops(two, lambda state, row: True, 0, {})
    monkeypatch.setattr(Group, "each_does", lambda self, what, f: f())
    other[0] = True
    assert stops(two, None, 0, {})
