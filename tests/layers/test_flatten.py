"""Tests of fnn.layers.flatten."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.flatten import Flatten


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4)], ids=str)
def test_contract(shape):
    check_layer(Flatten(), noise(*shape))


def test_rows_keep_their_order_and_get_their_shape_back():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    y, cache = Flatten().forward((), x)
    np.testing.assert_array_equal(y, np.arange(12).reshape(2, 6))
    _, dx = Flatten().backward((), cache, y)
    np.testing.assert_array_equal(dx, x)


def test_errors():
    with pytest.raises(ValueError, match=r"Flatten\(\): x must have shape \[B, ...\], got \[3\]"):
        Flatten().forward((), noise(3))
