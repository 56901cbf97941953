"""Tests of fnn.nets.resnet."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_net, noise, some

import fnn
from fnn.layers.parallel import Parallel
from fnn.nets.resnet import convolution, residual_block, resnet

KEY = jax.random.key(0)
X = noise(3, 9, 8, 2)
WAYS = {
    "basic": {"widths": (3, 4), "depths": (2, 3)},
    "bottleneck": {"widths": (3, 4), "depths": (2, 1), "bottleneck": True},
    "groups": {"widths": (4, 6), "depths": (1, 1), "norm": lambda n: fnn.GroupNorm(n, 2)},
}


@pytest.mark.parametrize("way", some(WAYS, 2))
def test_the_gradient_is_that_of_jax(way):
    check_net(resnet(2, 5, **WAYS[way]), X)


def stem(n_in=3):
    begin = fnn.Conv2d(n_in, 64, 7, 2, 3, bias=False)
    return fnn.Serial(begin, fnn.BatchNorm(64), fnn.ReLU(), fnn.MaxPool2d(3, 2, 1))


@pytest.mark.parametrize(
    ("n", "how"),
    [
        (11_689_512, {}),  # ResNet-18, 34 and 50 of torchvision
        (21_797_672, {"depths": (3, 4, 6, 3)}),
        (25_557_032, {"depths": (3, 4, 6, 3), "bottleneck": True}),
    ],
    ids=["18", "34", "50"],
)
def test_number_of_parameters_and_sizes_of_the_source(n, how):
    net = resnet(3, 1000, stem=stem(), **how)
    params = jax.eval_shape(net.init, KEY)
    assert sum(a.size for a in jax.tree.leaves(params)) == n
    x, sizes = jax.ShapeDtypeStruct((1, 224, 224, 3), float), []
    for name, layer in net.children.items():
        x = jax.eval_shape(lambda p, x, f=layer: f.forward(p, x)[0], net.parts(params)[name], x)
        sizes.append(x.shape[1])
    assert sizes[:5] == [56, 56, 28, 14, 7]
    assert x.shape == (1, 1000)


@pytest.mark.slow
def test_a_block_keeps_its_input_where_it_can_and_projects_it_where_it_must():
    same, halved = residual_block(4, 4, 4, 1, fnn.BatchNorm), residual_block(4, 6, 6, 2, norm)
    assert isinstance(same["sum"], fnn.Residual)
    assert isinstance(halved["sum"], Parallel)
    params = jax.tree.map(jnp.zeros_like, same.init(KEY))
    x = noise(3, 5, 7, 4)
    np.testing.assert_array_equal(same.forward(params, x)[0], jnp.maximum(x, 0))
    params = halved.init(KEY)
    around = params["sum"]["around"]
    params["sum"]["body"] = jax.tree.map(jnp.zeros_like, params["sum"]["body"])
    want = x[:, ::2, ::2] @ around["conv"].w[0, 0]
    want, _ = norm(6).forward(around["norm"], want)
    found, _ = halved.forward(params, x)
    chex.assert_trees_all_close(found, jnp.maximum(want, 0), rtol=1e-6, atol=1e-7)


def norm(n):
    return fnn.GroupNorm(n, 2)


def test_names_and_convolutions_without_bias():
    net = resnet(2, 5, widths=(3, 4), depths=(2, 1))
    assert list(net.children) == ["stem", "stage1", "stage2", "pool", "head"]
    assert list(net["stage1"].children) == ["first", "rest"]
    assert list(net["stage2"].children) == ["first"]
    params = jax.eval_shape(net.init, KEY)
    body = params["stage2"]["first"]["sum"]["body"]
    assert sorted(body) == ["conv1", "conv2", "norm1", "norm2"]
    assert body["conv1"].b is None
    assert convolution(3, 4, 3, 2) == fnn.Conv2d(
        3, 4, 3, 2, 1, w_init=fnn.initializers.he_normal, bias=False
    )


@pytest.mark.slow
def test_it_learns_with_running_averages_and_reads_what_it_learned():
    net = resnet(1, 2, widths=(4, 8), depths=(1, 2))
    target = jnp.arange(64) % 2
    stroke = 2 * jnp.where(target == 1, 1.0, 0.0)[:, None, None, None] * jnp.eye(8)[..., None]
    x = noise(64, 8, 8, 1) + stroke
    rule = fnn.rules.backprop, fnn.rules.running_averages(net)
    plan = fnn.Plan(net, fnn.SoftmaxCrossEntropy(), fnn.optim.Adam(1e-2), rule=rule)
    state, _ = fnn.fit(plan, fnn.start(plan, KEY), (x, target), epochs=8, batch_size=16)
    y = fnn.predict(plan, state, x, batch_size=24)
    assert fnn.accuracy(y, target).mean() > 0.95


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"widths": (3, 4), "depths": (1,)}, ValueError, "must have one number per stage"),
        ({"widths": (), "depths": ()}, ValueError, "must have one number per stage"),
        ({"widths": (3,), "depths": (0,)}, ValueError, r"depths must be at least 1, got \[0\]"),
        ({"widths": (0,), "depths": (1,)}, ValueError, "n_in and n_out must be at least 1"),
        ({"norm": 3}, TypeError, "norm must be a function n → layer, got 3"),
    ],
    ids=["other number", "none", "no block", "no channel", "no norm"],
)
def test_errors(how, error, message):
    with pytest.raises(error, match=f"^resnet.*{message}"):
        resnet(2, 5, **how)
