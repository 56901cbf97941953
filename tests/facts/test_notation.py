"""Facts about the notation: what the letters of the texts stand for in fnn."""

import jax
import numpy as np
import pytest
from contract import noise
from facts.small_nets import drawn

import fnn

SIZES = [5, 4, 3, 2]
NET = fnn.mlp(SIZES, fnn.Tanh(), fnn.Sigmoid())
X = np.asarray(noise(7, 5))
forward = jax.jit(lambda net, params, x: net.forward(params, x)[0])


PARAMS = drawn(*SIZES)
NET_OF_TWO = fnn.mlp([5, 3, 2], fnn.Tanh(), fnn.Sigmoid())


def test_a_network_is_a_pure_function_of_its_parameters_and_its_input():
    y = np.asarray(forward(NET, PARAMS, X))
    np.testing.assert_array_equal(forward(NET, PARAMS, X), y)
    rows = [np.asarray(forward(NET, PARAMS, X[[i]]))[0] for i in range(7)]  # R^5 → R^2
    assert rows[0].shape == (2,)
    np.testing.assert_allclose(y, np.stack(rows), rtol=1e-12)
    moved = jax.tree.map(lambda p: p + 0.1, PARAMS)
    assert np.abs(np.asarray(forward(NET, moved, X)) - y).min() > 1e-6
    assert np.abs(np.asarray(forward(NET, PARAMS, X + 0.1)) - y).min() > 1e-6


def test_a_row_is_a_sample_and_a_mean_does_not_see_their_order():
    run = jax.jit(fnn.value_and_grad)
    target, order = np.asarray(noise(7, 2, seed=3)), [3, 0, 6, 1, 5, 4, 2]
    value, _ = run(NET, fnn.SquaredError(), PARAMS, X, target)
    y = np.asarray(forward(NET, PARAMS, X))
    by_rows = [((y[i] - target[i]) ** 2).sum() for i in range(7)]
    assert value == pytest.approx(sum(by_rows) / 7, rel=1e-12)
    shuffled, _ = run(NET, fnn.SquaredError(), PARAMS, X[order], target[order])
    assert shuffled == pytest.approx(float(value), rel=1e-12)
    one_sided, _ = run(NET, fnn.SquaredError(), PARAMS, X[order], target)
    assert abs(one_sided - value) > 1e-3


def test_weight_ij_links_input_i_to_neuron_j():
    w = np.asarray(noise(3, 4))
    params, unit = fnn.DenseParams(w, np.zeros(4)), np.eye(3)
    z = np.asarray(forward(fnn.Dense(3, 4), params, unit))  # row i is input i alone
    for i in range(3):
        for j in range(4):
            assert z[i, j] == w[i, j]


def test_a_bias_is_added_to_every_row():
    w, b = np.asarray(noise(3, 4)), np.asarray(noise(4, seed=2))
    with_bias = np.asarray(forward(fnn.Dense(3, 4), fnn.DenseParams(w, b), X[:, :3]))
    without = forward(fnn.Dense(3, 4), fnn.DenseParams(w, np.zeros(4)), X[:, :3])
    np.testing.assert_allclose(with_bias - without, np.tile(b, (7, 1)), rtol=1e-12)


def test_a_layer_is_its_affine_map_then_its_activation():
    w, b, x = (np.asarray(a) for a in (noise(5, 4), noise(4, seed=2), X))
    sums = [[sum(x[s, i] * w[i, j] for i in range(5)) for j in range(4)] for s in range(7)]
    z = np.array(sums) + b
    dense = forward(fnn.Dense(5, 4), fnn.DenseParams(w, b), X)
    np.testing.assert_allclose(dense, z, rtol=1e-12)
    for layer, f in ((fnn.Tanh(), np.tanh), (fnn.ReLU(), lambda z: np.where(z > 0, z, 0))):
        np.testing.assert_allclose(forward(layer, (), dense), f(z), rtol=1e-12)


def test_softmax_acts_on_rows_and_not_on_entries():
    z = np.array(noise(7, 4))
    p = np.asarray(forward(fnn.Softmax(), (), z))
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(1, keepdims=True), rtol=1e-12)
    z[2, 0] += 1
    other = np.asarray(forward(fnn.Softmax(), (), z))
    assert np.abs(other[2] - p[2]).min() > 1e-3  # one entry moves its whole row
    np.testing.assert_array_equal(np.delete(other, 2, 0), np.delete(p, 2, 0))


def test_parameters_are_a_matrix_and_a_bias_per_layer():
    leaves = jax.tree.leaves(jax.eval_shape(NET.init, jax.random.key(0)))
    assert [p.shape for p in leaves] == [(5, 4), (4,), (4, 3), (3,), (3, 2), (2,)]
    assert len(leaves) == 2 * (len(SIZES) - 1)
    counted = sum(SIZES[l - 1] * SIZES[l] + SIZES[l] for l in (1, 2, 3))
    assert sum(p.size for p in leaves) == counted == 47


def test_rows_and_columns_are_one_network_transposed():
    params = drawn(5, 3, 2)
    (w1, b1), _, (w2, b2), _ = params
    target = noise(7, 2, seed=3)
    _, rows = jax.jit(fnn.value_and_grad)(NET_OF_TWO, fnn.SquaredError(0.5), params, X, target)
    w1, b1, w2, b2, x, y = (np.asarray(a).T for a in (w1, b1, w2, b2, X, target))
    a1 = np.tanh(w1 @ x + b1[:, None])  # one column per sample from here on
    a2 = 1 / (1 + np.exp(-(w2 @ a1 + b2[:, None])))
    d2 = (a2 - y) / 7 * a2 * (1 - a2)
    d1 = (w2.T @ d2) * (1 - a1**2)
    np.testing.assert_allclose(forward(NET_OF_TWO, params, X), a2.T, rtol=1e-12)
    for grads, d, a in ((rows[0], d1, x), (rows[2], d2, a1)):
        np.testing.assert_allclose(grads.w, (d @ a.T).T, rtol=1e-10)
        np.testing.assert_allclose(grads.b, d.sum(1), rtol=1e-10)


def test_the_shapes_of_a_hidden_delta_admit_the_elementwise_product_only():
    w, delta, z = np.asarray(noise(2, 3)), np.asarray(noise(2, 7)), np.asarray(noise(3, 7))
    derivative = 1 - np.tanh(z) ** 2  # columns, as printed: [n_l, N]
    back = w.T @ delta
    assert back.shape == derivative.shape == (3, 7)
    with pytest.raises(ValueError, match="mismatch"):
        back @ derivative
    by_entry = [[back[i, j] * derivative[i, j] for j in range(7)] for i in range(3)]
    ours = jax.jit(lambda z, dy: fnn.Tanh().backward((), fnn.Tanh().forward((), z)[1], dy)[1])
    np.testing.assert_allclose(ours(z, back), by_entry, rtol=1e-12)
