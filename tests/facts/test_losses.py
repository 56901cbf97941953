"""Facts about the losses that their own tests do not show."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

EXACT = {"rtol": 1e-12, "atol": 1e-14}
RNG = np.random.default_rng(0)
N, K = 7, 4
Z, T = RNG.normal(size=(N, K)), RNG.normal(size=(N, K))
P = np.exp(Z) / np.exp(Z).sum(1, keepdims=True)
LABELS = np.array([2, 0, 1, 3, 1, 1, 0])
ROWS = np.eye(K)[LABELS]
BITS = RNG.integers(0, 2, (N, K)).astype(float)
S = 1 / (1 + np.exp(-Z))
run = jax.jit(fnn.value_and_grad)


@jax.jit
def both(loss, y, target):
    """Losses, and dy of their mean."""
    losses, cache = loss.forward(y, target)
    return losses, loss.backward(cache, jnp.full(losses.shape, 1 / losses.size))


def value_and_dy(loss, y, target):
    return tuple(np.asarray(a) for a in both(loss, y, target))


def test_the_absolute_error_is_zero_for_equals_only_and_symmetric():
    losses, _ = value_and_dy(fnn.AbsoluteError(), Z, T)
    np.testing.assert_allclose(losses, [sum(abs(Z[i] - T[i])) for i in range(N)], **EXACT)
    np.testing.assert_array_equal(value_and_dy(fnn.AbsoluteError(), T, Z)[0], losses)
    assert (losses > 0).all()
    np.testing.assert_array_equal(value_and_dy(fnn.AbsoluteError(), Z, Z)[0], np.zeros(N))


def test_the_mean_squared_error_is_twice_the_half():
    whole, dy = value_and_dy(fnn.SquaredError(), Z, T)
    half, dy_half = value_and_dy(fnn.SquaredError(0.5), Z, T)
    np.testing.assert_allclose(whole, ((Z - T) ** 2).sum(1), **EXACT)
    np.testing.assert_allclose(half, [(Z[i] - T[i]) @ (Z[i] - T[i]) / 2 for i in range(N)], **EXACT)
    np.testing.assert_allclose(whole, 2 * half, **EXACT)
    np.testing.assert_allclose(dy, 2 * dy_half, **EXACT)


# loss: predictions, targets, the mean loss in plain jax.numpy, its gradient by the formula
GRADIENTS = {
    "absolute": (fnn.AbsoluteError(), Z, T, lambda y: abs(y - T).sum() / N, np.sign(Z - T) / N),
    "squared": (fnn.SquaredError(), Z, T, lambda y: ((T - y) ** 2).sum() / N, 2 / N * (Z - T)),
    "half": (fnn.SquaredError(0.5), Z, T, lambda y: ((y - T) ** 2).sum() / 2 / N, (Z - T) / N),
    "binary": (
        fnn.BinaryCrossEntropy(), S, BITS,
        lambda y: -(BITS * jnp.log(y) + (1 - BITS) * jnp.log(1 - y)).sum() / N,
        (-BITS / S + (1 - BITS) / (1 - S)) / N,
    ),
    "binary, logits": (
        fnn.SigmoidBinaryCrossEntropy(), Z, BITS,
        lambda z: -(BITS * jnp.log(1 / (1 + jnp.exp(-z)))
                    + (1 - BITS) * jnp.log(1 - 1 / (1 + jnp.exp(-z)))).sum() / N,
        (S - BITS) / N,
    ),
    "categorical": (
        fnn.CrossEntropy(), P, ROWS, lambda p: -(ROWS * jnp.log(p)).sum() / N, -ROWS / P / N,
    ),
    "categorical, labels": (
        fnn.CrossEntropy(), P, LABELS,
        lambda p: -sum(jnp.log(p[i, k]) for i, k in enumerate(LABELS)) / N, -ROWS / P / N,
    ),
    "categorical, logits": (
        fnn.SoftmaxCrossEntropy(), Z, ROWS,
        lambda z: -(ROWS * jnp.log(jnp.exp(z) / jnp.exp(z).sum(1, keepdims=True))).sum() / N,
        (P - ROWS) / N,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADIENTS)
def test_the_mean_over_samples_divides_every_gradient_by_their_number(name):
    loss, y, target, plain, formula = GRADIENTS[name]
    mean, reference = jax.jit(jax.value_and_grad(plain))(y)
    losses, dy = value_and_dy(loss, y, target)
    assert losses.mean() == pytest.approx(float(mean), rel=1e-12)
    np.testing.assert_allclose(formula, reference, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(dy, reference, rtol=1e-10, atol=1e-14)


def test_an_even_guess_costs_the_logarithm_of_the_number_of_classes():
    for target in (0.0, 1.0):
        losses, _ = value_and_dy(fnn.BinaryCrossEntropy(), np.array([0.5]), np.array([target]))
        np.testing.assert_allclose(losses, [math.log(2)])
    losses, _ = value_and_dy(fnn.CrossEntropy(), np.full((N, K), 1 / K), LABELS)
    np.testing.assert_allclose(losses, np.full(N, math.log(K)), **EXACT)


def test_both_forms_of_the_gradient_of_binary_cross_entropy_agree():
    _, dy = value_and_dy(fnn.BinaryCrossEntropy(), S, BITS)
    np.testing.assert_allclose((-BITS / S + (1 - BITS) / (1 - S)) / N, dy, **EXACT)
    np.testing.assert_allclose((S - BITS) / (S * (1 - S)) / N, dy, rtol=1e-10)


def test_every_line_from_the_probability_to_the_logit_is_the_derivative():
    z, y = Z[:, 0], BITS[:, 0]
    p = S[:, 0]
    assert 0 < y.sum() < N
    lines = [
        (-y / p + (1 - y) / (1 - p)) * p * (1 - p),
        -y * (1 - p) + (1 - y) * p,
        -y + y * p + p - y * p,
        p - y,
    ]
    _, reference = value_and_dy(fnn.SigmoidBinaryCrossEntropy(), z, y)
    for line in lines:
        np.testing.assert_allclose(line / N, reference, rtol=1e-10)


def test_two_classes_cost_what_the_binary_loss_says():
    p, y = S[:, :1], BITS[:, :1]
    pair, _ = value_and_dy(fnn.CrossEntropy(), np.concatenate([1 - p, p], 1), y[:, 0].astype(int))
    binary, _ = value_and_dy(fnn.BinaryCrossEntropy(), p, y)
    np.testing.assert_allclose(pair, binary, **EXACT)


def test_p_minus_y_is_the_softmax_step_of_the_gradient_in_the_probabilities():
    _, g = value_and_dy(fnn.CrossEntropy(), P, ROWS)
    through = P * (g - (g * P).sum(1, keepdims=True))
    np.testing.assert_allclose(through, (P - ROWS) / N, **EXACT)
    np.testing.assert_allclose(
        value_and_dy(fnn.SoftmaxCrossEntropy(), Z, ROWS)[1], through, **EXACT
    )
    by_layers, _ = run(fnn.Softmax(), fnn.CrossEntropy(), (), Z, LABELS)
    fused, _ = run(fnn.Identity(), fnn.SoftmaxCrossEntropy(), (), Z, LABELS)
    assert float(by_layers) == pytest.approx(float(fused), rel=1e-12)


def test_the_stable_forms_are_the_plain_ones_where_those_exist():
    binary = np.maximum(Z, 0) - Z * BITS + np.log1p(np.exp(-abs(Z)))
    plain = -(BITS * np.log(S) + (1 - BITS) * np.log(1 - S))
    np.testing.assert_allclose(binary, plain, **EXACT)
    losses, _ = value_and_dy(fnn.SigmoidBinaryCrossEntropy(), Z, BITS)
    np.testing.assert_allclose(losses, binary.sum(1), **EXACT)
    categorical = np.log(np.exp(Z).sum(1)) - Z[np.arange(N), LABELS]
    np.testing.assert_allclose(categorical, -np.log(P[np.arange(N), LABELS]), **EXACT)
    losses, _ = value_and_dy(fnn.SoftmaxCrossEntropy(), Z, LABELS)
    np.testing.assert_allclose(losses, categorical, **EXACT)
    far = np.array([[1e3], [-1e3]])
    for target, cost in ((np.array([[0.0], [1]]), 1e3), (np.array([[1.0], [0]]), 0)):
        losses, _ = value_and_dy(fnn.SigmoidBinaryCrossEntropy(), far, target)
        np.testing.assert_allclose(losses, [cost, cost], atol=1e-300)
    losses, _ = value_and_dy(fnn.SoftmaxCrossEntropy(), 1e3 * np.eye(2), np.array([0, 0]))
    np.testing.assert_allclose(losses, [0, 1e3], atol=1e-300)
