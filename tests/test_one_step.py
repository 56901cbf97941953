"""Tests of fnn.one_step."""

import chex
import jax
import jax.numpy as jnp
from training import KEY, LOSS, NET, PARAMS, TARGET, X, plan, value_and_grad

import fnn


def test_a_step_is_gradient_then_update():
    sgd = plan(fnn.optim.SGD(0.5))
    state, row = fnn.step(sgd, fnn.start(sgd, None, PARAMS), (X, TARGET))
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)
    chex.assert_trees_all_close(row["loss"], loss, rtol=1e-10)
    assert state.step == 1


def test_dropout_draws_another_mask_in_every_step():
    net = fnn.Serial(fnn.Dropout(0.5), fnn.Dense(8, 1))
    params = (), fnn.DenseParams(w=jnp.zeros((8, 1)), b=jnp.zeros(1))
    x, target = jnp.ones((2, 8)), jnp.ones((2, 1))
    dropping = plan(fnn.optim.SGD(1.0), net, fnn.SquaredError())
    state, masks = fnn.start(dropping, KEY, params), []
    for _ in range(3):
        after, _ = fnn.step(dropping, state, (x, target))
        masks.append(tuple((after.params[1].w != 0).ravel().tolist()))
        state = after._replace(params=params)
    assert len(set(masks)) == 3
