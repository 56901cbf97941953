"""Tests of fnn.layer."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.composite import Composite
from fnn.layer import Layer
from fnn.layers.activations import ReLU, Tanh
from fnn.layers.cast import Cast
from fnn.layers.dense import Dense
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.ruling import backprop, rule

KEY = jax.random.key(0)


class Methods:
    """The three methods of a layer without parameters, y = x²."""

    def init(self, key):
        return ()

    def forward(self, params, x, *, key=None):
        return x**2, x

    def backward(self, params, cache, dy):
        return (), 2 * cache * dy


@dataclass(frozen=True)
class Square(Methods, Layer):
    """y = x²."""


def test_a_layer_of_three_methods_keeps_the_contract():
    check_layer(Square(), noise(5, 3))


@dataclass(frozen=True)
class SlightlyWrong(Square):
    """A backward that is one part in a million off."""

    def backward(self, params, cache, dy):
        return (), 2.000002 * cache * dy


@dataclass(frozen=True)
class WrongAtSecondOrder(Square):
    """A right value with a wrong derivative of its own."""

    def backward(self, params, cache, dy):
        return (), 2 * jax.lax.stop_gradient(cache) * dy


@dataclass(frozen=True)
class BatchLast(Square):
    """A cache whose first axis is not the batch."""

    def forward(self, params, x, *, key=None):
        return x**2, x.T

    def backward(self, params, cache, dy):
        return (), 2 * cache.T * dy


@dataclass(frozen=True)
class Narrow(Square):
    """A gradient that loses digits on the way."""

    def backward(self, params, cache, dy):
        return (), (2 * cache * dy).astype("bfloat16").astype(dy.dtype)


@pytest.mark.parametrize("layer", [SlightlyWrong(), WrongAtSecondOrder(), BatchLast(), Narrow()])
def test_contract_refuses(layer):
    with pytest.raises(AssertionError):
        check_layer(layer, noise(5, 3))


def test_undecorated_subclass_is_refused():
    class Plain(Methods, Layer):
        factor: float = 1.0

    message = r"^Plain: write @dataclass\(frozen=True\) above the class; without it two different"
    with pytest.raises(TypeError, match=message):
        Plain()


def test_undecorated_subclass_of_a_decorated_layer_is_refused():
    class Steeper(Scale):
        pass

    with pytest.raises(TypeError, match=r"^Steeper: write @dataclass\(frozen=True\)"):
        Steeper(2.0)


def test_decorated_subclass_that_is_not_frozen_is_refused_by_python():
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):

        @dataclass
        class Mutable(Methods, Layer):
            pass


def test_incomplete_subclass_is_refused():
    @dataclass(frozen=True)
    class Incomplete(Layer):
        def init(self, key):
            return ()

    with pytest.raises(TypeError, match="abstract class Incomplete .*backward.*forward"):
        Incomplete()


def test_layers_of_different_types_are_not_equal():
    @dataclass(frozen=True)
    class Other(Methods, Layer):
        pass

    assert Square() == Square()
    assert Square() != Other()


def test_different_fields_run_different_layers_under_jit():
    run = jax.jit(lambda layer, x: layer.forward((), x)[0])
    x = jnp.ones((1, 1))
    assert (run(Scale(2.0), x), run(Scale(3.0), x)) == (2, 3)


def test_backprop_is_the_layers_own_backward():
    x, dy = noise(5, 3), noise(5, 3, seed=2)
    _, cache = Square().forward((), x)
    grads, dx = backprop(Square(), (), cache, dy)
    assert grads == ()
    np.testing.assert_allclose(dx, 2 * x * dy)


ROUTES = {
    Serial(Dense(3, 3), Tanh()): (0,),
    Residual(Dense(3, 3)): (0,),
    Repeat(2, Dense(3, 3)): (0,),
    Recompute(Dense(3, 3)): (0,),
    Cast(Dense(3, 3), "float64"): (0,),
    Serial(Residual(Recompute(Serial(Tanh(), Dense(3, 3))))): (0, 0, 0, 1),
}


def result_at(path, result):
    for i in path:
        result = result[i]
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
    assert out == ("dense", "any", ("dense",))


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

    with pytest.raises(NotImplementedError, match=r"^layer 1, layer 0, Tanh\(\) has no formula"):
        run_rule(refuse, Serial(Serial(), Serial(Tanh())))


def test_parts_are_the_entries_of_params():
    assert Serial(Tanh(), Tanh()).parts((1, 2)) == (1, 2)


@pytest.mark.parametrize("params", [(), (1,), (1, 2, 3)], ids=str)
def test_parts_of_another_number_are_refused(params):
    message = rf"^Serial: params must have one entry for each of its 2 layers, got {len(params)}\."
    with pytest.raises(ValueError, match=message):
        Serial(Tanh(), Tanh()).parts(params)


@pytest.mark.parametrize("params", [None, {}, [1, 2]], ids=str)
def test_parts_of_what_is_no_tuple_are_refused(params):
    message = rf"^Serial: params must be a tuple, .*, got {type(params).__name__}\."
    with pytest.raises(TypeError, match=message):
        Serial(Tanh(), Tanh()).parts(params)


@pytest.mark.parametrize("net", [n for n in ROUTES if not isinstance(n, Serial)], ids=repr)
def test_every_wrapper_refuses_params_that_are_not_a_tuple_of_one(net):
    assert isinstance(net, Composite)
    with pytest.raises(ValueError, match=rf"^{type(net).__name__}: params must have one entry"):
        net.forward((), noise(5, 3))


def test_children_get_keys_of_their_own():
    first, second = Serial(Dense(3, 3), Dense(3, 3)).init(KEY)
    keys = jax.random.split(KEY, 2)
    np.testing.assert_array_equal(first.w, Dense(3, 3).init(keys[0]).w)
    np.testing.assert_array_equal(second.w, Dense(3, 3).init(keys[1]).w)
