"""Tests of fnn.layers.scale."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.scale import Scale


def test_contract():
    check_layer(Scale(0.3), noise(5, 3))


def test_forward_and_backward_by_hand():
    y, cache = Scale(0.5).forward((), jnp.array([[2.0, -6.0]]))
    _, dx = Scale(0.5).backward((), cache, jnp.array([[1.0, 3.0]]))
    np.testing.assert_array_equal(y, [[1, -3]])
    np.testing.assert_array_equal(dx, [[0.5, 1.5]])


def test_numpy_factor_does_not_lend_its_dtype():
    y, _ = Scale(np.float64(0.5)).forward((), jnp.ones((2, 3), "bfloat16"))
    assert y.dtype == "bfloat16"


def test_factor_that_is_not_finite_is_rejected():
    with pytest.raises(ValueError, match="Scale: factor must be finite, got nan"):
        Scale(float("nan"))


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"^Scale\(factor=0.5\): x must be floating, got int64"):
        Scale(0.5).forward((), jnp.zeros((2, 3), int))
