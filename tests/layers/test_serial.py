"""Tests of fnn.layers.serial."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

from fnn.layers.activations import Identity, SiLU, Tanh
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.layers.softmax import Softmax

KEY = jax.random.key(0)


def test_contract():
    net = Serial(Dense(3, 4), Tanh(), Dense(4, 2), Softmax())
    check_layer(net, noise(5, 3))


def test_contract_of_nested_composites():
    block = Residual(Serial(Dense(4, 3), SiLU(), Dense(3, 4)))
    net = Serial(Dense(2, 4), Repeat(2, block), Serial(), Dense(4, 1))
    check_layer(net, noise(3, 2))


def test_forward_and_backward_by_hand():
    net = Serial(Dense(1, 1), Scale(3.0), Dense(1, 1))
    first = DenseParams(jnp.array([[2.0]]), jnp.array([1.0]))
    second = DenseParams(jnp.array([[5.0]]), jnp.array([7.0]))
    y, cache = net.forward((first, (), second), jnp.array([[4.0]]))
    grads, dx = net.backward((first, (), second), cache, jnp.array([[1.0]]))
    assert y == 5 * 3 * (2 * 4 + 1) + 7
    assert (grads[2].w, grads[2].b) == (3 * (2 * 4 + 1), 1)
    assert (grads[0].w, grads[0].b) == (5 * 3 * 4, 5 * 3)
    assert dx == 5 * 3 * 2


def test_one_layer_twice_has_two_sets_of_weights():
    dense = Dense(3, 3)
    first, second = Serial(dense, dense).init(KEY)
    assert np.abs(first.w - second.w).min() > 0


def test_no_layers_are_the_identity():
    x = noise(5, 3)
    y, cache = Serial().forward((), x)
    np.testing.assert_array_equal(y, x)
    assert Serial().backward((), cache, x) == ((), x)


def test_every_child_gets_a_key_of_its_own():
    net = Serial(Dropout(0.5), Identity(), Dropout(0.5))
    x = jnp.ones((8, 16))
    _, caches = net.forward(((), (), ()), x, key=KEY)
    for i, layer in ((0, Dropout(0.5)), (2, Dropout(0.5))):
        _, cache = layer.forward((), x, key=jax.random.split(KEY, 3)[i])
        np.testing.assert_array_equal(caches[i].kept, cache.kept)


def test_repr_is_as_written():
    assert repr(Serial(Dense(3, 4), Tanh())) == "Serial(Dense(n_in=3, n_out=4), Tanh())"


def test_order_and_fields_decide_equality():
    assert Serial(Tanh(), SiLU()) == Serial(Tanh(), SiLU())
    assert Serial(Tanh(), SiLU()) != Serial(SiLU(), Tanh())
    assert Serial(Scale(2.0)) != Serial(Scale(3.0))


def test_with_children_keeps_the_route():
    net = Serial(Tanh(), Dense(3, 4))
    assert net.with_children(net.children) == net
    assert net.with_children((SiLU(), SiLU())) == Serial(SiLU(), SiLU())


def test_error_carries_the_path_of_the_layer():
    net = Serial(Dense(3, 4), Serial(Dense(5, 2)))
    message = (
        r"^layer 1, layer 0, Dense\(n_in=5, n_out=2\): x must have shape \[B, ..., 5\], "
        r"got \[7, 4\]\.$"
    )
    with pytest.raises(ValueError, match=message):
        net.forward(net.init(KEY), noise(7, 3))


def test_missing_key_carries_the_path_of_the_layer():
    net = Serial(Tanh(), Dropout(0.5))
    with pytest.raises(ValueError, match=r"^layer 1, Dropout\(.*\): forward needs a key"):
        net.forward(net.init(KEY), noise(7, 3))


@pytest.mark.parametrize("params", [(), ((), (), ()), ((),)], ids=str)
def test_params_of_another_net_are_refused(params):
    message = rf"^Serial: params must have one entry for each of its 2 layers, got {len(params)}\."
    with pytest.raises(ValueError, match=message):
        Serial(Tanh(), Tanh()).forward(params, noise(7, 3))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Tanh,), r"^Serial\(\*layers\) takes layers, got <class .*; build it: Tanh\(\.\.\.\)\.$"),
        (([Tanh(), Tanh()],), r"^Serial\(\*layers\) takes layers, got \[Tanh\(\), Tanh\(\)\]\.$"),
        ((Tanh(), jnp.tanh), r"^Serial\(\*layers\) takes layers, got "),
    ],
    ids=["class", "list", "function"],
)
def test_what_is_no_layer_is_rejected(layers, message):
    with pytest.raises(TypeError, match=message):
        Serial(*layers)


def test_key_that_is_none_is_refused_by_init():
    with pytest.raises(TypeError, match=r"^Serial: key must be a typed key, got 0; use jax\.ran"):
        Serial(Tanh()).init(0)
