"""Tests of fnn.layers.spectral_norm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

import fnn
from fnn.layers.spectral_norm import SpectralNorm

KEY = jax.random.key(0)
V = noise(5, 4, seed=3)


@pytest.mark.parametrize(
    ("inner", "shape"),
    [
        pytest.param(fnn.Dense(3, 4), (5, 3), marks=pytest.mark.slow),
        pytest.param(fnn.Conv2d(4, 6, 3, groups=2), (2, 5, 7, 4), marks=pytest.mark.slow),
        pytest.param(fnn.GRU(3, 4), (2, 5, 3), marks=pytest.mark.long),
    ],
)
def test_contract(inner, shape):
    check_layer(SpectralNorm(inner, 2), noise(*shape))


def test_gradients_are_those_of_jax():
    layer, x, dy = SpectralNorm(fnn.Dense(5, 4), 3), noise(2, 5), noise(2, 4, seed=2)

    @jax.jit
    def both(params):
        want = jax.vjp(lambda p: layer.forward(p, x)[0], params)[1](dy)[0]
        return want, layer.backward(params, layer.forward(params, x)[1], dy)[0]

    want, grads = both(fnn.DenseParams(V, jnp.ones(4)))
    np.testing.assert_allclose(grads.w, want.w, rtol=1e-10)


def test_by_hand():
    layer = SpectralNorm(fnn.Dense(2, 1), 1)  # of one output σ is ‖v‖ at once
    params = fnn.DenseParams(jnp.array([[3.0], [4.0]]), jnp.array([1.0]))
    y, cache = layer.forward(params, jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(y, [[0.6 + 1.6 + 1]], rtol=1e-15)
    grads, dx = layer.backward(params, cache, jnp.array([[1.0]]))
    np.testing.assert_allclose(dx, [[0.6, 0.8]], rtol=1e-15)
    np.testing.assert_allclose(grads.w, [[(1 - 1.32) / 5], [(2 - 1.76) / 5]], rtol=1e-12)
    np.testing.assert_array_equal(grads.b, [1])


def weighted(v, steps):
    layer = SpectralNorm(fnn.Dense(*v.shape), steps)
    return layer.weighted(fnn.DenseParams(v, jnp.zeros(v.shape[1]))).w


@pytest.mark.slow
def test_sigma_grows_with_the_steps_to_the_largest_singular_value():
    sigmas = [float((V / weighted(V, n))[0, 0]) for n in (1, 2, 4, 8, 200)]
    assert sigmas == sorted(sigmas)
    np.testing.assert_allclose(sigmas[-1], np.linalg.norm(V, 2), rtol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(weighted(V, 200), 2), 1, rtol=1e-12)


def test_where_it_has_come_there_the_gradient_is_the_source_s():
    """Eq. 12: (dw − (Σ dw w) u₁ v₁ᵀ)/σ."""
    layer, dw = SpectralNorm(fnn.Dense(5, 4), 200), noise(5, 4, seed=4)
    params = fnn.DenseParams(V, jnp.zeros(4))
    found = layer.unweighted(params, fnn.DenseParams(dw, jnp.zeros(4))).w
    u, s, vt = np.linalg.svd(V)
    want = (dw - (dw * V / s[0]).sum() * np.outer(u[:, 0], vt[0])) / s[0]
    np.testing.assert_allclose(found, want, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_v_changes_nothing(size):
    v = V.astype("float32")
    np.testing.assert_allclose(weighted(v * size, 4), weighted(v, 4), rtol=1e-5)


def test_zeros_stay_zeros_and_have_finite_gradients():
    layer = SpectralNorm(fnn.Dense(3, 2))
    params = fnn.DenseParams(jnp.zeros((3, 2)), jnp.ones(2))
    y, cache = layer.forward(params, noise(5, 3))
    np.testing.assert_array_equal(y, 1)
    grads, _ = layer.backward(params, cache, noise(5, 2))
    assert np.isfinite(grads.w).all()


def test_errors():
    with pytest.raises(ValueError, match=r"^SpectralNorm\(.*, steps=0\): steps must be at least 1"):
        SpectralNorm(fnn.Dense(3, 2), 0)
    with pytest.raises(ValueError, match=r"^SpectralNorm\(.*: params.w must have shape \[3, 2\]"):
        SpectralNorm(fnn.Dense(3, 2)).forward(fnn.Dense(2, 2).init(KEY), noise(5, 3))
