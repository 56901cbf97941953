"""Tests of fnn.layers.tiling."""

import itertools

import jax
import numpy as np
import pytest
from contract import noise

from fnn.layers.tiling import scatter_window_entries, window_entry
from fnn.layers.windows import windows

SHAPES = {  # (kernel, stride, padding)
    "side by side": ((2, 3), (2, 3), "valid"),
    "overlapping": ((3, 2), (1, 1), "same"),
    "apart": ((1, 2), (3, 2), "valid"),
    "padded": ((3, 4), (2, 3), 1),
}


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES.values(), ids=SHAPES)
def test_scattering_is_the_transpose_of_reading(kernel, stride, padding):
    x = noise(2, 7, 8, 3)
    along = windows("here", (7, 8), kernel, stride, (1, 1), padding)
    places = list(itertools.product(*map(range, kernel)))

    def read(x):
        return [window_entry(x, along, place, 0) for place in places]

    entries = [noise(*e.shape, seed=i) for i, e in enumerate(read(x))]
    ours = scatter_window_entries(zip(places, entries, strict=True), along)
    np.testing.assert_allclose(ours, jax.vjp(read, x)[1](entries)[0], rtol=1e-12)


def test_an_entry_by_hand():
    along = windows("here", (3, 3), (2, 2), (1, 1), (1, 1), ((1, 0), (0, 0)))
    x = np.arange(9.0).reshape(1, 3, 3, 1)
    first = window_entry(x, along, (0, 1), -1.0)[0, :, :, 0]
    np.testing.assert_array_equal(first, [[-1, -1], [1, 2], [4, 5]])
