"""Facts about the forward pass."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import drawn

import fnn

EXACT = {"rtol": 1e-12, "atol": 1e-13}
X = np.asarray(noise(7, 5))
forward = jax.jit(lambda net, params, x: net.forward(params, x))


def sigmoid(z):
    return 1 / (1 + math.exp(-z))


def test_a_neuron_is_a_weighted_sum_and_its_activation():
    w, b = np.asarray(noise(5, 1, seed=2)), 0.7
    params = (fnn.DenseParams(w, np.array([b])), ())
    y, _ = forward(fnn.Serial(fnn.Dense(5, 1), fnn.Sigmoid()), params, X)
    by_hand = [sigmoid(sum(w[i, 0] * X[s, i] for i in range(5)) + b) for s in range(7)]
    np.testing.assert_allclose(y[:, 0], by_hand, **EXACT)
    columns = np.concatenate([w, 2 * w, -w], 1)  # one column of a layer is one neuron
    layer, _ = forward(fnn.Dense(5, 3), fnn.DenseParams(columns, np.array([b, 0, 1])), X)
    np.testing.assert_allclose(sigmoid_of(layer[:, 0]), by_hand, **EXACT)


def sigmoid_of(z):
    return 1 / (1 + np.exp(-np.asarray(z)))


def test_a_neuron_of_two_inputs_uses_both():
    w, b, x = np.array([[0.8], [-1.1]]), 0.3, X[:, :2]
    net, params = fnn.mlp([2, 1], output=fnn.Sigmoid()), (fnn.DenseParams(w, np.array([b])), ())
    y, _ = forward(net, params, x)
    by_hand = [sigmoid(x[i, 0] * w[0, 0] + x[i, 1] * w[1, 0] + b) for i in range(7)]
    np.testing.assert_allclose(y[:, 0], by_hand, **EXACT)
    _, grads = jax.jit(fnn.value_and_grad)(net, fnn.SquaredError(), params, x, np.ones((7, 1)))
    assert abs(grads[0].w[1, 0]) > 1e-2


def test_layer_l_takes_the_output_of_layer_l_minus_1_and_the_first_takes_x():
    net = fnn.mlp([5, 4, 3, 2], fnn.Tanh(), fnn.Sigmoid())
    params = drawn(5, 4, 3, 2)
    y, caches = forward(net, params, X)
    np.testing.assert_array_equal(caches[0].x, X)  # A_0 = X
    a = X
    for l, f in ((0, np.tanh), (2, np.tanh), (4, sigmoid_of)):
        np.testing.assert_allclose(caches[l].x, a, **EXACT)
        a = f(a @ params[l].w + params[l].b)
    np.testing.assert_allclose(y, a, **EXACT)  # Ŷ = A_L
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 4\], got \[7, 3\]"):
        net.layers[2].forward(params[2], jnp.ones((7, 3)))  # A_2 in the place of A_1


def test_an_affine_layer_is_its_double_sum_and_linear_in_each_factor():
    w, b = np.asarray(noise(5, 4, seed=2)), np.asarray(noise(4, seed=3))

    def z(x, w, b):
        return np.asarray(forward(fnn.Dense(5, 4), fnn.DenseParams(w, b), x)[0])

    by_sums = [
        [sum(X[s, i] * w[i, j] for i in range(5)) + b[j] for j in range(4)] for s in range(7)
    ]
    np.testing.assert_allclose(z(X, w, b), by_sums, **EXACT)
    other, zero = np.asarray(noise(7, 5, seed=4)), np.zeros(4)
    both = 2 * z(X, w, zero) - z(other, w, zero)
    np.testing.assert_allclose(z(2 * X - other, w, zero), both, **EXACT)
    np.testing.assert_allclose(z(X, 3 * w, zero), 3 * z(X, w, zero), **EXACT)
    np.testing.assert_allclose(z(X, w, 3 * b) - z(X, w, b), np.tile(2 * b, (7, 1)), **EXACT)


def test_one_layer_is_an_affine_map_and_an_activation():
    net = fnn.mlp([5, 3], output=fnn.Tanh())
    params = drawn(5, 3)
    by_hand = np.tanh(X @ params[0].w + params[0].b)
    np.testing.assert_allclose(forward(net, params, X)[0], by_hand, **EXACT)


def test_layers_without_activations_are_one_affine_map():
    net = fnn.mlp([5, 4, 3, 2], fnn.Identity())
    params = drawn(5, 4, 3, 2)[:-1]
    (w1, b1), _, (w2, b2), _, (w3, b3) = params
    w, b = w1 @ w2 @ w3, b1 @ w2 @ w3 + b2 @ w3 + b3
    one, _ = forward(fnn.Dense(5, 2), fnn.DenseParams(w, b), X)
    np.testing.assert_allclose(forward(net, params, X)[0], one, **EXACT)
    bent = fnn.mlp([5, 4, 3, 2], fnn.Tanh())  # with activations it is not
    assert np.abs(np.asarray(forward(bent, params, X)[0]) - one).max() > 0.1
