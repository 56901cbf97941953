"""Tests of fnn.together; what every factor says is tested in test_factors.py."""

import jax.numpy as jnp
import numpy as np
from contract import EXACT, noise

from fnn.factors import Outer, Rows, Sum
from fnn.together import Together, between


def test_the_norm_of_a_table_that_is_the_head_has_the_product_of_both_uses():
    i, e = jnp.array([[1, 1], [0, 3]]), jnp.array([[[2.0], [3.0]], [[5.0], [7.0]]])
    rows, head = Rows(i, e, 3), Outer(jnp.ones((2, 1, 3)), jnp.array([[[4.0]], [[6.0]]]))
    np.testing.assert_array_equal(between(rows, head), [5 * 4, 5 * 6])  # row 3 is outside
    want = [4**2 + 9**2 + 4**2, 11**2 + 6**2 + 6**2]
    np.testing.assert_allclose(Together((rows, head)).square_norms(), want, **EXACT)


def test_other_uses_are_formed_and_summed():
    f, g = Outer(noise(3, 2, 5), noise(3, 2, 4)), Outer(noise(3, 6, 5), noise(3, 6, 4, seed=2))
    both = Together((f, g))
    np.testing.assert_allclose(both.gradient(), f.gradient() + g.gradient(), **EXACT)
    norms = (f.each() + g.each()).reshape(3, -1)
    np.testing.assert_allclose(both.square_norms(), (norms**2).sum(1), **EXACT)
    biases = Together((Sum(jnp.ones((2, 3))), Sum(2 * jnp.ones((2, 5, 3)))))
    np.testing.assert_array_equal(biases.each(), np.full((2, 3), 11.0))
