"""Tests of fnn.rules.cotangents."""

import chex
import jax
import jax.numpy as jnp

import fnn

NET = fnn.Serial(
    fnn.Dense(3, 4),
    fnn.Tanh(),
    fnn.Repeat(2, fnn.Residual(fnn.Dense(4, 4))),
    fnn.Dense(4, 2),
)
LOSS = fnn.SquaredError()


def problem():
    params = NET.init(jax.random.key(0))
    return params, jax.random.normal(jax.random.key(1), (5, 3)), jnp.ones((5, 2))


def test_a_delta_is_the_derivative_in_an_offset_of_the_layers_output():
    params, x, target = problem()
    deltas = fnn.fold(NET, LOSS, params, x, target, rule=fnn.rules.deltas).result

    def loss(first, second, last):
        z = NET[0].forward(params[0], x)[0] + first
        y = jnp.tanh(z)
        for i in range(2):
            p = jax.tree.map(lambda a, i=i: a[i], params[2])
            y = y + (y @ p.w + p.b + second[i])
        return LOSS.forward(y @ params[3].w + params[3].b + last, target)[0].mean()

    zeros = jnp.zeros((5, 4)), jnp.zeros((2, 5, 4)), jnp.zeros((5, 2))
    expected = jax.grad(loss, argnums=(0, 1, 2))(*zeros)
    chex.assert_trees_all_close((deltas[0], deltas[2], deltas[3]), expected, rtol=1e-10)


def test_the_last_delta_of_a_softmax_classifier_is_p_minus_t():
    net, loss = fnn.Dense(3, 4), fnn.SoftmaxCrossEntropy()
    params, x, _ = net.init(jax.random.key(0)), *problem()[1:]
    labels = jnp.array([0, 1, 2, 3, 0])
    delta = fnn.fold(net, loss, params, x, labels, rule=fnn.rules.deltas).result
    p = jax.nn.softmax(x @ params.w + params.b)
    chex.assert_trees_all_close(delta, (p - jax.nn.one_hot(labels, 4)) / 5, rtol=1e-10)


def test_deltas_that_nobody_reads_cost_nothing():
    params, x, target = problem()
    backprop, deltas = fnn.rules.backprop, fnn.rules.deltas

    def flops(*rules):
        def run(params):
            return fnn.fold(NET, LOSS, params, x, target, rule=rules).result[0]

        return jax.jit(run).lower(params).compile().cost_analysis()["flops"]

    assert flops(backprop, deltas) == flops(backprop)


def test_under_one_pass_with_backprop_they_are_the_same():
    params, x, target = problem()
    rules = fnn.rules.backprop, fnn.rules.deltas
    grads, deltas = fnn.fold(NET, LOSS, params, x, target, rule=rules).result
    alone = fnn.fold(NET, LOSS, params, x, target, rule=fnn.rules.deltas).result
    chex.assert_trees_all_equal(deltas, alone)
    chex.assert_trees_all_close(grads[3].b, deltas[3].sum(0), rtol=1e-12)
