"""Tests of fnn.layers.last."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

from fnn.layers.last import Last
from fnn.sequence import Sequence

X = noise(2, 5, 3)


def test_contract():
    check_layer(Last(), X)


def test_contract_of_sequences():
    check_sequence(Last(), Sequence(X, MASK), steps=False)


def test_by_hand():
    x = jnp.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    mask = jnp.array([[True, True, False], [True, False, True]])
    y, cache = Last().forward((), Sequence(x, mask))
    np.testing.assert_array_equal(y, [[2], [6]])
    _, dx = Last().backward((), cache, jnp.array([[10.0], [20.0]]))
    np.testing.assert_array_equal(dx.x[..., 0], [[0, 10, 0], [0, 0, 20]])
    assert dx.mask is mask


def test_of_an_array_it_is_the_last_step():
    y, cache = Last().forward((), X)
    np.testing.assert_array_equal(y, X[:, -1])
    _, dx = Last().backward((), cache, y)
    np.testing.assert_array_equal(dx, jnp.zeros_like(X).at[:, -1].set(y))


def test_behind_padding_it_is_that_of_the_sequence_alone():
    padded = jnp.pad(X, ((0, 0), (0, 2), (0, 0)), constant_values=1e3)
    y, _ = Last().forward((), Sequence(padded, jnp.tile(jnp.arange(7) < 5, (2, 1))))
    np.testing.assert_array_equal(y, X[:, -1])


@pytest.mark.parametrize("mask", [jnp.zeros((2, 5), bool), jnp.zeros((2, 0), bool)], ids=str)
def test_a_sequence_of_which_no_step_counts_has_y_0(mask):
    x = X[:, : mask.shape[1]]
    y, cache = Last().forward((), Sequence(x, mask))
    _, dx = Last().backward((), cache, jnp.ones((2, 3)))
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    np.testing.assert_array_equal(dx.x, np.zeros(x.shape))


def test_errors():
    with pytest.raises(ValueError, match=r"^Last\(\): x must have shape \[B, T, n\], got \[5, 3\]"):
        Last().forward((), X[0])
    with pytest.raises(TypeError, match=r"^Last\(\): x must be floating, got int64"):
        Last().forward((), Sequence(jnp.ones((2, 5, 3), int)))
