"""Tests of fnn.evaluation."""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.evaluation import calibrated
from fnn.evaluation import evaluation_form as evaluation_form

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 3))


def test_inverted_dropout_becomes_the_identity_and_standard_dropout_a_scale():
    assert evaluation_form(fnn.Dropout(0.25), ()) == (fnn.Identity(), ())
    assert evaluation_form(fnn.Dropout(0.25, inverted=False), ()) == (fnn.Scale(0.75), ())


def test_factored_logits_become_logits():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Unembed(4, 5))
    params = net.init(KEY)
    h, w = net.forward(params, X)[0]
    evaluated, dense = fnn.inference(net, params)
    chex.assert_trees_all_close(evaluated.forward(dense, X)[0], h @ w, rtol=1e-12)


def test_the_evaluation_net_is_the_net_without_dropout_and_needs_no_key():
    net = fnn.Serial(
        fnn.Dense(3, 3),
        fnn.Repeat(2, fnn.Recompute(fnn.Residual(fnn.Dropout(0.5)))),
        fnn.Tanh(),
    )
    params = net.init(KEY)
    evaluated, same = fnn.inference(net, params)
    chex.assert_trees_all_equal(same, params)
    y, _ = evaluated.forward(same, X)
    chex.assert_trees_all_close(y, jnp.tanh(4 * (X @ params[0].w)), rtol=1e-12)
    assert fnn.inference(evaluated, same)[0] == evaluated


def test_a_net_without_such_layers_stays_as_it_is():
    net = fnn.mlp([3, 4, 2])
    assert fnn.inference(net, net.init(KEY))[0] == net


@dataclass(frozen=True)
class Centred(fnn.Layer[Any, Any]):
    """y = x − mean over the batch + b; at test time the mean is that of a calibration batch."""

    mixes_examples = True

    def init(self, key):
        return {"b": jnp.zeros(3)}

    def forward(self, params, x, *, key=None):
        return x - x.mean(0) + params["b"], x

    def backward(self, params, cache, dy):
        return {"b": dy.sum(0)}, dy - dy.mean(0)


@dataclass(frozen=True)
class Shift(fnn.Layer[Any, Any]):
    """y = x + b."""

    def init(self, key):
        return {"b": jnp.zeros(3)}

    def forward(self, params, x, *, key=None):
        return x + params["b"], ()

    def backward(self, params, cache, dy):
        return {"b": dy.sum(0)}, dy


@calibrated.register(Centred)
def _(layer, params, cache, dy):
    _, dx = layer.backward(params, cache, dy)
    return (Shift(), {"b": params["b"] - cache.mean(0)}), dx


@pytest.mark.parametrize("jit", [False, True])
def test_a_calibration_batch_fixes_what_mixes_examples(jit):
    block = fnn.Serial(Centred(), fnn.Dense(3, 3))
    net = fnn.Serial(fnn.Dense(3, 3), fnn.Repeat(2, fnn.Recompute(block)), fnn.Dropout(0.5))
    params = net.init(KEY)

    def evaluated(params, x):
        frozen, frozen_params = fnn.inference(net, params, x)
        return frozen.forward(frozen_params, x)[0], frozen.forward(frozen_params, x[:1])[0]

    whole, first = (jax.jit(evaluated) if jit else evaluated)(params, X)
    expected, _ = net.with_children((*net.children[:2], fnn.Identity())).forward(params, X)
    chex.assert_trees_all_close(whole, expected, rtol=1e-10, atol=1e-12)
    chex.assert_trees_all_close(first, expected[:1], rtol=1e-10, atol=1e-12)


def test_a_layer_that_mixes_examples_needs_data():
    net = fnn.Serial(fnn.Dense(3, 3), Centred())
    with pytest.raises(
        ValueError, match="inference: .* mixes examples; give a calibration batch x"
    ):
        fnn.inference(net, net.init(KEY))


def test_a_layer_without_a_registered_form_is_named():
    @dataclass(frozen=True)
    class Stranger(fnn.Identity):
        mixes_examples = True

    net = fnn.Serial(fnn.Dense(3, 3), Stranger())
    with pytest.raises(NotImplementedError, match=r"layer 1, .*Stranger\(\): no test-time form"):
        fnn.inference(net, net.init(KEY), X)
