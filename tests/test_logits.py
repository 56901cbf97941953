"""Tests of fnn.logits."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.logits import Logits, check_factors, whole

Y = Logits(noise(2, 5, 3), noise(3, 7, seed=2))


def test_by_hand():
    y = Logits(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 0.0, 3.0], [0.0, 1.0, 1.0]]))
    np.testing.assert_array_equal(y.whole(), [[1, 2, 5]])
    dy = y.backward(jnp.array([[1.0, 10.0, 100.0]]))
    np.testing.assert_array_equal(dy.h, [[301, 110]])
    np.testing.assert_array_equal(dy.w, [[1, 10, 100], [2, 20, 200]])


def test_backward_is_that_of_jax():
    dz = noise(2, 5, 7, seed=3)
    (want,) = jax.vjp(Logits.whole, Y)[1](dz)
    chex.assert_trees_all_close(Y.backward(dz), want, **EXACT)


def test_a_row_whose_dz_is_0_is_left_out_even_where_h_is_nan():
    dz = noise(2, 5, 7, seed=3).at[0, 1].set(0)
    broken = Logits(Y.h.at[0, 1].set(jnp.nan), Y.w)
    chex.assert_trees_all_close(broken.backward(dz), Y.backward(dz), **EXACT)


def test_it_speaks_for_the_whole():
    assert (Y.shape, Y.ndim, Y.dtype) == (Y.whole().shape, 3, "float64")
    assert Y.shape == (2, 5, 7)


def test_it_is_a_pytree_and_no_tuple():
    h, w = jax.tree.leaves(Y)
    assert (h is Y.h, w is Y.w) == (True, True)
    assert isinstance(jax.jit(lambda y: y)(Y), Logits)
    with pytest.raises(TypeError, match="unsupported operand"):
        Y + Y
    with pytest.raises(TypeError, match="cannot unpack"):
        h, w = Y


def test_whole_leaves_an_array_as_it_is():
    np.testing.assert_array_equal(whole(Y), Y.h @ Y.w)
    assert whole(Y.h) is Y.h


def test_half_precision_is_multiplied_out_in_single_precision():
    y = jax.tree.map(lambda a: a.astype("bfloat16"), Y)
    z = y.whole()
    exact = y.h.astype(float) @ y.w.astype(float)
    assert z.dtype == "float32"
    np.testing.assert_allclose(z, exact, rtol=1e-5, atol=1e-6)
    dy = y.backward(jnp.ones((2, 5, 7), "float32"))
    assert (dy.h.dtype, dy.w.dtype) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        (Logits(Y.h, Y.w.T), ValueError, r"h \[B, \.\.\., n\] and w \[n, V\], got \[2, 5, 3\] and"),
        (Logits(Y.h[0, 0], Y.w), ValueError, r"got \[3\] and \[3, 7\]\.$"),
        (Logits(Y.h, Y.w[None]), ValueError, r"got \[2, 5, 3\] and \[1, 3, 7\]\.$"),
        (Logits(Y.h.astype(int), Y.w), TypeError, "h must be floating, got int64"),
        (Logits(Y.h, [[1.0]]), TypeError, "w must be an array, got list"),
    ],
    ids=["transposed", "one example", "rank 3", "integers", "list"],
)
def test_factors_that_do_not_fit_are_refused(y, error, message):
    with pytest.raises(error, match=r"^f: .*" + message):
        check_factors("f", y)
    check_factors("f", Y)


def test_a_row_with_some_dz_of_0_is_not_left_out():
    y, dz = fnn.logits.Logits(noise(2, 5, 3), noise(3, 7, seed=2)), noise(2, 5, 7, seed=3)
    dz = dz.at[..., 0].set(0)
    (want,) = jax.vjp(type(y).whole, y)[1](dz)
    chex.assert_trees_all_close(y.backward(dz), want, rtol=1e-10, atol=1e-12)
