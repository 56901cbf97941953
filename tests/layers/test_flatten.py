"""Tests of fnn.layers.flatten."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.flatten import Flatten


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 4)], ids=str)
def test_contract(shape):
    check_layer(Flatten(), noise(*shape))


@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 5, 4)], ids=str)
def test_contract_of_positions(shape):
    check_layer(Flatten(keep_last=True), noise(*shape))


def test_positions_are_those_of_the_rows_one_after_another():
    x = jnp.arange(24.0).reshape(2, 2, 3, 2)
    y, cache = Flatten(keep_last=True).forward((), x)
    np.testing.assert_array_equal(y, np.arange(24).reshape(2, 6, 2))
    np.testing.assert_array_equal(y[1, 4], x[1, 1, 1])
    np.testing.assert_array_equal(Flatten(keep_last=True).backward((), cache, y)[1], x)
    one, _ = Flatten(keep_last=True).forward((), x[:, 0, 0])
    assert one.shape == (2, 1, 2)
    assert repr(Flatten()) == "Flatten()"


def test_rows_keep_their_order_and_get_their_shape_back():
    x = jnp.arange(12.0).reshape(2, 3, 2)
    y, cache = Flatten().forward((), x)
    np.testing.assert_array_equal(y, np.arange(12).reshape(2, 6))
    _, dx = Flatten().backward((), cache, y)
    np.testing.assert_array_equal(dx, x)


def test_errors():
    with pytest.raises(ValueError, match=r"Flatten\(\): x must have shape \[B, ...\], got \[3\]"):
        Flatten().forward((), noise(3))
