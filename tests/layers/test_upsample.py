"""Tests of fnn.layers.upsample."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.upsample import Upsample

CASES = [
    (Upsample(2), (2, 5, 3)),
    (Upsample(3), (2, 4, 5, 3)),
    (Upsample(3, linear=True), (2, 5, 4)),
    (Upsample(2, linear=True), (2, 4, 5, 3)),
]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


X = jnp.array([4.0, 8.0, 0.0]).reshape(1, 3, 1)
DY = jnp.array([1.0, 10.0, 100.0, 1e3, 1e4, 1e5]).reshape(1, 6, 1)


@pytest.mark.parametrize(
    ("linear", "y", "dx"),
    [
        (False, [4, 4, 8, 8, 0, 0], [11, 1100, 11e4]),
        (
            True,  # at −¼, ¼, ¾, 5/4, 7/4 and 9/4 between 0, 1 and 2, at the ends x[0] and x[2]
            [4, 5, 7, 6, 2, 0],
            [1 + 7.5 + 25, 2.5 + 75 + 750 + 2500, 250 + 7500 + 1e5],
        ),
    ],
    ids=["nearest", "linear"],
)
def test_by_hand(linear, y, dx):
    layer = Upsample(2, linear)
    found, cache = layer.forward((), X)
    np.testing.assert_array_equal(found[0, :, 0], y)
    np.testing.assert_array_equal(layer.backward((), cache, DY)[1][0, :, 0], dx)


@pytest.mark.parametrize("linear", [False, True], ids=["nearest", "linear"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_it_is_what_jax_makes_of_an_image(factor, linear):
    x = noise(2, 1, 5, 3)
    want = (2, factor, 5 * factor, 3)

    def resized(x):
        return jax.image.resize(x, want, "linear" if linear else "nearest")

    y, vjp = jax.vjp(resized, x)
    ours, cache = Upsample(factor, linear).forward((), x)
    np.testing.assert_allclose(ours, y, rtol=1e-12, atol=1e-14)
    dy = noise(*want, seed=2)
    _, dx = Upsample(factor, linear).backward((), cache, dy)
    np.testing.assert_allclose(dx, vjp(dy)[0], rtol=1e-12, atol=1e-14)


def test_a_straight_line_stays_one_between_the_middles_and_a_constant_everywhere():
    line = jnp.arange(5.0).reshape(1, 5, 1)
    y, _ = Upsample(3, linear=True).forward((), line)
    np.testing.assert_allclose(y[0, 1:-1, 0], np.arange(13) / 3, atol=1e-14)
    y, _ = Upsample(3, linear=True).forward((), jnp.ones((1, 4, 2, 1)))
    np.testing.assert_allclose(y, 1, rtol=1e-15)


def test_half_precision_sums_in_single_precision():
    dy = jnp.ones((1, 300, 1), "bfloat16")  # 256 + 1 is 256 in bfloat16
    _, dx = Upsample(300).backward((), (), dy)
    assert (float(dx[0, 0, 0]), dx.dtype) == (300, "bfloat16")


def test_errors():
    with pytest.raises(ValueError, match=r"^Upsample\(factor=0, linear=False\): factor must be at"):
        Upsample(0)
    with pytest.raises(TypeError, match=r"^Upsample: factor must be an integer, got 1.5"):
        Upsample(1.5)
    for shape in ((5, 3), (2, 0, 3)):
        with pytest.raises(ValueError, match=r"x must have shape \[B, ..., C\], got \["):
            Upsample(2).forward((), noise(*shape))
    with pytest.raises(TypeError, match=r"^Upsample\(.*\): x must be floating, got int64"):
        Upsample(2).forward((), jnp.ones((2, 4, 3), int))
