"""Tests of fnn.losses.regression."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

from fnn.losses.regression import AbsoluteError, Huber, SquaredError

ALL = [SquaredError(), SquaredError(scale=0.5), AbsoluteError(), Huber(), Huber(delta=0.4)]


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_contract(loss):
    check_loss(loss, noise(5, 3), 2 * noise(5, 3, seed=2))


@pytest.mark.parametrize("shape", [(5,), (2, 3, 4)], ids=str)
def test_contract_of_other_ranks(shape):
    check_loss(Huber(delta=0.7), noise(*shape), 2 * noise(*shape, seed=2))


@pytest.mark.parametrize(
    ("loss", "losses", "dy"),
    [
        (SquaredError(), [13, 0.25], [[60, -40], [100, 0]]),
        (SquaredError(scale=0.5), [6.5, 0.125], [[30, -20], [50, 0]]),
        (AbsoluteError(), [5, 0.5], [[10, -10], [100, 0]]),
        (Huber(), [2.5 + 1.5, 0.125], [[10, -10], [50, 0]]),
        (Huber(delta=2.5), [4.375 + 2, 0.125], [[25, -20], [50, 0]]),
    ],
    ids=repr,
)
def test_forward_and_backward_by_hand(loss, losses, dy):
    y = jnp.array([[4.0, 1.0], [0.5, 6.0]])
    target = jnp.array([[1.0, 3.0], [0.0, 6.0]])  # residuals 3, −2 and ½, 0
    ours, cache = loss.forward(y, target)
    np.testing.assert_allclose(ours, losses, rtol=1e-14)
    np.testing.assert_allclose(loss.backward(cache, jnp.array([10.0, 100])), dy, rtol=1e-14)


def test_huber_is_half_the_squared_error_for_a_large_delta():
    y, t = noise(5, 3), noise(5, 3, seed=2)
    ours, half = Huber(delta=100.0).forward(y, t), SquaredError(scale=0.5).forward(y, t)
    np.testing.assert_allclose(ours[0], half[0], rtol=1e-13)


def test_huber_over_delta_is_the_absolute_error_for_a_small_delta():
    y, t = noise(5, 3), noise(5, 3, seed=2)
    ours, absolute = Huber(delta=1e-9).forward(y, t)[0], AbsoluteError().forward(y, t)[0]
    np.testing.assert_allclose(ours / 1e-9, absolute, rtol=1e-7)


def test_the_constant_of_least_error_is_the_mean_or_the_median():
    t = jnp.array([1.0, 2, 3, 10, 14])

    def slope(loss, c):
        _, cache = loss.forward(jnp.full(5, c), t)
        return loss.backward(cache, jnp.ones(5)).sum()

    assert slope(SquaredError(), 6.0) == 0
    assert slope(AbsoluteError(), 3.0) == 0


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_no_residual_no_loss_no_gradient(loss):
    y = noise(5, 3)
    losses, cache = loss.forward(y, y)
    np.testing.assert_array_equal(losses, np.zeros(5))
    np.testing.assert_array_equal(loss.backward(cache, jnp.ones(5)), np.zeros((5, 3)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_computed_and_summed_in_single_precision(dtype):
    y = jnp.full((1, 3), 300.0).astype(dtype)
    losses, cache = SquaredError().forward(y, jnp.zeros_like(y))
    residual = float(y[0, 0])
    assert losses.dtype == "float32"
    assert losses[0] == 3 * residual**2  # 270000: beyond float16
    assert SquaredError().backward(cache, jnp.ones(1, "float32")).dtype == dtype


@pytest.mark.parametrize("loss", ALL, ids=repr)
@pytest.mark.parametrize("dtype", [bool, "int32", "uint8", "float32", "bfloat16"], ids=str)
def test_target_of_another_dtype_is_converted(loss, dtype):
    t = jnp.array([[True, False, True]])
    y = noise(1, 3)
    np.testing.assert_allclose(
        loss.forward(y, t.astype(dtype))[0], loss.forward(y, t.astype("float64"))[0], rtol=1e-14
    )


@pytest.mark.parametrize("loss", ALL, ids=repr)
def test_nan_in_y_or_target_reaches_loss_and_gradient_of_its_row(loss):
    y, t = jnp.zeros((3, 2)).at[1, 0].set(jnp.nan), jnp.ones((3, 2)).at[2, 0].set(jnp.nan)
    losses, dy = loss.value_and_backward(y, t, jnp.ones(3))
    np.testing.assert_array_equal(np.isnan(losses), [False, True, True])
    np.testing.assert_array_equal(np.isnan(dy[:, 0]), [False, True, True])


def test_huber_of_huge_residuals_does_not_overflow():
    y = jnp.array([1e20, -1e30, 3e38], "float32")
    losses, dy = Huber().value_and_backward(y, jnp.zeros_like(y), jnp.ones(3, "float32"))
    np.testing.assert_allclose(losses, np.abs(y), rtol=1e-6)
    np.testing.assert_array_equal(dy, [1, -1, 1])


@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize(("loss", "name"), [(SquaredError, "scale"), (Huber, "delta")])
def test_hyperparameter_out_of_range_is_rejected(loss, name, value):
    message = rf"^{loss.__name__}: {name} must be (in \(0, inf\)|finite), got"
    with pytest.raises(ValueError, match=message):
        loss(value)


def test_error_names_the_loss_with_its_fields():
    with pytest.raises(
        ValueError, match=r"^Huber\(delta=2.0\): target must have y's shape \[3, 1\]"
    ):
        jax.jit(Huber(2).forward)(jnp.zeros((3, 1)), jnp.zeros(3))
