"""Tests of fnn.ruling."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.layers.activations import ReLU, Tanh
from fnn.layers.cast import Cast
from fnn.layers.dense import Dense
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.ruling import backprop, rule

KEY = jax.random.key(0)


def test_backprop_is_the_layers_own_backward():
    layer, x, dy = Dense(3, 4), noise(5, 3), noise(5, 4, seed=2)
    params = layer.init(KEY)
    _, cache = layer.forward(params, x)
    found, want = backprop(layer, params, cache, dy), layer.backward(params, cache, dy)
    jax.tree.map(np.testing.assert_array_equal, found, want)


ROUTES = {
    Serial(Dense(3, 3), Tanh()): (0,),
    Serial(a=Dense(3, 3), b=Tanh()): ("a",),
    Residual(Dense(3, 3)): (),
    Repeat(2, Dense(3, 3)): (),
    Recompute(Dense(3, 3)): (),
    Cast(Dense(3, 3), "float64"): (),
    Serial(Residual(Recompute(Serial(Tanh(), Dense(3, 3))))): (0, 1),
}


def result_at(path, result):
    for name in path:
        result = result[name]
    return result


def run_rule(chosen, net):
    params = net.init(KEY)
    y, cache = net.forward(params, noise(5, 3))
    return chosen(net, params, cache, jnp.ones_like(y))


@pytest.mark.parametrize(("net", "path"), ROUTES.items(), ids=repr)
def test_rule_reaches_the_leaves_of_every_composite(net, path):
    @rule
    def sum_of_dy(layer, params, cache, dy):
        _, dx = layer.backward(params, cache, dy)
        return dy.sum((0, 1)), dx

    out, dx = run_rule(sum_of_dy, net)
    grads, backprop_dx = run_rule(backprop, net)
    np.testing.assert_allclose(dx, backprop_dx, rtol=1e-12)
    db = result_at(path, grads).b.sum(-1)  # a bias's gradient is the sum of dy
    np.testing.assert_allclose(result_at(path, out), db, rtol=1e-12)


def test_rule_with_a_formula_for_one_type_uses_it_there_only():
    @rule
    def names(layer, params, cache, dy):
        return "any", layer.backward(params, cache, dy)[1]

    @names.register(Dense)
    def _(layer, params, cache, dy):
        return "dense", layer.backward(params, cache, dy)[1]

    out, _ = run_rule(names, Serial(Dense(3, 4), Tanh(), Residual(Dense(4, 4))))
    assert out == ("dense", "any", "dense")


def test_rule_registered_for_a_composite_stops_the_recursion_there():
    @rule
    def names(layer, params, cache, dy):
        return "leaf", layer.backward(params, cache, dy)[1]

    @names.register(Residual)
    def _(layer, params, cache, dy):
        return "residual", layer.backward(params, cache, dy)[1]

    out, _ = run_rule(names, Serial(Tanh(), Residual(Dense(3, 3))))
    assert out == ("leaf", "residual")


def test_rule_takes_dx_of_a_subclass_with_another_backward():
    @dataclass(frozen=True)
    class Straight(ReLU):
        def backward(self, params, cache, dy):
            return (), dy

    net = Serial(Straight())
    _, dx = run_rule(rule(lambda f, p, c, dy: (0, f.backward(p, c, dy)[1])), net)
    np.testing.assert_array_equal(dx, np.ones((5, 3)))


def test_error_inside_a_rule_carries_the_path():
    @rule
    def refuse(layer, params, cache, dy):
        raise NotImplementedError(f"{layer} has no formula.")

    with pytest.raises(NotImplementedError, match=r"^layer 1\.0, Tanh\(\) has no formula"):
        run_rule(refuse, Serial(Serial(), Serial(Tanh())))
    with pytest.raises(NotImplementedError, match=r"^layer a\.b, Tanh\(\) has no formula"):
        run_rule(refuse, Serial(a=Serial(b=Residual(Tanh()))))


@dataclass(frozen=True)
class Twice(fnn.Residual):
    """A composite whose backward is its own: gradients times two."""

    def backward(self, params, cache, dy):
        return jax.tree.map(lambda g: 2 * g, super().backward(params, cache, dy))


def test_backprop_takes_the_backward_that_a_composite_has_of_its_own():
    net, x, dy = Twice(fnn.Dense(3, 3)), noise(5, 3), noise(5, 3, seed=2)
    params = net.init(KEY)
    _, cache = net.forward(params, x)
    found, want = fnn.rules.backprop(net, params, cache, dy), net.backward(params, cache, dy)
    chex.assert_trees_all_equal(found, want)
