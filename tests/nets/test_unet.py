"""Tests of fnn.nets.unet."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_net, noise

import fnn
from fnn.nets.unet import twice, unet

KEY = jax.random.key(0)
X = noise(2, 8, 4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("norm", [None, lambda n: fnn.GroupNorm(n, 2)], ids=["plain", "groups"])
def test_the_gradient_is_that_of_jax(norm):
    check_net(unet(3, 5, widths=(4, 6, 8), norm=norm), X)


def test_number_of_parameters_of_the_source():
    params = jax.eval_shape(unet(1, 1).init, KEY)
    assert sum(a.size for a in jax.tree.leaves(params)) == 31_030_593


def test_layers_of_two_levels():
    net = unet(3, 5, widths=(4, 6))
    inside = fnn.Serial(
        pool=fnn.MaxPool2d(2), level=twice(4, 6, None), up=fnn.ConvTranspose2d(6, 4, 2, 2)
    )
    body = fnn.Serial(down=twice(3, 4, None), around=fnn.Skip(inside), up=twice(8, 4, None))
    assert net == fnn.Serial(body=body, head=fnn.Conv2d(4, 5, 1))
    assert list(twice(3, 4, fnn.BatchNorm).children) == [
        "conv1", "norm1", "activation1", "conv2", "norm2", "activation2",
    ]  # fmt: skip
    assert twice(3, 4, fnn.BatchNorm)["conv2"].bias is False


def seen_by(net, params, x):
    """The pixels of x on which pixel (0, 0) of y depends."""
    dy = jnp.zeros((*x.shape[:-1], 1)).at[:, 0, 0].set(1.0)
    _, dx = net.backward(params, net.forward(params, x)[1], dy)
    return np.asarray(jnp.abs(dx).max((0, -1)) > 0)


@pytest.mark.slow
def test_what_is_far_away_comes_through_the_coarser_levels_and_what_is_near_goes_around_them():
    net, x = unet(3, 1, widths=(4, 6, 8)), noise(2, 32, 32, 3)
    params = jax.tree.map(lambda p: p + 0.1, net.init(KEY))  # no unit is dead
    assert seen_by(net, params, x)[:20, :20].all()
    up = params["body"]["around"]["up"]
    params["body"]["around"]["up"] = jax.tree.map(jnp.zeros_like, up)
    near = seen_by(net, params, x)
    assert near[:5, :5].all()  # four convolutions of 3 × 3
    assert near.sum() == 25


def shaped(net, x):
    return jax.eval_shape(lambda key: net.forward(net.init(key), x)[0], KEY)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: unet(3, 5, widths=()), ValueError, r"^unet: widths must have one .*, got \(\)"),
        (lambda: unet(3, 5, widths=(4, 0)), ValueError, "^unet, Conv2d.*must be at least 1"),
        (lambda: unet(3, 5, norm=3), TypeError, "^unet: norm must be a function n → layer, or Non"),
        (
            lambda: shaped(unet(3, 5, widths=(4, 6)), X[:, 1:]),
            ValueError,
            r"Skip: inner\(x\) must have shape .*pad, crop or resize",
        ),
    ],
    ids=["no level", "no channel", "no norm", "odd"],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
