import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.case import draw, labels
from benchmarks.precision.nets import TASKS, WAYS, Task, error, errors, name, precision

NET = fnn.Serial(fnn.Dense(5, 4), fnn.Repeat(2, fnn.Residual(fnn.Dense(4, 4))))


def task():
    x, target = draw(7, 5), labels(7, classes=4)
    return Task("small", NET, fnn.SoftmaxCrossEntropy(), x, target)


@pytest.mark.long
def test_bfloat16_is_further_from_float64_than_float32():
    found = {e.way: e for e in errors(task())}
    assert tuple(found) == WAYS
    for way, low, high in (("float32", 1e-9, 1e-6), ("bfloat16", 1e-4, 5e-2)):
        for e in (found[way], found[f"{way}, autodiff"]):
            assert low < e.gradient < high
            assert e.gradient <= e.worst
            assert e.loss < high


def test_errors_are_relative_and_the_worst_array_is_named():
    grads = NET.init(jax.random.key(0))
    grads = jax.tree.map(lambda p: np.ones(p.shape), grads)
    off = (grads[0]._replace(b=1.5 * grads[0].b), grads[1])
    found = error(task(), "by hand", (2.2, off), (2.0, grads))
    n = sum(p.size for p in jax.tree.leaves(grads))
    assert found.loss == pytest.approx(0.1)
    assert found.gradient == pytest.approx((4 * 0.5**2 / n) ** 0.5)
    assert found.worst == pytest.approx(0.5)
    assert found.leaf == "params.0.b of Dense"


def test_an_array_is_named_by_its_layer():
    paths = jax.tree_util.tree_flatten_with_path(NET.init(jax.random.key(0)))[0]
    assert name(NET, paths[-1][0]) == "params.1.b of Dense"
    net = fnn.Serial(fnn.LSTM(3, 2), fnn.Repeat(2, fnn.LayerNorm(2)))
    names = [name(net, path) for path, _ in
             jax.tree_util.tree_flatten_with_path(net.init(jax.random.key(0)))[0]]  # fmt: skip
    assert names[0] == "params.0.wx of LSTM"
    assert names[-1] == "params.1.b of LayerNorm"


@pytest.mark.long
def test_quickly_it_is_one_net():
    assert len({e.net for e in precision(quick=True)}) == 1
    assert len(TASKS) == 3
    assert jnp.zeros(2).dtype == jnp.float64  # as the tests have it
