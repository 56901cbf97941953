"""Tests of fnn.several."""

import chex
import jax
import jax.numpy as jnp
from contract import noise

import fnn

KEY = jax.random.key(0)


def test_a_registered_composite_stops_the_recursion_there_beside_other_rules():
    @fnn.rule
    def names(layer, params, cache, dy):
        return jnp.zeros(()), layer.backward(params, cache, dy)[1]

    @names.register(fnn.Residual)
    def _(layer, params, cache, dy):
        return jnp.ones(()), layer.backward(params, cache, dy)[1]

    net = fnn.Serial(fnn.Tanh(), fnn.Residual(fnn.Dense(3, 3)))
    params, x, target = net.init(KEY), noise(5, 3), noise(5, 3, seed=2)
    alone = fnn.fold(net, fnn.SquaredError(), params, x, target)
    done = fnn.fold(net, fnn.SquaredError(), params, x, target, rule=(fnn.rules.backprop, names))
    chex.assert_trees_all_close(done.result, (alone.result, (0.0, 1.0)))
