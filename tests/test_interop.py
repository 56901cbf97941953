"""Tests of fnn.interop."""

from dataclasses import dataclass

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

import fnn

NET = fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dropout(0.5), fnn.Dense(4, 2))
PARAMS = NET.init(jax.random.key(0))
X = jax.random.normal(jax.random.key(1), (5, 3))
KEY = jax.random.key(2)


@dataclass(frozen=True)
class Doubled(fnn.Identity):
    """y = x with twice its derivative: a sign that backward was asked."""

    def backward(self, params, cache, dy):
        return (), 2 * dy


def test_jax_grad_goes_through_the_hand_written_backward():
    f = fnn.as_function(Doubled())
    assert jax.grad(lambda x: f((), x).sum())(jnp.ones((2, 3))).tolist() == [[2.0] * 3] * 2


@pytest.mark.parametrize("jit", [False, True])
def test_values_and_gradients_are_those_of_the_layer(jit):
    f = fnn.as_function(NET)
    f = jax.jit(f) if jit else f
    y, cache = NET.forward(PARAMS, X, key=KEY)
    chex.assert_trees_all_close(f(PARAMS, X, KEY), y)
    chex.assert_trees_all_close(f(PARAMS, X, key=KEY), y)
    ours = jax.grad(lambda p, x: (f(p, x, KEY) ** 2).sum(), argnums=(0, 1))(PARAMS, X)
    chex.assert_trees_all_close(ours, NET.backward(PARAMS, cache, 2 * y), rtol=1e-10)


def test_it_works_without_a_key_and_under_vmap():
    net = fnn.mlp([3, 4, 2], fnn.Sigmoid())
    params, f = net.init(KEY), fnn.as_function(net)
    stacked = jnp.stack([X, 2 * X])

    def grad(x):
        return jax.grad(lambda p: f(p, x).sum())(params)

    swept = jax.vmap(grad)(stacked)
    for i in range(2):
        one = jax.tree.map(lambda a, i=i: a[i], swept)
        chex.assert_trees_all_close(one, grad(stacked[i]), rtol=1e-10)


class Reader(eqx.Module):
    """An Equinox model: a layer of fnn by its params, then a layer of Equinox."""

    lstm: fnn.LSTMParams
    head: eqx.nn.Linear

    def __call__(self, x):
        h = fnn.as_function(fnn.LSTM(3, 4))(self.lstm, x)
        return jax.vmap(jax.vmap(self.head))(h)


def test_a_layer_inside_an_equinox_model_has_the_gradients_of_fnn():
    net, loss = fnn.Serial(fnn.LSTM(3, 4), fnn.Dense(4, 2)), fnn.SquaredError()
    lstm, dense = params = net.init(KEY)
    x, target = (jax.random.normal(KEY, (5, 7, n)) for n in (3, 2))
    head = eqx.nn.Linear(4, 2, key=KEY)
    head = eqx.tree_at(lambda h: (h.weight, h.bias), head, (dense.w.T, dense.b))

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def theirs(model, x):
        return ((model(x) - target) ** 2).sum(-1).mean()

    value, grads = theirs(Reader(lstm, head), x)
    ours = fnn.value_and_grad(net, loss, params, x, target)
    found = (value, (grads.lstm, fnn.DenseParams(grads.head.weight.T, grads.head.bias)))
    chex.assert_trees_all_close(found, ours, rtol=1e-10, atol=1e-12)


def test_the_backward_that_an_equinox_model_takes_is_the_hand_written_one():
    class Doubling(eqx.Module):
        x: jax.Array

        def __call__(self):
            return fnn.as_function(Doubled())((), self.x).sum()

    grads = eqx.filter_jit(eqx.filter_grad(lambda model: model()))(Doubling(jnp.ones((2, 3))))
    assert grads.x.tolist() == [[2.0] * 3] * 2


def test_equal_layers_give_the_same_function():
    assert fnn.as_function(fnn.Dense(3, 4)) is fnn.as_function(fnn.Dense(3, 4))
    assert fnn.as_function(fnn.Dense(3, 4)) is not fnn.as_function(fnn.Dense(3, 5))


def test_what_is_no_layer_is_refused():
    with pytest.raises(
        TypeError, match=r"as_function takes layers, got .*build it: Tanh\(\.\.\.\)"
    ):
        fnn.as_function(fnn.Tanh)


@pytest.mark.parametrize("mask", [None, jnp.arange(4) < jnp.array([4, 2])[:, None]])
def test_a_sequence_goes_in_and_its_derivative_comes_out_in_the_same_form(mask):
    net = fnn.RNN(3, 4)
    params, f = net.init(KEY), fnn.as_function(net)
    x = fnn.Sequence(jax.random.normal(KEY, (2, 4, 3)), mask, state=(jnp.ones((2, 4)),))
    dy = jnp.sin(jnp.arange(32.0)).reshape(2, 4, 4)

    def ours(params, x):
        y = f(params, x)
        return (y.x * dy).sum() + y.state[0].sum()

    def plain(params, x):
        y, _ = net.forward(params, x)
        return (y.x * dy).sum() + y.state[0].sum()

    found = jax.jit(jax.grad(ours, argnums=(0, 1), allow_int=True))(params, x)
    expected = jax.jit(jax.grad(plain, argnums=(0, 1), allow_int=True))(params, x)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        if a.dtype != jax.dtypes.float0:
            chex.assert_trees_all_close(a, b, rtol=1e-10)


@pytest.mark.parametrize("state", [[jnp.ones((2, 4))], jnp.ones((2, 4))], ids=["list", "array"])
def test_a_state_of_another_form_is_refused_before_anything_runs(state):
    f, params = fnn.as_function(fnn.RNN(3, 4)), fnn.RNN(3, 4).init(KEY)
    x = fnn.Sequence(jnp.ones((2, 4, 3)), state=state)
    with pytest.raises(TypeError, match=r"RNN\(.*: state must be a tuple \(h,\), got"):
        jax.grad(lambda p: f(p, x).x.sum())(params)


def test_factored_logits_go_out_and_their_cotangent_comes_back():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Unembed(4, 5))
    params, f = net.init(KEY), fnn.as_function(net)
    found = jax.grad(lambda p: (f(p, X).whole() ** 2).sum())(params)
    expected = jax.grad(lambda p: (net.forward(p, X)[0].whole() ** 2).sum())(params)
    chex.assert_trees_all_close(found, expected, rtol=1e-10)
