"""Tests of fnn.layers.unembed."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.driver import fold
from fnn.evaluation import inference
from fnn.initializers import he_normal
from fnn.layers.dense import Dense
from fnn.layers.serial import Serial
from fnn.layers.unembed import Unembed, UnembedParams
from fnn.logits import Logits
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.rules.per_example import example_norms, total
from fnn.ruling import backprop

KEY = jax.random.key(0)


@pytest.mark.parametrize("batch", [(7,), (2, 5), (2, 1, 6)], ids=str)
def test_contract(batch):
    check_layer(Unembed(3, 4), noise(*batch, 3))


def test_by_hand():
    layer, params = Unembed(2, 3), UnembedParams(jnp.array([[1.0, 2, 3], [4, 5, 6]]))
    x = jnp.array([[1.0, 1.0], [2.0, 0.0]])
    y, cache = layer.forward(params, x)
    assert (y.h is x, y.w is params.w) == (True, True)
    assert y.shape == (2, 3)
    np.testing.assert_array_equal(y.whole(), [[5, 7, 9], [2, 4, 6]])
    dh, dw = jnp.array([[0.5, 1], [2, 3]]), jnp.array([[1.0, 0, 2], [0, 3, 0]])
    grads, dx = layer.backward(params, cache, Logits(dh, dw))
    assert (dx is dh, grads.w is dw) == (True, True)


def test_nothing_is_multiplied():
    layer = Unembed(3, 4)
    program = jax.make_jaxpr(layer.forward)(layer.init(KEY), noise(7, 3))
    assert not program.eqns


def test_initial_weights_are_drawn_by_w_init():
    params = Unembed(3, 4, he_normal).init(KEY)
    chex.assert_trees_all_equal(params, UnembedParams(he_normal(KEY, 3, 4)))
    w = Unembed(300, 200).init(KEY).w
    assert np.var(w) == pytest.approx(2 / (300 + 200), rel=0.02)


def test_at_test_time_it_is_a_dense_layer_whose_y_are_the_logits():
    layer, x = Unembed(3, 4), noise(2, 5, 3)
    params = layer.init(KEY)
    dense, dense_params = inference(layer, params)
    assert isinstance(dense, Dense)
    y, _ = dense.forward(dense_params, x)
    np.testing.assert_allclose(y, x @ params.w, rtol=1e-12)
    assert dense_params.w is params.w
    assert dense_params.b is None


@pytest.mark.parametrize("beside", [False, True])
def test_norms_of_examples_are_those_of_each_alone(beside):
    net, x, loss = Serial(Dense(3, 5), Unembed(5, 4)), noise(7, 2, 3), LinearSoftmaxCrossEntropy()
    params, labels = net.init(KEY), jnp.arange(14).reshape(7, 2) % 4
    rule = (backprop, example_norms) if beside else example_norms
    result = fold(net, loss, params, x, labels, rule=rule).result
    grads, norms = result if beside else (None, result)
    for b in range(7):
        one = fold(net, loss, params, x[b : b + 1], labels[b : b + 1]).result
        want = sum((g**2).sum() for g in jax.tree.leaves(one))
        np.testing.assert_allclose(total(norms)[b], want, rtol=1e-10)
    if beside:
        want = fold(net, loss, params, x, labels).result
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), grads, want)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (jnp.zeros((5, 4)), ValueError, r"x must have shape \[B, ..., 3\], got \[5, 4\]\.$"),
        (jnp.zeros(3), ValueError, r"got \[3\]; one example is x\[None, :\]\.$"),
        (jnp.zeros((5, 3), int), TypeError, r"must be floating, got int64; convert it with x\."),
    ],
    ids=["width", "rank 1", "int"],
)
def test_wrong_input_is_refused(x, error, message):
    layer = Unembed(3, 2)
    with pytest.raises(error, match=r"^Unembed\(n_in=3, n_vocab=2\): .*" + message):
        layer.forward(layer.init(KEY), x)


def test_wrong_params_are_refused():
    with pytest.raises(ValueError, match=r"params\.w must have shape \[3, 2\], got \[2, 3\]"):
        Unembed(3, 2).forward(Unembed(2, 3).init(KEY), jnp.zeros((5, 3)))
    with pytest.raises(TypeError, match="key must be a typed key"):
        Unembed(3, 2).init(0)


@pytest.mark.parametrize("sizes", [(0, 2), (3, 1), (3, 0)], ids=str)
def test_impossible_size_is_rejected_when_built(sizes):
    with pytest.raises(ValueError, match="n_in must be at least 1 and n_vocab at least 2"):
        Unembed(*sizes)
