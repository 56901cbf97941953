"""Tests of fnn.layers.over_time."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

from fnn.layers.over_time import Last, MeanOverTime
from fnn.sequence import Sequence

X = noise(2, 5, 3)
BOTH = pytest.mark.parametrize("layer", [Last(), MeanOverTime()], ids=str)


@BOTH
def test_contract(layer):
    check_layer(layer, X)


@BOTH
def test_contract_of_sequences(layer):
    check_sequence(layer, Sequence(X, MASK), steps=False)


def test_last_by_hand():
    x = jnp.array([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]])
    mask = jnp.array([[True, True, False], [True, False, True]])
    y, cache = Last().forward((), Sequence(x, mask))
    np.testing.assert_array_equal(y, [[2], [6]])
    _, dx = Last().backward((), cache, jnp.array([[10.0], [20.0]]))
    np.testing.assert_array_equal(dx.x[..., 0], [[0, 10, 0], [0, 0, 20]])
    assert dx.mask is mask


def test_mean_by_hand():
    x = jnp.array([[[1.0], [2.0], [30.0]], [[4.0], [5.0], [6.0]]])
    mask = jnp.array([[True, True, False], [True, True, True]])
    y, cache = MeanOverTime().forward((), Sequence(x, mask))
    np.testing.assert_allclose(y, [[1.5], [5]], rtol=1e-15)
    _, dx = MeanOverTime().backward((), cache, jnp.array([[10.0], [30.0]]))
    np.testing.assert_allclose(dx.x[..., 0], [[5, 5, 0], [10, 10, 10]], rtol=1e-15)
    assert dx.mask is mask


def test_last_of_an_array_is_its_last_step():
    y, cache = Last().forward((), X)
    np.testing.assert_array_equal(y, X[:, -1])
    _, dx = Last().backward((), cache, y)
    np.testing.assert_array_equal(dx, jnp.zeros_like(X).at[:, -1].set(y))


def test_mean_of_an_array_is_that_of_all_steps_in_any_order():
    y, cache = MeanOverTime().forward((), X)
    np.testing.assert_allclose(y, X.mean(1), rtol=1e-12)
    np.testing.assert_allclose(MeanOverTime().forward((), X[:, ::-1])[0], y, rtol=1e-12)
    _, dx = MeanOverTime().backward((), cache, y)
    np.testing.assert_allclose(dx, jnp.repeat(y[:, None] / 5, 5, 1), rtol=1e-12)


@BOTH
@pytest.mark.parametrize("junk", [1e3, jnp.nan, jnp.inf, -jnp.inf])
def test_padding_changes_nothing(layer, junk):
    padded = jnp.pad(X, ((0, 0), (0, 2), (0, 0)), constant_values=junk)
    y, cache = layer.forward((), Sequence(padded, jnp.tile(jnp.arange(7) < 5, (2, 1))))
    np.testing.assert_allclose(y, layer.forward((), X)[0], rtol=1e-15)
    _, dx = layer.backward((), cache, y.at[0, 0].set(junk))
    np.testing.assert_array_equal(dx.x[:, 5:], np.zeros((2, 2, 3)))


def test_half_precision_sums_in_single_precision():
    x = jnp.ones((1, 4096, 1), "bfloat16")  # 256 + 1 is 256 in bfloat16
    y, _ = MeanOverTime().forward((), x)
    assert (y[0, 0], y.dtype) == (1, "bfloat16")


@BOTH
@pytest.mark.parametrize("mask", [jnp.zeros((2, 5), bool), jnp.zeros((2, 0), bool)], ids=str)
def test_a_sequence_of_which_no_step_counts_has_y_0(layer, mask):
    x = X[:, : mask.shape[1]]
    y, cache = layer.forward((), Sequence(x, mask))
    _, dx = layer.backward((), cache, jnp.ones((2, 3)))
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    np.testing.assert_array_equal(dx.x, np.zeros(x.shape))


@BOTH
def test_errors(layer):
    name = type(layer).__name__
    message = rf"^{name}\(\): x must have shape \[B, T, n\], got \[5, 3\]"
    with pytest.raises(ValueError, match=message):
        layer.forward((), X[0])
    with pytest.raises(TypeError, match=rf"^{name}\(\): x must be floating, got int64"):
        layer.forward((), Sequence(jnp.ones((2, 5, 3), int)))
