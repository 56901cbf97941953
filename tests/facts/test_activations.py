"""Facts about the activations that their own tests do not show."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.layers.softmax import SoftmaxCache

EXACT = {"rtol": 1e-12, "atol": 1e-14}
Z = np.concatenate([np.linspace(-40, 40, 161), np.asarray(noise(40))])
XOR = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
LABELS = np.array([[0.0], [1], [1], [0]])


@jax.jit
def f_and_df(layer, z):
    y, cache = layer.forward((), z)
    return y, layer.backward((), cache, jnp.ones_like(z))[1]


def values(layer, z):
    """f and f′ at z, in numpy."""
    return tuple(np.asarray(a) for a in f_and_df(layer, np.asarray(z, float)))


def test_an_affine_model_of_xor_stays_at_log_2_and_two_rectifiers_are_xor():
    zero = fnn.DenseParams(np.zeros((2, 1)), np.zeros(1))
    run = jax.jit(fnn.value_and_grad)
    loss, grads = run(fnn.Dense(2, 1), fnn.SigmoidBinaryCrossEntropy(), zero, XOR, LABELS)
    assert float(loss) == pytest.approx(math.log(2))
    assert not np.asarray(grads.w).any()  # at rest, and the loss is convex: this is the least
    assert not np.asarray(grads.b).any()
    for w in np.asarray(noise(20, 3)):
        other = fnn.DenseParams(w[:2, None], w[2:])
        worse, _ = run(fnn.Dense(2, 1), fnn.SigmoidBinaryCrossEntropy(), other, XOR, LABELS)
        assert float(worse) > float(loss)
    first = fnn.DenseParams(np.ones((2, 2)), np.array([0.0, -1]))
    second = fnn.DenseParams(np.array([[1.0], [-2]]), np.zeros(1))
    y, _ = jax.jit(fnn.mlp([2, 2, 1]).forward)((first, (), second), XOR)
    np.testing.assert_array_equal(y, LABELS)


def test_the_sigmoid_is_between_0_and_1_and_symmetric():
    y, _ = values(fnn.Sigmoid(), Z)
    mirrored, _ = values(fnn.Sigmoid(), -Z)
    np.testing.assert_allclose(mirrored, 1 - y, rtol=0, atol=1e-15)
    inside = abs(Z) < 30
    assert ((y[inside] > 0) & (y[inside] < 1)).all()
    branches = [1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z)) for z in Z]
    np.testing.assert_allclose(y, branches, **EXACT)
    extreme, _ = values(fnn.Sigmoid(), [-1e6, 1e6])
    np.testing.assert_array_equal(extreme, [0, 1])


def test_every_line_of_the_sigmoid_derivation_is_its_derivative():
    z = np.asarray(noise(9)) * 3
    e = np.exp(-z)
    s = 1 / (1 + e)
    lines = [
        (1 + e) ** -2 * e,
        1 / (1 + e) * (e / (1 + e)),
        1 / (1 + e) * (((1 + e) - 1) / (1 + e)),
        1 / (1 + e) * ((1 + e) / (1 + e) - 1 / (1 + e)),
        s * (1 - s),
    ]
    reference = jax.jit(jax.vmap(jax.grad(lambda z: 1 / (1 + jnp.exp(-z)))))(z)
    for line in (*lines, values(fnn.Sigmoid(), z)[1]):
        np.testing.assert_allclose(line, reference, **EXACT)


def test_the_derivative_of_the_sigmoid_is_at_most_a_quarter_and_decays():
    _, df = values(fnn.Sigmoid(), Z)
    assert (df <= 0.25).all()
    near = abs(Z) < 12  # y (1 − y) cancels beyond
    assert (df[near] <= np.exp(-abs(Z[near]))).all()
    assert values(fnn.Sigmoid(), [0.0])[1] == 0.25  # attained at 0
    far = values(fnn.Sigmoid(), [-20.0])[1]
    assert far == pytest.approx(math.exp(-20), rel=1e-8)  # and the second bound far out


def test_tanh_is_odd_between_minus_1_and_1_and_saturates():
    y, df = values(fnn.Tanh(), Z)
    np.testing.assert_array_equal(values(fnn.Tanh(), -Z)[0], -y)
    assert (abs(y) <= 1).all()
    assert (abs(y[abs(Z) < 15]) < 1).all()
    near = abs(Z) < 5
    plus, minus = np.exp(Z[near]), np.exp(-Z[near])
    np.testing.assert_allclose(y[near], (plus - minus) / (plus + minus), **EXACT)
    assert (df[near] <= 4 * np.exp(-2 * abs(Z[near]))).all()
    assert values(fnn.Tanh(), [8.0])[1] == pytest.approx(4 * math.exp(-16), rel=1e-6)
    assert abs(y.mean()) < 0.1 < 0.4 < values(fnn.Sigmoid(), Z)[0].mean() < 0.6


def test_a_rectifier_is_non_negative_idempotent_and_positively_homogeneous():
    y, _ = values(fnn.ReLU(), Z)
    np.testing.assert_array_equal(y, [z if z > 0 else 0 for z in Z])
    assert (y >= 0).all()
    np.testing.assert_array_equal(values(fnn.ReLU(), y)[0], y)
    np.testing.assert_array_equal(values(fnn.ReLU(), 4 * Z)[0], 4 * y)
    assert (values(fnn.ReLU(), -4 * Z)[0] != -4 * y).any()  # positively only


def test_at_their_kinks_relu_and_leaky_relu_take_the_slope_from_the_left():
    for layer, slope in ((fnn.ReLU(), 0.0), (fnn.LeakyReLU(0.3), 0.3)):
        split = jax.jit(jax.grad(lambda z, s=slope: jnp.where(z > 0, z, s * z)))
        highest = jax.jit(jax.grad(lambda z, s=slope: jnp.maximum(s * z, z)))
        assert values(layer, [0.0])[1] == split(0.0) == slope
        assert highest(0.0) == pytest.approx((1 + slope) / 2)  # another subgradient
        for z in (-0.5, 0.5):
            assert values(layer, [z])[1] == split(z) == highest(z) == (1 if z > 0 else slope)


def test_half_of_symmetric_inputs_are_cut_and_the_others_pass_undiminished():
    z = np.asarray(noise(50, 40))  # 0 ± noise: one of z and −z is cut
    y, df = values(fnn.ReLU(), z)
    mirrored, _ = values(fnn.ReLU(), -z)
    np.testing.assert_array_equal((y == 0) ^ (mirrored == 0), True)
    assert abs((y == 0).mean() - 0.5) < 4 * 0.5 / z.size**0.5
    np.testing.assert_array_equal(df[z > 0], 1)
    np.testing.assert_array_equal(values(fnn.ReLU(), [1.0, 1e3, 1e9])[1], 1)  # no saturation


def test_leaky_relu_is_a_maximum_for_slopes_up_to_one_only():
    for slope in (0.01, 0.3, 1.0):
        y, _ = values(fnn.LeakyReLU(slope), Z)
        np.testing.assert_array_equal(y, np.maximum(slope * Z, Z))
        np.testing.assert_array_equal(y, np.where(Z > 0, Z, slope * Z))
    steep = np.maximum(1.5 * Z, Z)  # here the maximum is another function
    assert (steep != np.where(Z > 0, Z, 1.5 * Z)).all(where=Z != 0)


def test_the_jacobian_of_softmax_is_symmetric_semidefinite_and_sums_to_zero():
    z = np.asarray(noise(5))
    jacobian = jax.jit(jax.jacobian(lambda z: jnp.exp(z) / jnp.exp(z).sum()))(z)
    p = np.exp(z) / np.exp(z).sum()
    by_entry = [[p[k] * ((j == k) - p[j]) for j in range(5)] for k in range(5)]
    np.testing.assert_allclose(by_entry, jacobian, **EXACT)
    np.testing.assert_allclose(np.diag(p) - np.outer(p, p), jacobian, **EXACT)
    np.testing.assert_allclose(by_entry, np.transpose(by_entry), **EXACT)
    np.testing.assert_allclose(np.sum(by_entry, 1), np.zeros(5), atol=1e-15)
    assert np.linalg.eigvalsh(by_entry).min() > -1e-15
    cache = SoftmaxCache(np.tile(p, (5, 1)))
    _, rows = jax.jit(fnn.Softmax().backward)((), cache, np.eye(5))  # row k: what e_k sends back
    np.testing.assert_allclose(rows, by_entry, **EXACT)
