"""Tests of fnn.layers.distances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.layers.distances import (
    alibi,
    by_distance,
    by_head,
    diagonals,
    gathered,
    over_diagonals,
    places,
)

SHAPES = [(1, 1), (1, 4), (4, 1), (3, 5), (5, 3)]


def test_slopes_are_those_of_the_source():
    np.testing.assert_allclose(alibi(8), [2.0**-i for i in range(1, 9)])
    np.testing.assert_allclose(alibi(3), [2**-4, 2**-8, 2**-2])


@pytest.mark.parametrize(("n_rows", "n_keys"), SHAPES)
@pytest.mark.parametrize("ahead", [0, 2, -1])
def test_a_part_has_the_numbers_of_its_distances(n_rows, n_keys, ahead):
    length = 8
    a = noise(2, 2 * length - 1)
    found = by_distance(a[:, diagonals(ahead, n_rows, n_keys, length)], n_rows, n_keys)
    delta = ahead + np.arange(n_rows)[:, None] - np.arange(n_keys)
    np.testing.assert_array_equal(found, a[:, delta + length - 1])


@pytest.mark.parametrize(("n_rows", "n_keys"), SHAPES)
def test_the_sums_over_diagonals_are_the_transpose(n_rows, n_keys):
    du = noise(2, n_rows, n_keys)
    vjp = jax.vjp(lambda a: by_distance(a, n_rows, n_keys), noise(2, n_rows + n_keys))[1]
    np.testing.assert_allclose(over_diagonals(du), vjp(du)[0], rtol=1e-12)


def test_what_is_further_counts_as_the_furthest():
    assert places(2, 4).tolist() == [0, 0, 0, 1, 2, 2, 2]
    r = jnp.array([[1.0, 2.0, 4.0]])
    assert by_head(False, r, 1, 3, "float64").tolist() == [[1, 1, 2, 4, 4]]
    assert by_head(True, None, 1, 2, "float64").tolist() == [[-(2.0**-8), 0, -(2.0**-8)]]
    assert by_head(False, None, 1, 2, "float64") is None
    da = jnp.array([[[[1.0, 2, 4, 8, 16]]], [[[0, 0, 1, 0, 0]]]])
    assert gathered(da, 2, 1).tolist() == [[[3, 4, 24]], [[0, 1, 0]]]
