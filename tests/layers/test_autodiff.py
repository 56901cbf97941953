"""Tests of fnn.layers.autodiff."""

import pickle

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, check_layer, check_sequence, noise

from fnn.driver import fold, value_and_grad
from fnn.layers.autodiff import Autodiff
from fnn.layers.dense import Dense
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.losses.regression import SquaredError
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(5, 3)


def bent(params, x):
    """tanh(x w) c."""
    return jnp.tanh(x @ params["w"]) * params["c"]


def begin(key):
    return {"w": jax.random.normal(key, (3, 4)), "c": jnp.ones(())}


def dropped(params, x, key):
    return jnp.where(jax.random.bernoulli(key, 0.5, x.shape), x, 0)


BENT = Autodiff(bent, begin)


def test_contract():
    check_layer(BENT, X)


@pytest.mark.slow
def test_contract_of_sequences_of_a_function_of_positions():
    check_sequence(Autodiff(bent, begin, steps=True), Sequence(noise(2, 5, 3), MASK))


def test_by_hand():
    layer = Autodiff(lambda c, x: c * x**2, lambda key: jnp.array(5.0))
    y, cache = layer.forward(jnp.array(5.0), jnp.array([[3.0], [1.0]]))
    np.testing.assert_array_equal(y, [[45], [5]])
    grads, dx = layer.backward(jnp.array(5.0), cache, jnp.array([[1.0], [10.0]]))
    np.testing.assert_array_equal(dx, [[2 * 5 * 3], [10 * 2 * 5]])
    assert grads == 9 + 10
    assert layer.init(KEY) == 5


def test_it_is_the_layer_whose_formula_it_has():
    dense = Dense(3, 4)
    layer = Autodiff(lambda p, x: x @ p.w + p.b, dense.init)
    params, dy = dense.init(KEY), noise(5, 4)
    (y, cache), (want, own) = layer.forward(params, X), dense.forward(params, X)
    np.testing.assert_array_equal(y, want)
    found, wanted = layer.backward(params, cache, dy), dense.backward(params, own, dy)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), found, wanted)
    jax.tree.map(np.testing.assert_array_equal, layer.init(KEY), params)


def test_norms_of_examples_are_those_of_each_alone():
    net, target = Serial(BENT, Dense(4, 2)), noise(5, 2, seed=3)
    params = net.init(KEY)
    norms = jax.jit(fold)(net, SquaredError(), params, X, target, rule=example_norms).result
    run = jax.jit(value_and_grad)
    for b in range(5):
        _, grads = run(net, SquaredError(), params, X[b : b + 1], target[b : b + 1])
        for norm, g in zip(norms, grads, strict=True):
            want = sum((a**2).sum() for a in jax.tree.leaves(g))
            np.testing.assert_allclose(norm[b], want, rtol=1e-10)
    mixing = Autodiff(lambda p, x: x - x.mean(0), mixing=True)
    with pytest.raises(NotImplementedError, match="nothing per example here: a row of its y"):
        fold(mixing, SquaredError(), (), X, X, rule=example_norms)


def test_a_key_goes_to_f_and_the_same_one_again():
    layer = Autodiff(dropped, key=True)
    y, cache = layer.forward((), jnp.ones((4, 6)), key=KEY)
    _, dx = layer.backward((), cache, jnp.ones((4, 6)))
    np.testing.assert_array_equal(dx, y)
    assert len(np.unique(y)) == 2
    with pytest.raises(ValueError, match=r"^Autodiff\(dropped, key=True\): forward needs a key"):
        layer.forward((), jnp.ones((4, 6)))
    assert BENT.forward(BENT.init(KEY), X, key=KEY)[1].key is None


def test_integers_have_no_dx_and_trees_may_come_and_go():
    layer = Autodiff(lambda p, x: {"y": p[x["i"]] * x["a"]}, lambda key: noise(7, 2))
    x = {"i": jnp.array([1, 6, 1]), "a": noise(3, 2)}
    y, cache = layer.forward(noise(7, 2), x)
    grads, dx = layer.backward(noise(7, 2), cache, y)
    assert dx["i"] is None
    np.testing.assert_allclose(dx["a"], y["y"] * noise(7, 2)[x["i"]], rtol=1e-12)
    assert grads.shape == (7, 2)


def test_two_are_equal_where_their_functions_are_the_same_and_those_at_the_top_pickle():
    assert pickle.loads(pickle.dumps(BENT)) == BENT == Autodiff(bent, begin)
    assert Autodiff(lambda p, x: bent(p, x), begin) != BENT
    assert hash(BENT) == hash(Autodiff(bent, begin))
    assert repr(Autodiff(bent, begin, mixing=True)) == "Autodiff(bent, mixing=True)"


def test_copies_of_it_train():
    net = Repeat(
        2, Autodiff(lambda p, x: jnp.tanh(x @ p), lambda key: jax.random.normal(key, (3, 3)))
    )
    params, run = net.init(KEY), jax.jit(value_and_grad)
    value, grads = run(net, SquaredError(), params, X, X)
    want = jax.value_and_grad(
        lambda p: ((jnp.tanh(jnp.tanh(X @ p[0]) @ p[1]) - X) ** 2).sum(-1).mean()
    )(params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), (value, grads), want)


def test_a_module_of_equinox_is_a_layer_with_the_gradients_that_it_has_there():
    def make(key):
        return eqx.nn.MLP(3, 2, width_size=4, depth=1, key=key, dtype="float64")

    static = eqx.filter(make(KEY), eqx.is_inexact_array, inverse=True)
    layer = Autodiff(
        lambda params, x: jax.vmap(eqx.combine(params, static))(x),
        lambda key: eqx.filter(make(key), eqx.is_inexact_array),
    )
    target = noise(5, 2, seed=2)
    _, grads = value_and_grad(layer, SquaredError(), layer.init(KEY), X, target)
    loss = eqx.filter_grad(lambda m: ((jax.vmap(m)(X) - target) ** 2).sum(-1).mean())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), grads, loss(make(KEY)))


def test_errors():
    with pytest.raises(TypeError, match="^Autodiff: f must be a function, got 3"):
        Autodiff(3)
    with pytest.raises(TypeError, match="^Autodiff: key must be True or False, got None"):
        Autodiff(bent, key=None)
    with pytest.raises(
        TypeError, match=r"^Autodiff\(bent\): f must take these params and x\.\nKeyE"
    ):
        BENT.forward({}, X)
    with pytest.raises(TypeError, match="x must be an array, got a Sequence"):
        BENT.forward(BENT.init(KEY), Sequence(noise(2, 5, 3)))
