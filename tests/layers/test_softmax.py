"""Tests of fnn.layers.softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.softmax import LogSoftmax, Softmax

BOTH = pytest.mark.parametrize("layer", [Softmax(), LogSoftmax()], ids=repr)


@BOTH
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4)], ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


def test_softmax_by_hand():
    x = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
    y, cache = Softmax().forward((), x)
    _, dx = Softmax().backward((), cache, jnp.array([[8.0, 0.0, 16.0]]))
    np.testing.assert_allclose(y, [[1 / 8, 2 / 8, 5 / 8]])  # Σ dy y = 11
    np.testing.assert_allclose(dx, [[-3 / 8, -22 / 8, 25 / 8]])


def test_log_softmax_by_hand():
    x = jnp.log(jnp.array([[1.0, 2.0, 5.0]]))
    y, cache = LogSoftmax().forward((), x)
    _, dx = LogSoftmax().backward((), cache, jnp.array([[8.0, 0.0, 16.0]]))
    np.testing.assert_allclose(y, np.log([[1 / 8, 2 / 8, 5 / 8]]))  # Σ dy = 24
    np.testing.assert_allclose(dx, [[8 - 3, 0 - 6, 16 - 15]])


def test_rows_sum_to_one():
    y, _ = Softmax().forward((), 10 * noise(5, 7))
    np.testing.assert_allclose(y.sum(-1), np.ones(5), rtol=1e-14)


@BOTH
def test_a_shift_of_a_row_changes_nothing_and_gets_no_gradient(layer):
    x, dy = noise(5, 7), noise(5, 7, seed=2)
    y, cache = layer.forward((), x)
    shifted, _ = layer.forward((), x + jnp.array([[1.0], [-3], [0], [100], [-1e3]]))
    _, dx = layer.backward((), cache, dy)
    np.testing.assert_allclose(shifted, y, rtol=1e-10)
    np.testing.assert_allclose(dx.sum(-1), np.zeros(5), atol=1e-13)


def test_backward_is_the_product_with_the_jacobian():
    x, dy = noise(1, 4), noise(1, 4, seed=2)
    y, cache = Softmax().forward((), x)
    _, dx = Softmax().backward((), cache, dy)
    y = np.asarray(y[0])
    np.testing.assert_allclose(dx, dy @ (np.diag(y) - np.outer(y, y)), rtol=1e-12)


def test_log_softmax_is_the_logarithm_of_softmax():
    x = noise(5, 7)
    y, log_y = Softmax().forward((), x)[0], LogSoftmax().forward((), x)[0]
    np.testing.assert_allclose(log_y, np.log(y), rtol=1e-12)


@BOTH
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_extreme_logits_do_not_overflow(layer, dtype):
    x = jnp.array([[1e4, -1e4, 0.0], [1e38, -1e38, 0.0], [3e38, 3e38, -3e38]]).astype(dtype)
    y, cache = layer.forward((), x)
    _, dx = layer.backward((), cache, jnp.ones_like(x))
    exact, _ = layer.forward((), x.astype("float64"))
    assert np.isfinite(np.float64(dx)).all()
    ours, exact = np.float64(y), np.float64(exact.astype(dtype))  # −6e38 is −∞ there
    np.testing.assert_allclose(ours, exact, rtol=1e-2 if dtype == "bfloat16" else 1e-6)


def test_a_class_that_cannot_be_has_probability_and_gradient_zero():
    x = jnp.array([[-jnp.inf, 0.0, 0.0]])
    y, cache = Softmax().forward((), x)
    _, dx = Softmax().backward((), cache, jnp.array([[5.0, 1.0, 0.0]]))
    np.testing.assert_allclose(y, [[0, 0.5, 0.5]])
    np.testing.assert_allclose(dx, [[0, 0.25, -0.25]])


@BOTH
def test_nan_spoils_its_row_only(layer):
    x = noise(3, 4).at[1, 2].set(jnp.nan)
    y, cache = layer.forward((), x)
    _, dx = layer.backward((), cache, jnp.ones_like(x))
    for a in (y, dx):
        np.testing.assert_array_equal(np.isnan(a).all(-1), [False, True, False])
        np.testing.assert_array_equal(np.isnan(a).any(-1), [False, True, False])


@BOTH
def test_input_without_a_batch_is_refused_with_a_hint(layer):
    message = r"Softmax\(\): x must have shape \[B, ...\], got \[3\]; one example is x\[None, :\]"
    with pytest.raises(ValueError, match=message):
        layer.forward((), jnp.zeros(3))


@BOTH
def test_no_parameters(layer):
    assert layer.init(jax.random.key(0)) == ()


@pytest.mark.parametrize("gap", [5.0, 15.0, 60.0])
def test_where_one_probability_is_nearly_1_its_dx_is_right(gap):
    x = jnp.array([[gap, 0.0, 0.5]], "float32")
    _, cache = Softmax().forward((), x)
    _, dx = Softmax().backward((), cache, jnp.array([[3.0, 1.0, -2.0]], "float32"))
    p, q = np.exp(-gap), np.exp(0.5 - gap)
    want = np.array([2 * p + 5 * q, p * (3 * q - 2), -q * (5 + 3 * p)]) / (1 + p + q) ** 2
    np.testing.assert_allclose(dx[0], want, rtol=1e-5)
