"""Tests of fnn.by_example."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

from fnn.by_example import (
    by_row,
    combined,
    in_turn,
    lengths,
    scaled,
    selected,
    square_sum,
    steps,
)

C = jnp.array([2.0, 0.0, -1.0])
A = noise(3, 4, 2, 5)


def test_rows_are_examples_and_all_places_between_are_steps():
    assert by_row(C, A).shape == (3, 1, 1, 1)
    assert steps(A).shape == (3, 8, 5)
    np.testing.assert_allclose(lengths(A), np.linalg.norm(A.reshape(3, 8, 5), axis=-1), **EXACT)
    np.testing.assert_allclose(square_sum(A), (A.reshape(3, -1) ** 2).sum(1), **EXACT)


@pytest.mark.parametrize("total", [combined, in_turn])
def test_sums_are_weighed_by_example(total):
    np.testing.assert_allclose(total(C, A), 2 * A[0] - A[2], **EXACT)
    assert total(C.astype("bfloat16"), A.astype("bfloat16")).dtype == jnp.float32


def test_what_has_the_factor_0_is_left_out():
    broken = A.at[1].set(jnp.nan)
    np.testing.assert_allclose(in_turn(C, broken), 2 * A[0] - A[2], **EXACT)
    np.testing.assert_array_equal(scaled(C, broken)[1], 0)
    np.testing.assert_array_equal(selected(C, broken)[1], 0)
    np.testing.assert_array_equal(selected(C, broken)[::2], A[::2])
