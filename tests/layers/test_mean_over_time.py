"""Tests of fnn.layers.mean_over_time."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

from fnn.layers.mean_over_time import MeanOverTime
from fnn.sequence import Sequence

X = noise(2, 5, 3)


def test_contract():
    check_layer(MeanOverTime(), X)


def test_contract_of_sequences():
    check_sequence(MeanOverTime(), Sequence(X, MASK), steps=False)


def test_by_hand():
    x = jnp.array([[[1.0], [2.0], [30.0]], [[4.0], [5.0], [6.0]]])
    mask = jnp.array([[True, True, False], [True, True, True]])
    y, cache = MeanOverTime().forward((), Sequence(x, mask))
    np.testing.assert_allclose(y, [[1.5], [5]], rtol=1e-15)
    _, dx = MeanOverTime().backward((), cache, jnp.array([[10.0], [30.0]]))
    np.testing.assert_allclose(dx.x[..., 0], [[5, 5, 0], [10, 10, 10]], rtol=1e-15)
    assert dx.mask is mask


def test_of_an_array_it_is_the_mean_of_all_steps_in_any_order():
    y, cache = MeanOverTime().forward((), X)
    np.testing.assert_allclose(y, X.mean(1), rtol=1e-12)
    np.testing.assert_allclose(MeanOverTime().forward((), X[:, ::-1])[0], y, rtol=1e-12)
    _, dx = MeanOverTime().backward((), cache, y)
    np.testing.assert_allclose(dx, jnp.repeat(y[:, None] / 5, 5, 1), rtol=1e-12)


def test_half_precision_sums_in_single_precision():
    x = jnp.ones((1, 4096, 1), "bfloat16")  # 256 + 1 is 256 in bfloat16
    y, _ = MeanOverTime().forward((), x)
    assert (y[0, 0], y.dtype) == (1, "bfloat16")


@pytest.mark.parametrize("mask", [jnp.zeros((2, 5), bool), jnp.zeros((2, 0), bool)], ids=str)
def test_a_sequence_of_which_no_step_counts_has_y_0(mask):
    x = X[:, : mask.shape[1]]
    y, cache = MeanOverTime().forward((), Sequence(x, mask))
    _, dx = MeanOverTime().backward((), cache, jnp.ones((2, 3)))
    np.testing.assert_array_equal(y, np.zeros((2, 3)))
    np.testing.assert_array_equal(dx.x, np.zeros(x.shape))


def test_errors():
    message = r"^MeanOverTime\(\): x must have shape \[B, T, n\], got \[5, 3\]"
    with pytest.raises(ValueError, match=message):
        MeanOverTime().forward((), X[0])
    with pytest.raises(TypeError, match=r"^MeanOverTime\(\): x must be floating, got int64"):
        MeanOverTime().forward((), Sequence(jnp.ones((2, 5, 3), int)))
