"""Tests of fnn.epochs; tests/test_train.py has those of callbacks."""

import jax.numpy as jnp
import numpy as np

from fnn.epochs import by_epochs, longer, stacked


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
