"""Tests of fnn.layers.serial."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

from fnn.layers.activations import Identity, SiLU, Tanh
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import Embedding
from fnn.layers.lstm import LSTM
from fnn.layers.over_time import Last
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.layers.softmax import Softmax
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    net = Serial(Dense(3, 4), Tanh(), Dense(4, 2), Softmax())
    check_layer(net, noise(5, 3))


@pytest.mark.slow
def test_contract_of_nested_composites():
    block = Residual(Serial(Dense(4, 3), SiLU(), Dense(3, 4)))
    net = Serial(Dense(2, 4), Repeat(2, block), Serial(), Dense(4, 1))
    check_layer(net, noise(3, 2))


def test_contract_with_names():
    net = Serial(up=Dense(3, 4), activation=Tanh(), down=Dense(4, 2))
    check_layer(net, noise(5, 3))


def test_contract_of_sequences_with_a_state_for_every_layer():
    net = Serial(LSTM(3, 4), LSTM(4, 6))
    state = states(4, 4), states(6, 6, seed=7)
    check_sequence(net, Sequence(noise(2, 5, 3), MASK, state))


def test_contract_of_sequences_of_tokens_that_end_in_an_array():
    net = Serial(embed=Embedding(7, 3), a=LSTM(3, 4), b=LSTM(4, 2), last=Last(), head=Dense(2, 3))
    tokens = jnp.array([[1, 4, 0, 6, 2], [3, 3, 5, 0, 1]])
    state = {"a": states(4, 4), "b": states(2, 2, seed=7)}
    check_sequence(net, Sequence(tokens, MASK, state), steps=False)


def test_no_state_flows_from_one_layer_into_the_next():
    first, second = LSTM(3, 4), LSTM(4, 4)
    net = Serial(first, second)
    params, x = net.init(KEY), Sequence(noise(2, 5, 3), MASK)
    y, _ = net.forward(params, x)
    h, _ = first.forward(params[0], x)
    want, _ = second.forward(params[1], h.with_fields(state=None))
    np.testing.assert_array_equal(y.x, want.x)
    np.testing.assert_array_equal(y.state, (h.state, want.state))


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


def test_with_names_params_gradients_and_states_are_dicts_without_what_is_empty():
    net = Serial(up=Dense(1, 1), scale=Scale(3.0), down=Dense(1, 1))
    assert (net["up"], net["scale"]) == (Dense(1, 1), Scale(3.0))
    params = net.init(KEY)
    assert list(params) == ["up", "down"]
    same = Serial(*net.children.values()).init(KEY)
    np.testing.assert_array_equal(params["down"].w, same[2].w)
    y, cache = net.forward(params, jnp.array([[4.0]]))
    np.testing.assert_allclose(y, 3 * 4 * params["up"].w * params["down"].w, rtol=1e-12)
    grads, _ = net.backward(params, cache, jnp.ones((1, 1)))
    assert list(grads) == ["up", "down"]
    np.testing.assert_allclose(grads["up"].w, 3 * 4 * params["down"].w, rtol=1e-12)
    assert Serial(a=Tanh(), b=Scale(2.0)).init(KEY) == {}


def test_names_are_in_the_order_of_the_route_whatever_jax_makes_of_a_dict():
    net = Serial(z=Dense(3, 4), a=Dense(4, 2))
    y, _ = jax.jit(net.forward)(net.init(KEY), noise(5, 3))
    assert y.shape == (5, 2)
    assert list(net.children) == ["z", "a"]


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
    assert repr(Serial(up=Scale(2.0), out=Tanh())) == "Serial(up=Scale(factor=2.0), out=Tanh())"


def test_order_and_fields_decide_equality():
    assert Serial(Tanh(), SiLU()) == Serial(Tanh(), SiLU())
    assert Serial(Tanh(), SiLU()) != Serial(SiLU(), Tanh())
    assert Serial(Scale(2.0)) != Serial(Scale(3.0))
    assert Serial(a=Tanh()) == Serial(a=Tanh())
    assert Serial(a=Tanh()) != Serial(b=Tanh())
    assert Serial(a=Tanh()) != Serial(Tanh())


def test_with_children_keeps_the_route():
    net = Serial(Tanh(), Dense(3, 4))
    assert net.with_children(net.children) == net
    assert net.with_children({0: SiLU(), 1: SiLU()}) == Serial(SiLU(), SiLU())
    named = Serial(a=Tanh(), b=Dense(3, 4))
    assert named.with_children(named.children) == named
    assert named.with_children({"a": SiLU(), "b": SiLU()}) == Serial(a=SiLU(), b=SiLU())


def test_error_carries_the_path_of_the_layer():
    net = Serial(Dense(3, 4), Serial(Dense(5, 2)))
    message = (
        r"^layer 1.0, Dense\(n_in=5, n_out=2\): x must have shape \[B, ..., 5\], "
        r"got \[7, 4\]\.$"
    )
    with pytest.raises(ValueError, match=message):
        net.forward(net.init(KEY), noise(7, 3))


def test_error_carries_the_names_of_the_layers():
    net = Serial(up=Dense(3, 4), head=Serial(down=Dense(5, 2)))
    with pytest.raises(ValueError, match=r"^layer head\.down, Dense\(n_in=5, n_out=2\): x must"):
        net.forward(net.init(KEY), noise(7, 3))


def test_missing_key_carries_the_path_of_the_layer():
    net = Serial(Tanh(), Dropout(0.5))
    with pytest.raises(ValueError, match=r"^layer 1, Dropout\(.*\): forward needs a key"):
        net.forward(net.init(KEY), noise(7, 3))


ONE = DenseParams(jnp.ones((3, 3)), jnp.ones(3))


@pytest.mark.parametrize("params", [(ONE,), (ONE, (), ())], ids=len)
def test_params_of_another_number_are_refused(params):
    message = rf"^Serial: params must have one entry for each of its 2 layers, got {len(params)}\."
    with pytest.raises(ValueError, match=message):
        Serial(Dense(3, 3), Tanh()).forward(params, noise(7, 3))


def test_params_that_hold_nothing_are_those_of_layers_without_any():
    y, _ = Serial(Tanh(), Tanh()).forward((), noise(7, 3))
    np.testing.assert_allclose(y, np.tanh(np.tanh(noise(7, 3))), rtol=1e-12)
    with pytest.raises(TypeError, match=r"^layer 0, Dense\(.*\): params must have a field w, got"):
        Serial(Dense(3, 3), Tanh()).forward((), noise(7, 3))


@pytest.mark.parametrize("params", [{"a": ONE}, [ONE, ()], ONE], ids=["dict", "list", "one"])
def test_params_that_are_no_tuple_are_refused(params):
    message = rf"^Serial: params must be a tuple, .*, got {type(params).__name__}\."
    with pytest.raises(TypeError, match=message):
        Serial(Dense(3, 3), Tanh()).forward(params, noise(7, 3))


def test_params_of_other_names_are_refused():
    net = Serial(a=Dense(3, 3), b=Tanh())
    message = r"^Serial: params, or what is nested like them, have no layer 'c'; there are a, b\.$"
    with pytest.raises(ValueError, match=message):
        net.forward({"a": ONE, "c": ONE}, noise(7, 3))
    with pytest.raises(
        TypeError, match=r"^Serial: params, .* must be a dict of a, b, got tuple\.$"
    ):
        net.forward((ONE, ()), noise(7, 3))


def test_layers_with_and_without_a_name_are_refused():
    with pytest.raises(TypeError, match=r"^Serial: give every layer a name, or none\.$"):
        Serial(Tanh(), b=Tanh())


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Tanh,), r"^Serial takes layers, got <class .*; build it: Tanh\(\.\.\.\)\.$"),
        (([Tanh(), Tanh()],), r"^Serial takes layers, got \[Tanh\(\), Tanh\(\)\]\.$"),
        ((Tanh(), jnp.tanh), r"^Serial takes layers, got "),
    ],
    ids=["class", "list", "function"],
)
def test_what_is_no_layer_is_rejected(layers, message):
    with pytest.raises(TypeError, match=message):
        Serial(*layers)


def test_key_that_is_none_is_refused_by_init():
    with pytest.raises(TypeError, match=r"^Serial: key must be a typed key, got 0; use jax\.ran"):
        Serial(Tanh()).init(0)
