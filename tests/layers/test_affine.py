"""Tests of fnn.layers.affine."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.affine import Affine, AffineParams, Centered, CenteredParams

BOTH = pytest.mark.parametrize("layer", [Affine(3), Centered(3)], ids=str)


@BOTH
@pytest.mark.parametrize("shape", [(5, 3), (2, 4, 3)], ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


def test_by_hand():
    params = AffineParams(jnp.array([2.0, 3.0]), jnp.array([1.0, -1.0]))
    y, cache = Affine(2).forward(params, jnp.array([[1.0, 2.0], [4.0, 0.0]]))
    np.testing.assert_array_equal(y, [[3, 5], [9, -1]])
    grads, dx = Affine(2).backward(params, cache, jnp.array([[1.0, 10.0], [2.0, 20.0]]))
    np.testing.assert_array_equal(grads.scale, [1 + 8, 20])
    np.testing.assert_array_equal(grads.b, [3, 30])
    np.testing.assert_array_equal(dx, [[2, 30], [4, 60]])


def test_centered_by_hand():
    params = CenteredParams(jnp.array([1.0]), jnp.array([2.0]), jnp.array([0.5]))
    y, cache = Centered(1).forward(params, jnp.array([[4.0], [0.0]]))
    np.testing.assert_array_equal(y, [[6.5], [-1.5]])
    grads, dx = Centered(1).backward(params, cache, jnp.array([[1.0], [10.0]]))
    assert (grads.center, grads.scale, grads.b) == (-22, 3 - 10, 11)
    np.testing.assert_array_equal(dx, [[2], [20]])


def test_in_bfloat16_centered_subtracts_before_it_rounds():
    params = CenteredParams(jnp.array([1000.0]), jnp.array([1.0]), jnp.array([0.0]))
    x = jnp.array([[1008.0]], "bfloat16")
    y, _ = Centered(1).forward(jax.tree.map(lambda p: p.astype("bfloat16"), params), x)
    assert (y[0, 0], y.dtype) == (8, "bfloat16")


@BOTH
def test_it_begins_as_the_identity(layer):
    x = noise(5, 3)
    np.testing.assert_array_equal(layer.forward(layer.init(jax.random.key(0)), x)[0], x)


@BOTH
def test_errors(layer):
    name = type(layer).__name__
    with pytest.raises(ValueError, match=rf"{name}\(n=0\): n must be at least 1"):
        type(layer)(0)
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[2, 4\]"):
        layer.forward(layer.init(jax.random.key(0)), noise(2, 4))
