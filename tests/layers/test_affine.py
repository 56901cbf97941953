"""Tests of fnn.layers.affine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.affine import Affine, AffineParams


@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)], ids=str)
def test_contract(shape):
    check_layer(Affine(3), noise(*shape))


def test_by_hand():
    params = AffineParams(jnp.array([2.0, 3.0]), jnp.array([1.0, -1.0]))
    y, cache = Affine(2).forward(params, jnp.array([[1.0, 2.0], [4.0, 0.0]]))
    np.testing.assert_array_equal(y, [[3, 5], [9, -1]])
    grads, dx = Affine(2).backward(params, cache, jnp.array([[1.0, 10.0], [2.0, 20.0]]))
    np.testing.assert_array_equal(grads.scale, [1 + 8, 20])
    np.testing.assert_array_equal(grads.b, [3, 30])
    np.testing.assert_array_equal(dx, [[2, 30], [4, 60]])


def test_it_begins_as_the_identity():
    x = noise(5, 3)
    np.testing.assert_array_equal(Affine(3).forward(Affine(3).init(jax.random.key(0)), x)[0], x)


def test_errors():
    with pytest.raises(ValueError, match=r"Affine\(n=0\): n must be at least 1"):
        Affine(0)
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[2, 4\]"):
        Affine(3).forward(Affine(3).init(jax.random.key(0)), noise(2, 4))
