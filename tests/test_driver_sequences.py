"""Tests of fnn.driver: sequences, their memory and states, and what rules begin with."""

import chex
import jax
import jax.numpy as jnp
from contract import MASK, Look, noise

import fnn
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_a_row_with_some_predictions_of_weight_zero_keeps_its_inputs():
    net, loss = fnn.RNN(3, 4), fnn.SquaredError()
    params, x, target = net.init(KEY), noise(2, 5, 3), noise(2, 5, 4, seed=2)
    weights = jnp.ones((2, 5)).at[0, 1].set(0)

    def mean(params):
        losses = ((net.forward(params, x)[0] - target) ** 2).sum(-1)
        return (weights * losses).sum() / 9

    found = fnn.value_and_grad(net, loss, params, x, target, weights=weights)
    chex.assert_trees_all_close(found, jax.value_and_grad(mean)(params), rtol=1e-10)


def test_dx_of_a_memory_is_its_gradient():
    net, x, memory = fnn.Serial(fnn.Dense(3, 3), Look()), noise(2, 5, 3), noise(2, 3, seed=2)
    params, target = net.init(KEY), noise(2, 5, 3, seed=3)
    done = fnn.fold(net, fnn.SquaredError(), params, Sequence(x, memory=memory), target)

    def of_memory(memory):
        y, _ = net.forward(params, Sequence(x, memory=memory))
        return ((y.x - target) ** 2).sum(-1).mean()

    chex.assert_trees_all_close(done.dx.memory, jax.grad(of_memory)(memory), rtol=1e-10)


def test_the_memory_of_a_row_of_weight_zero_may_hold_anything():
    net, x, memory = fnn.Serial(fnn.Dense(3, 3), Look()), noise(2, 5, 3), noise(2, 3, seed=2)
    params, target, weights = net.init(KEY), noise(2, 5, 3, seed=3), jnp.array([1.0, 0.0])
    found, want = (
        fnn.value_and_grad(
            net, fnn.SquaredError(), params, Sequence(x, memory=m), target, weights=weights
        )
        for m in (memory.at[1].set(jnp.nan), memory)
    )
    chex.assert_trees_all_equal(found, want)


def test_weights_of_rows_leave_the_stacked_states_of_copies_alone():
    net, loss = fnn.Repeat(2, fnn.RNN(3, 3)), fnn.SquaredError()
    params, target = net.init(KEY), noise(2, 5, 3, seed=2)
    x, state = noise(2, 5, 3), (noise(2, 2, 3, seed=3),)  # copies, rows: as many
    weights = jnp.array([1.0, 0.0])
    found = fnn.value_and_grad(net, loss, params, Sequence(x, None, state), target, weights=weights)
    alone = Sequence(x[:1], None, (state[0][:, :1],))
    want = fnn.value_and_grad(net, loss, params, alone, target[:1])
    chex.assert_trees_all_close(found, want, rtol=1e-10)


@fnn.rule(companion=True, begin=lambda y, target, dy: y)
def begun(layer, params, cache, dy, own, seen):
    """What begin saw."""
    return seen, layer.backward(params, cache, dy)[1]


def test_begin_sees_y_in_its_own_form():
    net = fnn.RNN(3, 4)
    params, x = net.init(KEY), Sequence(noise(2, 5, 3), MASK)
    rule = begun.given(params)
    done = fnn.fold(net, fnn.SquaredError(), params, x, noise(2, 5, 4), rule=rule)
    chex.assert_trees_all_equal(done.result, done.y)


def test_a_companion_that_does_not_learn_comes_back_as_it_was():
    net = fnn.Dense(3, 4)
    params, x, target = net.init(KEY), noise(5, 3), noise(5, 4, seed=2)
    rule = begun.given(params)
    done = fnn.fold(net, fnn.SquaredError(), params, x, target, rule=rule)
    chex.assert_trees_all_equal(done.companion, params)
    done = fnn.fold(net, fnn.SquaredError(), params, x, target, rule=(fnn.rules.backprop, rule))
    chex.assert_trees_all_equal(done.companion, (None, params))
