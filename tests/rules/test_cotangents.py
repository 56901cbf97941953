"""Tests of fnn.rules.deltas."""

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
    _, deltas = fnn.value_and_grad(NET, LOSS, params, x, target, rule=fnn.rules.deltas)

    def loss(first, second, last):
        z = NET.layers[0].forward(params[0], x)[0] + first
        y = jnp.tanh(z)
        for i in range(2):
            p = jax.tree.map(lambda a, i=i: a[i], params[2][0][0])
            y = y + (y @ p.w + p.b + second[i])
        return LOSS.forward(y @ params[3].w + params[3].b + last, target)[0].mean()

    zeros = jnp.zeros((5, 4)), jnp.zeros((2, 5, 4)), jnp.zeros((5, 2))
    expected = jax.grad(loss, argnums=(0, 1, 2))(*zeros)
    chex.assert_trees_all_close((deltas[0], deltas[2][0][0], deltas[3]), expected, rtol=1e-10)


def test_the_last_delta_of_a_softmax_classifier_is_p_minus_t():
    net, loss = fnn.Dense(3, 4), fnn.SoftmaxCrossEntropy()
    params, x, _ = net.init(jax.random.key(0)), *problem()[1:]
    labels = jnp.array([0, 1, 2, 3, 0])
    _, delta = fnn.value_and_grad(net, loss, params, x, labels, rule=fnn.rules.deltas)
    p = jax.nn.softmax(x @ params.w + params.b)
    chex.assert_trees_all_close(delta, (p - jax.nn.one_hot(labels, 4)) / 5, rtol=1e-10)


def test_deltas_that_nobody_reads_cost_nothing():
    params, x, target = problem()

    @fnn.rule
    def both(layer, params, cache, dy):
        grads, dx = layer.backward(params, cache, dy)
        return (grads, dy), dx

    def flops(rule):
        def run(params):
            result = fnn.value_and_grad(NET, LOSS, params, x, target, rule=rule)[1]
            if rule is fnn.rules.backprop:
                return result
            return jax.tree.map(lambda g: g[0], result, is_leaf=is_pair)

        def is_pair(r):
            return isinstance(r, tuple) and len(r) == 2 and not isinstance(r[1], tuple)

        return jax.jit(run).lower(params).compile().cost_analysis()["flops"]

    assert flops(both) == flops(fnn.rules.backprop)
