"""Tests of fnn.layers.reparametrized."""

import chex
import jax
import numpy as np
import pytest
from contract import noise

import fnn

KEY = jax.random.key(0)
KINDS = pytest.mark.parametrize("kind", [fnn.WeightNorm, fnn.SpectralNorm])


@pytest.mark.parametrize(
    "kind", [fnn.WeightNorm, pytest.param(fnn.SpectralNorm, marks=pytest.mark.slow)]
)
def test_rules_see_one_layer_and_inference_gives_the_inner_one(kind):
    net, x, target = fnn.Serial(kind(fnn.Dense(3, 2))), noise(5, 3), noise(5, 2, seed=2)
    params, loss = net.init(KEY), fnn.SquaredError()
    rules = (fnn.rules.deltas, fnn.rules.example_norms)
    (deltas,), norms = fnn.fold(net, loss, params, x, target, rule=rules).result
    assert deltas.shape == (5, 2)
    for b in range(5):
        one = fnn.value_and_grad(net, loss, params, x[b : b + 1], target[b : b + 1])[1]
        want = sum((g**2).sum() for g in jax.tree.leaves(one))
        np.testing.assert_allclose(norms[0][b], want, rtol=1e-12)
    evaluated, made = fnn.inference(net, params)
    assert evaluated == fnn.Serial(fnn.Dense(3, 2))
    chex.assert_trees_all_close(evaluated.forward(made, x)[0], net.forward(params, x)[0])


@KINDS
def test_errors(kind):
    name = kind.__name__
    with pytest.raises(TypeError, match=f"^{name} takes layers, got .*; build it: Dense"):
        kind(fnn.Dense)
    with pytest.raises(
        TypeError, match=f"^{name} takes one layer with weights, got Serial; put it"
    ):
        kind(fnn.Serial(fnn.Dense(3, 2)))
    with pytest.raises(TypeError, match=rf"^{name}\(inner=PReLU.*\): inner must have weights, whi"):
        kind(fnn.PReLU()).init(KEY)
