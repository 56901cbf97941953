import jax.numpy as jnp
import numpy as np

from fnn.batches import Rows
from fnn.devices.rows import filled


def test_rows_are_filled_up_with_the_first_one_at_weight_0():
    rows = filled(Rows({"x": jnp.arange(6.0).reshape(3, 2)}, jnp.array([5, 6, 7])), 5)
    np.testing.assert_array_equal(rows.x["x"][:, 1], [1, 3, 5, 1, 1])
    np.testing.assert_array_equal(rows.target, [5, 6, 7, 5, 5])
    np.testing.assert_array_equal(rows.weights, [1, 1, 1, 0, 0])


def test_weights_that_are_there_stay():
    rows = filled(Rows(jnp.ones(2), jnp.ones(2), jnp.array([0.5, 2])), 3)
    np.testing.assert_array_equal(rows.weights, [0.5, 2, 0])


def test_rows_that_are_enough_stay_as_they_are():
    rows = Rows(jnp.ones(2), jnp.ones(2))
    assert filled(rows, 2) is rows
