"""Facts about the models of S1 section 8: their gradients, and what they share."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import noise
from facts.small_nets import close

import fnn

N = 7
X, W = np.asarray(noise(N, 3)), np.asarray(noise(3, 4, seed=2))
Y, BITS = np.asarray(noise(N, seed=3)), np.array([1.0, 0, 0, 1, 1, 0, 1])
LABELS = np.array([2, 0, 1, 3, 1, 1, 0])
ROWS = np.eye(4)[LABELS]
ONE = np.concatenate([X, np.ones((N, 1))], 1)  # the bias absorbed: a feature that is 1
run = jax.jit(fnn.value_and_grad)


def gradient(loss, w, b, target):
    """∂J/∂w with ∂J/∂b as one more row, by fnn."""
    w = np.reshape(w, (3, -1))
    _, grads = run(fnn.Dense(*w.shape), loss, fnn.DenseParams(w, b), X, target)
    return np.concatenate([grads.w, np.asarray(grads.b)[None]])


def test_linear_regression_has_its_gradient_and_the_normal_equations():
    theta = np.asarray(noise(4, seed=5))

    def j(theta):
        return (0.5 * (Y - ONE @ theta) ** 2).sum() / N

    reference = jax.jit(jax.grad(j))
    close(ONE.T @ (ONE @ theta - Y) / N, reference(theta))
    half = fnn.SquaredError(0.5)
    close(gradient(half, theta[:3], theta[3:], Y[:, None])[:, 0], reference(theta))
    best = np.linalg.solve(ONE.T @ ONE, ONE.T @ Y)
    assert np.abs(gradient(half, best[:3], best[3:], Y[:, None])).max() < 1e-13


def test_logistic_regression_has_its_gradient_and_is_convex():
    theta = np.asarray(noise(4, seed=5))

    def j(theta):
        p = 1 / (1 + jnp.exp(-(ONE @ theta)))
        return -(BITS * jnp.log(p) + (1 - BITS) * jnp.log(1 - p)).sum() / N

    p = 1 / (1 + np.exp(-(ONE @ theta)))
    reference = jax.jit(jax.grad(j))(theta)
    close(ONE.T @ (p - BITS) / N, reference)
    loss = fnn.SigmoidBinaryCrossEntropy()
    close(gradient(loss, theta[:3], theta[3:], BITS[:, None])[:, 0], reference)
    hessian = ONE.T @ np.diag(p * (1 - p)) @ ONE / N
    close(hessian, jax.jit(jax.hessian(j))(theta))
    assert np.linalg.eigvalsh(hessian).min() > 0


def test_a_softmax_classifier_has_its_gradient():
    b = np.asarray(noise(4, seed=6))
    theta = np.concatenate([W, b[None]])

    def j(theta):
        e = jnp.exp(ONE @ theta)
        p = e / e.sum(1, keepdims=True)
        return -sum(jnp.log(p[i, k]) for i, k in enumerate(LABELS)) / N

    e = np.exp(ONE @ theta)
    reference = jax.jit(jax.grad(j))(theta)
    close(ONE.T @ (e / e.sum(1, keepdims=True) - ROWS) / N, reference)
    close(gradient(fnn.SoftmaxCrossEntropy(), W, b, LABELS), reference)


def test_two_classes_are_logistic_regression_of_the_difference():
    b, k = np.array([0.3, -0.4]), BITS.astype(int)
    pair = run(fnn.Dense(3, 2), fnn.SoftmaxCrossEntropy(), fnn.DenseParams(W[:, :2], b), X, k)
    difference = fnn.DenseParams(W[:, 1:2] - W[:, :1], b[1:] - b[:1])
    loss = fnn.SigmoidBinaryCrossEntropy()
    single = run(fnn.Dense(3, 1), loss, difference, X, BITS[:, None])
    close(float(pair[0]), float(single[0]))
    close(np.asarray(pair[1].w)[:, 1], np.asarray(single[1].w)[:, 0])
    close(np.asarray(pair[1].w)[:, 0], -np.asarray(single[1].w)[:, 0])


def test_an_mlp_of_one_layer_is_each_of_the_three_models():
    w, b, zero = W[:, :1], np.array([0.3]), np.zeros(4)
    z, p = (X @ w + b)[:, 0], 1 / (1 + np.exp(-(X @ w + b)[:, 0]))
    e = np.exp(X @ W)
    models = (
        (fnn.mlp([3, 1]), fnn.SquaredError(0.5), (w, b), Y[:, None], ((Y - z) ** 2).sum() / 2 / N),
        (
            fnn.mlp([3, 1], output=fnn.Sigmoid()), fnn.BinaryCrossEntropy(), (w, b), BITS[:, None],
            -(BITS * np.log(p) + (1 - BITS) * np.log(1 - p)).sum() / N,
        ),
        (
            fnn.mlp([3, 4], output=fnn.Softmax()), fnn.CrossEntropy(), (W, zero), LABELS,
            -np.log((e / e.sum(1, keepdims=True))[np.arange(N), LABELS]).sum() / N,
        ),
    )  # fmt: skip
    for net, loss, params, target, j in models:
        params = (fnn.DenseParams(*params), ())[: len(net.layers)]
        close(float(run(net, loss, params, X, target)[0]), j)


def test_a_linear_model_decides_at_a_hyperplane():
    w, b = np.array([1.2, -0.7, 0.4]), 0.5
    on_it = X - np.outer(X @ w + b, w) / (w @ w)  # every sample's foot on x w + b = 0
    net, params = fnn.mlp([3, 1], output=fnn.Sigmoid()), fnn.DenseParams(w[:, None], np.array([b]))
    forward = jax.jit(net.forward)
    np.testing.assert_allclose(forward((params, ()), on_it)[0], np.full((N, 1), 0.5), rtol=1e-12)
    p, _ = forward((params, ()), X)
    np.testing.assert_array_equal(np.asarray(p)[:, 0] > 0.5, X @ w + b > 0)
    assert 0 < (X @ w + b > 0).sum() < N
