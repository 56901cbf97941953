"""Tests of fnn.sides."""

import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

from fnn.sides import Hot, Vectors, side_by_side

W = jnp.array([[0.5, 2.0, 0.0, 1.0], [0.0, 0.0, 3.0, 0.1], [1.0, 1.0, 1.0, 1.0]])
I = jnp.array([[1, 4, 1, 0], [2, 2, 2, 2], [9, 3, 4, -1]])  # 9 and −1 are outside


@pytest.mark.parametrize("side", [Vectors(noise(3, 4, 5)), Hot(I, 6)], ids=["vectors", "hot"])
def test_every_sum_is_that_of_its_vectors(side):
    a = side.vectors()
    assert a.shape == side.shape
    np.testing.assert_allclose(side.gram(W), jnp.einsum("bt,btn,btm->nm", W, a, a), **EXACT)
    np.testing.assert_allclose(side.squares(W), jnp.einsum("bt,btn->n", W, a**2), **EXACT)
    np.testing.assert_allclose(side.sums(W), jnp.einsum("bt,btn->bn", W, a), **EXACT)
    np.testing.assert_allclose(side.total(W), jnp.einsum("bt,btn->n", W, a), **EXACT)
    q = noise(side.shape[2], 7, seed=3)
    np.testing.assert_allclose(side.turned(q), a @ q, **EXACT)
    np.testing.assert_array_equal(side.there(), (a != 0).any(-1))


def test_what_weighs_0_is_left_out_whatever_stands_there():
    side, broken = (
        Vectors(noise(3, 4, 5)),
        Vectors(jnp.where(W[..., None] == 0, jnp.nan, noise(3, 4, 5))),
    )
    np.testing.assert_array_equal(broken.gram(W), side.gram(W))
    np.testing.assert_array_equal(broken.squares(W), side.squares(W))
    np.testing.assert_array_equal(broken.sums(W), side.sums(W))


def test_sides_of_one_kind_stand_in_a_row():
    a, b = Vectors(noise(3, 4, 5)), Vectors(noise(3, 4, 2, seed=2))
    assert side_by_side([a, b], 2).shape == (3, 4, 7)
    assert side_by_side([a, a], 1).shape == (3, 8, 5)
    assert side_by_side([Hot(I, 6), Hot(I, 6)], 1).shape == (3, 8, 6)
    assert side_by_side([Hot(I, 6), Hot(I, 7)], 1) is None
    assert side_by_side([Hot(I, 6), a], 2) is None
    assert side_by_side([a], 2) is a
