"""Tests of fnn.nets.vit."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_net, noise

import fnn
from fnn.nets.vit import vit

KEY = jax.random.key(0)
X = noise(3, 4, 6, 2)
SMALL = (2, 5, 8, 2, 3, 6)


@pytest.mark.slow
def test_the_gradient_is_that_of_jax():
    check_net(vit(*SMALL, patch=2, feed_forward=fnn.GLU(8, 7)), X)


def test_layers_by_default():
    net = vit(*SMALL, patch=2)
    block = fnn.transformer_block(8, 2, causal=False, bias=True)
    assert net == fnn.Serial(
        patches=fnn.Conv2d(2, 8, 2, 2),
        sequence=fnn.Flatten(keep_last=True),
        positions=fnn.Positions(6, 8),
        blocks=fnn.Repeat(3, block),
        norm=fnn.LayerNorm(8),
        pool=fnn.GlobalAvgPool(),
        head=fnn.Dense(8, 5),
    )


def test_number_of_parameters_of_the_source_but_for_the_class_token_and_its_position():
    params = jax.eval_shape(vit(3, 1000, 768, 12, 12, 14 * 14).init, KEY)
    n = sum(a.size for a in jax.tree.leaves(params))
    assert n == 86_567_656 - 768 - 768  # ViT-B/16 of torchvision


@pytest.mark.slow
def test_patches_are_rows_of_the_product_and_their_order_counts_by_position_alone():
    net = vit(*SMALL, patch=2)
    params = net.init(KEY)
    w = params["patches"].w.reshape(8, 8)
    patches = X.reshape(3, 2, 2, 3, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(3, 6, 8)
    begin = fnn.Serial(*list(net.children.values())[:2])
    y, _ = begin.forward((params["patches"], ()), X)
    chex.assert_trees_all_close(y, patches @ w + params["patches"].b, rtol=1e-6, atol=1e-6)
    f = jax.jit(lambda params, x: net.forward(params, x)[0])
    swapped = jnp.concatenate([X[:, 2:], X[:, :2]], 1)  # the two rows of patches
    assert abs(f(params, swapped) - f(params, X)).max() > 1e-4
    nowhere = params | {"positions": jax.tree.map(jnp.zeros_like, params["positions"])}
    np.testing.assert_allclose(f(nowhere, swapped), f(nowhere, X), atol=1e-6)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"patch": 0}, ValueError, "^vit, Conv2d: kernel must"),
        ({"patch": 2.5}, TypeError, "^vit, patch must be an integer, got 2.5"),
        ({"norm": 3}, TypeError, "^vit, transformer_block: norm must be a function"),
        ({"n_heads": 3}, ValueError, "^vit, transformer_block, Attention.*n_heads"),
    ],
    ids=["no patch", "half a pixel", "no norm", "heads"],
)
def test_errors(how, error, message):
    names = ("n_in", "n_out", "n", "n_heads", "n_layers", "n_patches")
    with pytest.raises(error, match=message):
        vit(**dict(zip(names, SMALL, strict=True)) | how)


def test_an_image_of_more_patches_is_refused():
    net = vit(*SMALL, patch=2)
    with pytest.raises(ValueError, match=r"layer positions, .* longer than n_context, 6"):
        jax.eval_shape(net.forward, net.init(KEY), noise(1, 8, 8, 2))
