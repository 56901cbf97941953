"""Tests of fnn.layers.pad."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.conv import Conv1d
from fnn.layers.pad import Pad

CASES = [
    (Pad(2), (2, 3, 5)),
    (Pad(((1, 2), (0, 3)), "edge"), (2, 4, 5, 3)),
    (Pad(((1, 2), (0, 3)), "reflect"), (2, 3, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


X = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1)
DY = jnp.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]).reshape(1, 6, 1)


@pytest.mark.parametrize(
    ("mode", "y", "dx"),
    [
        ("zeros", [0, 0, 1, 2, 3, 0], [100, 1e3, 1e4]),
        ("edge", [1, 1, 1, 2, 3, 3], [111, 1e3, 11e4]),
        ("reflect", [3, 2, 1, 2, 3, 2], [100, 10 + 1e3 + 1e5, 1 + 1e4]),
    ],
)
def test_by_hand(mode, y, dx):
    layer = Pad(((2, 1),), mode)
    found, cache = layer.forward((), X)
    np.testing.assert_array_equal(found[0, :, 0], y)
    np.testing.assert_array_equal(layer.backward((), cache, DY)[1][0, :, 0], dx)


def test_a_convolution_behind_it_is_one_that_pads():
    x, params = noise(2, 7, 3), Conv1d(3, 4, 3).init(jax.random.key(0))
    y, _ = Conv1d(3, 4, 3, padding=((2, 1),)).forward(params, x)
    padded, _ = Pad(((2, 1),)).forward((), x)
    np.testing.assert_allclose(Conv1d(3, 4, 3).forward(params, padded)[0], y, rtol=1e-12)


@pytest.mark.parametrize("mode", Pad.modes)
def test_nothing_around_is_nothing(mode):
    x = noise(2, 1, 3)
    y, cache = Pad(0, mode).forward((), x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(Pad(0, mode).backward((), cache, x)[1], x)


def test_half_precision_sums_the_rims_in_single_precision():
    dy = jnp.ones((1, 301, 1), "bfloat16")  # 256 + 1 is 256 in bfloat16
    _, dx = Pad(((300, 0),), "edge").backward((), (), dy)
    assert (float(dx[0, 0, 0]), dx.dtype) == (300, "bfloat16")  # 301, rounded once


@pytest.mark.parametrize(
    "padding", [-1, True, "same", (), (1, 2), ((1, 2, 3),), 1.5, None], ids=str
)
def test_padding_of_another_form_is_refused(padding):
    message = r"^Pad: padding must be a number of at least 0 or pairs of such \(low, high\), got "
    with pytest.raises(ValueError, match=message):
        Pad(padding)


def test_errors():
    with pytest.raises(ValueError, match=r"^Pad: mode must be one of \['zeros', .*got 'wrap'\.$"):
        Pad(1, "wrap")
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., C\], got \[5, 3\]\.$"):
        Pad(1).forward((), noise(5, 3))
    with pytest.raises(ValueError, match=r"x must have shape \[B, 1 axes, C\], got \[2, 5, 4, 3\]"):
        Pad(((1, 1),)).forward((), noise(2, 5, 4, 3))
    message = r"axis 1 of x has 3 entries, fewer than the 4 of which 'reflect' makes 3 more; use"
    with pytest.raises(ValueError, match=message):
        Pad(3, "reflect").forward((), noise(2, 3, 5))
    with pytest.raises(
        ValueError, match="axis 1 of x has 0 entries, fewer than the 1 of which 'edge'"
    ):
        Pad(3, "edge").forward((), noise(2, 0, 5))
