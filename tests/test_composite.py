"""Tests of fnn.composite."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, Look, check_layer, check_sequence, noise, states

import fnn
from fnn.composite import (
    Back,
    Composite,
    Forth,
    With,
    Wrapper,
    child,
    empty,
    mixes,
    on_params,
    plain,
)
from fnn.layer import Layer
from fnn.layers.activations import Sigmoid, Tanh
from fnn.layers.cast import Cast
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.gru import GRU
from fnn.layers.lstm import LSTM
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.sequence import Sequence, lift

KEY = jax.random.key(0)
X = noise(2, 5, 3)


@dataclass(frozen=True)
class Gate(Composite):
    """y = a(x) b(x), as a person writes it."""

    a: Layer
    b: Layer
    note: str = ""

    def forward(self, params, x, *, key=None):
        f = Forth(self, params, x, key)
        (a, ca), (b, cb) = f("a", x), f("b", x)
        return f.end(lift(jnp.multiply, a, b)), (a, b, ca, cb)

    def backward_with(self, rule, params, cache, dy):
        f, (a, b, ca, cb) = Back(self, rule, params, dy), cache
        da = f("a", ca, lift(jnp.multiply, dy, b))
        db = f("b", cb, lift(jnp.multiply, dy, a))
        return f.end(lift(jnp.add, da, db))


GATE = Gate(Serial(up=Dense(3, 4), out=Sigmoid()), Dense(3, 4))


@pytest.mark.slow
def test_a_composite_of_two_branches_keeps_the_contract():
    check_layer(GATE, noise(5, 3))
    check_layer(Repeat(2, Gate(Tanh(), Dense(3, 3))), noise(5, 3))


@pytest.mark.slow
def test_a_composite_of_two_branches_keeps_the_contract_of_sequences():
    check_sequence(GATE, Sequence(X, MASK))
    net = Gate(LSTM(3, 4), Serial(Dense(3, 4), GRU(4, 4)))
    state = {"a": states(4, 4), "b": ((), states(4, seed=7))}
    check_sequence(net, Sequence(X, MASK, state))


def test_a_composite_of_two_branches_by_hand():
    net = Gate(fnn.Scale(2.0), fnn.Scale(5.0))
    y, cache = net.forward({}, jnp.array([[3.0]]))
    grads, dx = net.backward({}, cache, jnp.array([[1.0]]))
    assert (y, dx, grads) == (6 * 15, 2 * 15 + 5 * 6, {})


def test_children_are_the_fields_that_are_layers_in_their_order():
    net = Gate(Tanh(), Dense(3, 4), "two")
    assert list(net.children.items()) == [("a", Tanh()), ("b", Dense(3, 4))]
    assert (net["a"], net["b"]) == (Tanh(), Dense(3, 4))
    with pytest.raises(KeyError):
        net["note"]
    assert Serial(Tanh(), Sigmoid())[1] == Sigmoid()
    assert Serial(up=Tanh())["up"] == Residual(Tanh())["inner"] == Tanh()


def test_with_children_keeps_the_other_fields():
    net = Gate(Tanh(), Dense(3, 4), "two")
    assert net.with_children(net.children) == net
    assert net.with_children({"a": Sigmoid(), "b": Tanh()}) == Gate(Sigmoid(), Tanh(), "two")


def test_an_entry_is_empty_where_it_holds_nothing_however_deep():
    for nothing in (None, (), {}, {"a": ()}, ((), {"b": {"c": None}})):
        assert empty(nothing)
    for something in (0.0, jnp.zeros(0), {"a": ((), 1)}, Dense(1, 1).init(KEY), []):
        assert not empty(something)


def test_parts_and_joined_are_inverse_and_leave_out_what_is_empty():
    net = Gate(Tanh(), Dense(3, 4))
    assert net.parts({"b": 1}) == {"a": (), "b": 1}
    assert net.joined({"a": (), "b": 1}) == {"b": 1}
    assert net.joined({"a": {"c": ()}, "b": None}) == {}
    for nothing in ({}, (), None, {"a": ()}):
        assert net.parts(nothing) == {"a": (), "b": ()}
    assert list(net.parts({"b": 2, "a": 1})) == ["a", "b"]


def test_parts_and_joined_of_places_keep_one_entry_each():
    net = Serial(Tanh(), Tanh())
    assert net.parts((1, 2)) == {0: 1, 1: 2}
    assert net.joined({0: 1, 1: 2}) == (1, 2)
    assert net.joined({0: None, 1: 2}) == ((), 2)
    assert net.parts(()) == net.parts(None) == {0: (), 1: ()}


@pytest.mark.parametrize("params", [(1,), (1, 2, 3)], ids=str)
def test_parts_of_another_number_are_refused(params):
    message = rf"^Serial: params must have one entry for each of its 2 layers, got {len(params)}\."
    with pytest.raises(ValueError, match=message):
        Serial(Tanh(), Tanh()).parts(params)


@pytest.mark.parametrize("params", [{"a": 1}, [1, 2], 1.0], ids=str)
def test_parts_of_what_is_no_tuple_are_refused(params):
    message = rf"^Serial: params must be a tuple, .*, got {type(params).__name__}\."
    with pytest.raises(TypeError, match=message):
        Serial(Tanh(), Tanh()).parts(params)


def test_parts_of_other_names_are_refused():
    with pytest.raises(ValueError, match="^Gate: params, .* have no layer 'c'; there are a, b"):
        GATE.parts({"a": 1, "c": 2})
    for wrong in ((1, 2), [1, 2], Dense(1, 1).init(KEY)):
        message = f"^Gate: params, .* must be a dict of a, b, got {type(wrong).__name__}"
        with pytest.raises(TypeError, match=message):
            GATE.parts(wrong)


def test_params_gradients_and_results_have_no_entry_for_what_is_empty():
    net = Gate(Serial(Tanh(), Tanh()), Serial(x=Dense(3, 4), y=Tanh()))
    net = net.with_children({"a": Serial(x=Tanh(), y=Dense(3, 4)), "b": net["b"]})
    params = net.init(KEY)
    assert jax.tree.map(jnp.shape, params) == {
        "a": {"y": ((3, 4), (4,))},
        "b": {"x": ((3, 4), (4,))},
    }
    y, cache = net.forward(params, noise(5, 3))
    grads, _ = net.backward(params, cache, y)
    assert jax.tree.structure(grads) == jax.tree.structure(params)
    deltas, _ = fnn.rules.deltas(net, params, cache, y)
    assert sorted(deltas["a"]) == sorted(deltas["b"]) == ["x", "y"]
    assert Gate(Tanh(), Tanh()).init(KEY) == {}


def test_a_companion_goes_down_beside_the_params():
    found = GATE.parts(With({"a": 1}, {"b": 2}))
    assert found == {"a": With(1, ()), "b": With((), 2)}
    assert Serial(Tanh(), Tanh()).parts(With((1, 2), (3, 4))) == {0: With(1, 3), 1: With(2, 4)}
    assert Residual(Tanh()).parts(With(1, 2)) == {"inner": With(1, 2)}
    found = GATE.parts(With({"a": 1}, {"b": 2}, {"a": 3}))
    assert found == {"a": With(1, (), 3), "b": With((), 2, ())}
    nested = With(With({"a": 1}, {"a": 2}), {"a": 3})
    assert GATE.parts(nested)["a"] == With(With(1, 2), 3)


def test_params_alone_are_plain_and_are_changed_without_their_companions():
    nested = With(With(1, 2), 3)
    assert (plain(nested), plain(5)) == (1, 5)
    assert on_params(lambda p: p + 10, nested) == With(With(11, 2), 3)
    assert on_params(lambda p: p + 10, With(1, 2, 1)) == With(11, 2, 1)
    assert on_params(lambda p: p + 10, 5) == 15


def test_each_is_nested_like_params():
    def size(layer, *entries):
        return (type(layer).__name__, *entries)

    assert GATE.each(size, {"b": 1}) == {"a": ("Serial", ()), "b": ("Dense", 1)}
    assert GATE.each(lambda layer, p: p, {"b": 1}) == {"b": 1}


def test_children_get_keys_of_their_own():
    first, second = Serial(Dense(3, 3), Dense(3, 3)).init(KEY)
    keys = jax.random.split(KEY, 2)
    np.testing.assert_array_equal(first.w, Dense(3, 3).init(keys[0]).w)
    np.testing.assert_array_equal(second.w, Dense(3, 3).init(keys[1]).w)
    params = Gate(Dense(3, 3), Dense(3, 3)).init(KEY)
    np.testing.assert_array_equal(params["a"].w, first.w)
    np.testing.assert_array_equal(params["b"].w, second.w)
    y, _ = Gate(Dropout(0.5), Dropout(0.5)).forward({}, jnp.ones((50, 40)), key=KEY)
    assert np.mean(y == 4) == pytest.approx(0.25, abs=0.05)
    with pytest.raises(TypeError, match="^Gate: key must be a typed key, got 0"):
        GATE.init(0)
    with pytest.raises(TypeError, match="^Gate: key must be a typed key, got 0"):
        GATE.forward(GATE.init(KEY), noise(5, 3), key=0)


WRAPPERS = [
    Residual(Dense(3, 3)),
    Repeat(2, Dense(3, 3)),
    Recompute(Dense(3, 3)),
    Cast(Dense(3, 3), "float64"),
]


@pytest.mark.parametrize("net", WRAPPERS, ids=repr)
def test_every_wrapper_is_transparent(net):
    assert isinstance(net, Wrapper)
    assert dict(net.children) == {"inner": Dense(3, 3)}
    params = net.init(KEY)
    y, cache = net.forward(params, noise(5, 3))
    grads, _ = net.backward(params, cache, y)
    deltas, _ = fnn.rules.deltas(net, params, cache, y)
    assert type(params) is type(grads) is fnn.DenseParams
    assert deltas.shape[-2:] == (5, 3)
    assert net.joined(net.parts(params)) is params
    with pytest.raises(TypeError, match=r"^Dense\(n_in=3, n_out=3\): params must have a field w"):
        net.forward((), noise(5, 3))
    with pytest.raises(ValueError, match=r"^Dense\(n_in=3, n_out=3\): x must have shape"):
        net.forward(params, noise(5, 4))


@pytest.mark.parametrize("kind", [Residual, Recompute, lambda f: Repeat(2, f)])
def test_every_wrapper_hands_its_key_on(kind):
    y, _ = kind(Dropout(0.5)).forward((), jnp.ones((4, 6)), key=KEY)
    assert len(np.unique(y)) > 1


def test_errors_carry_the_path_of_names():
    net = Serial(blocks=Repeat(2, Gate(Residual(Serial(Tanh(), Dense(5, 3))), Dense(3, 3))))
    message = r"^layer blocks\.a\.1, Dense\(n_in=5, n_out=3\): x must have shape \[B, ..., 5\], got"
    with pytest.raises(ValueError, match=message):
        net.forward(net.init(KEY), noise(7, 3))


@pytest.mark.parametrize("kind", [TypeError, ValueError, NotImplementedError])
def test_a_path_grows_from_the_inside_and_says_layer_once(kind):
    def fail(*args):
        with child("a"), child(0), child("b"):
            raise kind(*args)

    with pytest.raises(kind, match=r"^layer a\.0\.b, what$"):
        fail("what")
    with pytest.raises(kind, match=r"^layer a\.0\.b, $"):
        fail()
    with pytest.raises(kind) as error:
        fail("what", 3)
    assert error.value.args == ("layer a.0.b, what", 3)


def test_other_errors_are_left_alone():
    with pytest.raises(KeyError, match="^'what'$"), child("a"):
        raise KeyError("what")


@dataclass(frozen=True)
class Wrong(Gate):
    """A composite whose author made a mistake."""

    forth: tuple[str, ...] = ("a", "b")
    back: tuple[str, ...] = ("b", "a")

    def forward(self, params, x, *, key=None):
        f, caches = Forth(self, params, x, key), {}
        for name in self.forth:
            x, caches[name] = f(name, x)
        return f.end(x), caches

    def backward_with(self, rule, params, cache, dy):
        f = Back(self, rule, params, dy)
        for name in self.back:
            dy = f(name, cache["a"], dy)
        return f.end(dy)


MISTAKES = [
    (("a", "a", "b"), "^Wrong: layer 'a' is called twice; a layer used twice needs a composite"),
    (("a",), "^Wrong: layer 'b' was not called"),
    (("a", "c"), "^Wrong: no layer 'c'; there are a, b"),
    (("a", 0), "^Wrong: no layer 0; there are a, b"),
]


@pytest.mark.parametrize(("names", "message"), MISTAKES)
def test_a_child_called_twice_or_never_or_by_another_name_is_refused(names, message):
    x = noise(5, 3)
    right = Wrong(Tanh(), Tanh())
    _, cache = right.forward({}, x)
    right.backward({}, cache, x)
    with pytest.raises(ValueError, match=message):
        Wrong(Tanh(), Tanh(), forth=names).forward({}, x)
    with pytest.raises(ValueError, match=message):
        Wrong(Tanh(), Tanh(), back=names).backward({}, cache, x)


def test_states_of_other_names_are_refused():
    net = Gate(LSTM(3, 4), LSTM(3, 4))
    with pytest.raises(ValueError, match="^Gate: .* no layer 'c'; there are a, b"):
        net.forward(net.init(KEY), Sequence(X, state={"c": states(4, 4)}))
    with pytest.raises(TypeError, match="^Gate: .* must be a dict of a, b, got tuple"):
        net.forward(net.init(KEY), Sequence(X, state=states(4, 4)))
    with pytest.raises(TypeError, match=r"^layer b, LSTM\(.*: state must be a tuple \(h, c\), got"):
        net.forward(net.init(KEY), Sequence(X, state={"b": states(4)}))


def test_a_state_for_some_of_the_children_begins_the_others_at_zero():
    net = Gate(LSTM(3, 4), GRU(3, 4))
    params, some = net.init(KEY), states(4)
    y, _ = net.forward(params, Sequence(X, MASK, {"b": some}))
    zeros = (jnp.zeros((2, 4)),) * 2
    want, _ = net.forward(params, Sequence(X, MASK, {"a": zeros, "b": some}))
    jax.tree.map(np.testing.assert_array_equal, y, want)


@pytest.mark.parametrize(
    "net",
    [Gate(Look(), Serial(Tanh(), Look())), Serial(Look(), Residual(Look()), Repeat(2, Look()))],
    ids=repr,
)
def test_the_cotangents_of_one_memory_add_up_over_all_who_look(net):
    memory, dy, dmemory = noise(2, 3, seed=2), noise(2, 5, 3, seed=3), noise(2, 3, seed=4)

    def f(x, memory):
        y, _ = net.forward((), Sequence(x, MASK, None, memory))
        return y.x, y.memory

    _, cache = net.forward((), Sequence(X, MASK, None, memory))
    _, dx = net.backward((), cache, Sequence(dy, MASK, None, dmemory))
    want = jax.vjp(f, X, memory)[1]((dy, dmemory))
    for a, b in zip((dx.x, dx.memory), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)
    _, alone = net.backward((), cache, Sequence(dy, MASK))
    np.testing.assert_allclose(alone.memory, dx.memory - dmemory, rtol=1e-9, atol=1e-12)


def test_a_composite_mixes_examples_if_a_layer_inside_does():
    assert mixes(fnn.Serial(Tanh(), fnn.Residual(fnn.BatchNorm(3))))
    assert not mixes(fnn.Serial(Tanh(), fnn.Residual(Dense(3, 3))))
