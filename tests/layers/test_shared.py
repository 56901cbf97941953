"""Tests of fnn.layers.shared."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.embedding import Embedding, EmbeddingParams
from fnn.layers.shared import Shared, Use, Uses, fits, same, transposed, ways, whole

KEY = jax.random.key(0)
AGAIN = Use(Dense(4, 3, bias=False), "down", "up", transposed, transposed)
DENSE = Shared(Dense(3, 4), (Use(Dense(3, 4), "up", "up", same, same), AGAIN))


def test_the_gradient_is_the_sum_over_all_uses():
    params = DenseParams(noise(3, 4), noise(4, seed=2))
    x = Uses((noise(5, 3, seed=3), noise(5, 4, seed=4)))
    (y, z), cache = (lambda y, c: (y.each, c))(*DENSE.forward(params, x))
    np.testing.assert_allclose(y, x.each[0] @ params.w + params.b, rtol=1e-12)
    np.testing.assert_allclose(z, x.each[1] @ params.w.T, rtol=1e-12)
    dy = Uses((noise(5, 4, seed=5), noise(5, 3, seed=6)))
    found = DENSE.backward(params, cache, dy)
    want = jax.vjp(lambda p, x: DENSE.forward(p, x)[0], params, x)[1](dy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), found, want)


def test_by_hand():
    one = Dense(1, 1, bias=False)
    uses = Use(one, "a", "a", same, same), Use(one, "b", "a", transposed, transposed)
    layer, params = Shared(one, uses), DenseParams(jnp.array([[2.0]]), None)
    y, cache = layer.forward(params, Uses((jnp.array([[3.0]]), jnp.array([[5.0]]))))
    assert y.each == (6, 10)
    grads, dx = layer.backward(params, cache, Uses((jnp.array([[10.0]]), jnp.array([[1.0]]))))
    assert (grads.w, dx.each) == (30 + 5, (20, 2))


def test_what_says_nothing_of_a_parameter_gives_it_0():
    params = DenseParams(noise(3, 4), noise(4, seed=2))
    head = Shared(Dense(3, 4), (AGAIN,))
    _, cache = head.forward(params, Uses((noise(5, 4),)))
    grads, _ = head.backward(params, cache, Uses((noise(5, 3, seed=2),)))
    np.testing.assert_array_equal(grads.b, np.zeros(4))
    np.testing.assert_allclose(grads.w, noise(5, 3, seed=2).T @ noise(5, 4), rtol=1e-12)
    half = DenseParams(params.w.astype("bfloat16"), params.b)
    assert whole(DenseParams(params.w, None), half).w.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("first", "other", "n"),
    [
        (Embedding(7, 4), fnn.Unembed(4, 7), 1),
        (Embedding(7, 4), Dense(4, 7, bias=False), 1),
        (Embedding(7, 4), Dense(4, 7), 0),
        (Embedding(7, 4), fnn.Unembed(7, 4), 0),
        (Embedding(7, 4), Embedding(7, 4), 1),
        (Dense(3, 4), Dense(3, 4), 1),
        (Dense(3, 4), Dense(4, 3, bias=False), 1),
        (Dense(3, 4), Dense(4, 3), 0),
        (Dense(3, 3), Dense(3, 3, bias=False), 1),
        (Dense(3, 3, bias=False), Dense(3, 3, bias=False), 2),
        (fnn.Conv1d(3, 4, 2), fnn.Conv1d(3, 4, 2, stride=2), 1),
        (fnn.PReLU(3), fnn.PReLU(4), 0),
        (fnn.Tanh(), Dense(3, 4), 0),
    ],
    ids=str,
)
def test_ways_are_known_by_the_types_and_the_shapes(first, other, n):
    found = ways(first, other)
    assert len(found) == n
    params = first.init(KEY)
    for share, back in found:
        grads = back(share(params))
        jax.tree.map(np.testing.assert_array_equal, whole(grads, params), whole(grads, params))
        assert jax.tree.map(jnp.shape, share(params)) == jax.tree.map(jnp.shape, other.init(KEY))


def test_a_way_of_ones_own_must_fit():
    first, other = Embedding(7, 4), Dense(4, 7)

    def share(p):
        return DenseParams(2 * p.table.T, jnp.zeros(7))

    def back(g):
        return EmbeddingParams(2 * g.w.T)

    assert fits(first, other, share, back)
    assert not fits(first, other, share, lambda g: EmbeddingParams(g.w))
    assert not fits(first, Dense(4, 7, bias=False), share, back)
