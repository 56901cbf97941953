"""Tests of fnn.layers.seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

from fnn.layers.seen import Seen, patch_products
from fnn.layers.windows import windows

CASES = {  # shape, kernel, stride, dilation, padding
    "image": ((7, 6), (3, 2), (1, 1), (1, 1), "same"),
    "dilated, padded": ((7, 6), (3, 2), (1, 2), (2, 1), ((1, 2), (0, 1))),
    "sequence": ((9,), (3,), (1,), (2,), "same"),
    "stride": ((9, 5), (2, 2), (2, 1), (1, 1), "same"),
    "wide window": ((3,), (5,), (1,), (1,), ((2, 2),)),
    "one row": ((7, 6), (1, 2), (1, 1), (1, 1), "valid"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_sum_is_that_of_its_windows_in_a_loop(name):
    shape, *how = CASES[name]
    along, x = windows("x", shape, *how), noise(5, *shape, 3)
    side, w = Seen(x, along), jnp.arange(5.0)
    padded = np.pad(x, [(0, 0), *((a.low, a.high) for a in along), (0, 0)])
    rows = []
    for i in np.ndindex(*(a.n_out for a in along)):
        entries = []
        for k in np.ndindex(*(a.size for a in along)):
            at = tuple(i * a.stride + k * a.dilation for i, k, a in zip(i, k, along, strict=True))
            entries.append(padded[:, *at])
        rows.append(np.concatenate(entries, -1))
    a = np.stack(rows, 1)
    each = jnp.broadcast_to(w[:, None], a.shape[:2])

    @jax.jit
    def found(side):
        products = patch_products(side.x, side.windows)
        return side.vectors(), side.gram(each), side.total(each), products

    vectors, gram, total, products = found(side)
    assert side.shape == a.shape
    np.testing.assert_array_equal(vectors, a)
    np.testing.assert_allclose(gram, np.einsum("b,btn,btm->nm", w, a, a), **EXACT)
    np.testing.assert_allclose(products, np.einsum("btn,bsn->bts", a, a), **EXACT)
    np.testing.assert_allclose(total, np.einsum("b,btn->n", w, a), **EXACT)
