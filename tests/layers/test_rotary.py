"""Tests of fnn.layers.rotary."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import noise

from fnn.layers.rotary import rotate


def test_by_hand():
    a = jnp.array([[1.0, 2.0, 3.0, 4.0]] * 3)
    b = rotate(a, 100.0)
    np.testing.assert_array_equal(b[0], a[0])
    c, s = np.cos([2.0, 0.2]), np.sin([2.0, 0.2])  # t = 2: 2 · 100^0 and 2 · 100^(−1/2)
    want = [1 * c[0] - 3 * s[0], 2 * c[1] - 4 * s[1], 1 * s[0] + 3 * c[0], 2 * s[1] + 4 * c[1]]
    np.testing.assert_allclose(b[2], want, rtol=1e-12)


def test_turning_back_is_the_transposed_derivative_and_the_inverse():
    a, db = noise(2, 5, 6), noise(2, 5, 6, seed=2)
    _, vjp = jax.vjp(lambda a: rotate(a, 50.0), a)
    np.testing.assert_allclose(rotate(db, 50.0, back=True), vjp(db)[0], rtol=1e-12)
    np.testing.assert_allclose(rotate(rotate(a, 50.0), 50.0, back=True), a, rtol=1e-12)


def test_products_depend_on_the_distance_alone():
    q, k = (jnp.tile(noise(1, 4, seed=s), (9, 1)) for s in (1, 2))
    products = rotate(q, 10.0) @ rotate(k, 10.0).T
    for distance in range(-8, 9):
        diagonal = jnp.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=1e-12)


def test_angles_are_not_rounded_to_the_dtype_of_a():
    a = jnp.ones((1000, 2), jnp.bfloat16)
    want = np.cos(999.0) - np.sin(999.0)
    np.testing.assert_allclose(np.float64(rotate(a, 1e4)[999, 0]), want, rtol=4e-3)
