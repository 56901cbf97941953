"""Tests of fnn.layers.chunked."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.layers.chunked import Sight, attend, attend_back, spans_of


def test_chunks_look_at_no_key_that_none_of_their_rows_may_see():
    def keys(n, chunk, **sight):
        found = spans_of(n, 5, chunk, Sight(**sight))
        return [(at.start, at.stop, to.start, to.stop) for at, to in found]

    assert keys(5, 2, causal=True) == [(0, 2, 0, 2), (2, 4, 0, 4), (4, 5, 0, 5)]
    assert keys(5, 2, causal=False) == [(0, 2, 0, 5), (2, 4, 0, 5), (4, 5, 0, 5)]
    assert keys(5, None, causal=True) == [(0, 5, 0, 5)]
    assert keys(5, 2, causal=True, window=2) == [(0, 2, 0, 2), (2, 4, 1, 4), (4, 5, 3, 5)]
    assert keys(5, 2, window=2) == [(0, 2, 0, 3), (2, 4, 1, 5), (4, 5, 3, 5)]
    assert keys(3, 2) == [(0, 2, 0, 5), (2, 3, 0, 5)]
    assert keys(9, 4, window=1)[-1] == (8, 9, 5, 5)  # nothing is near


@pytest.mark.parametrize("chunk", [2, None])
def test_values_and_gradients_are_those_of_softmax(chunk):
    q, k, v = noise(2, 3, 2, 5, 4), noise(2, 3, 5, 4, seed=2), noise(2, 3, 5, 4, seed=3)

    def plain(q, k, v):
        u = jnp.einsum("bhgtd,bhsd->bhgts", q, k) / 2
        u = jnp.where(jnp.tril(jnp.ones((5, 5), bool)), u, -jnp.inf)
        return jnp.einsum("bhgts,bhsd->bhgtd", jax.nn.softmax(u, -1), v)

    want, vjp = jax.vjp(plain, q, k, v)
    o, m = attend(q, k, v, Sight(True), chunk)
    np.testing.assert_allclose(o, want, rtol=1e-10, atol=1e-12)
    do = noise(*o.shape, seed=4)
    found = attend_back(q, k, v, o, m, do, Sight(True), chunk)
    for a, b in zip(found[:3], vjp(do), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_probabilities_exist_one_chunk_at_a_time():
    def memory(chunk):
        def both(q, k, v, do):
            o, m = attend(q, k, v, Sight(True), chunk)
            return attend_back(q, k, v, o, m, do, Sight(True), chunk)

        q, kv = jnp.ones((2, 4, 1, 256, 8)), jnp.ones((2, 4, 256, 8))
        compiled = jax.jit(both).lower(q, kv, kv, q).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert memory(32) < 0.2 * memory(None)
