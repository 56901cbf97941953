"""Tests of fnn.layers.parallel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, Look, check_layer, check_sequence, noise, states

import fnn
from fnn.driver import fold, value_and_grad
from fnn.layers.activations import Identity, Sigmoid, Tanh
from fnn.layers.dense import Dense
from fnn.layers.gru import GRU
from fnn.layers.lstm import LSTM
from fnn.layers.over_time import Last
from fnn.layers.parallel import Parallel
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.losses.regression import SquaredError
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(5, 3)
TWO = Parallel(Scale(2.0), Scale(5.0))


@pytest.mark.parametrize(
    "net",
    [
        Parallel(Dense(3, 4), Serial(Dense(3, 2), Tanh())),
        pytest.param(
            Parallel(left=Dense(3, 4), right=Dense(3, 4), join="sum"), marks=pytest.mark.slow
        ),
        Parallel(left=Dense(3, 4), right=Identity(), join=None),
    ],
    ids=str,
)
def test_contract(net):
    check_layer(net, X)


@pytest.mark.slow
@pytest.mark.parametrize("join", ["concat", "sum"])
def test_contract_of_sequences(join):
    net = Parallel(a=LSTM(3, 4), b=Serial(Dense(3, 4), GRU(4, 4)), join=join)
    state = {"a": states(4, 4), "b": ((), states(4, seed=7))}
    check_sequence(net, Sequence(noise(2, 5, 3), MASK, state))


def test_joins_by_hand():
    x, ones = jnp.array([[3.0]]), jnp.array([[1.0]])
    y, cache = TWO.forward((), x)
    np.testing.assert_array_equal(y, [[6, 15]])
    _, dx = TWO.backward(((), ()), cache, jnp.array([[1.0, 10.0]]))
    np.testing.assert_array_equal(dx, [[2 + 50]])
    net = Parallel(*TWO.layers, join="sum")
    y, cache = net.forward((), x)
    assert (y, net.backward((), cache, 10 * ones)[1]) == (21, 70)
    net = Parallel(a=Scale(2.0), b=Scale(5.0), join=None)
    y, cache = net.forward({}, x)
    assert y == {"a": 6, "b": 15}
    assert net.backward({}, cache, {"a": 10 * ones, "b": ones}) == ({}, 25)


def test_split_by_hand():
    x, ones = {"a": jnp.array([[3.0]]), "b": jnp.array([[4.0]])}, jnp.array([[1.0]])
    net = Parallel(b=Scale(2.0), a=Scale(5.0), split=True)
    y, cache = net.forward({}, x)
    np.testing.assert_array_equal(y, [[8, 15]])  # in the order of the layers
    assert net.backward({}, cache, jnp.array([[1.0, 10.0]])) == ({}, {"a": 50, "b": 2})
    net = Parallel(Scale(2.0), Scale(5.0), split=True, join=None)
    y, cache = net.forward((), (ones, ones))
    assert (y, net.backward((), cache, (ones, ones))) == ((2, 5), (((), ()), (2, 5)))


def test_an_array_of_features_is_a_concatenation_of_layers_of_one_each():
    wide, narrow = Dense(3, 5), Parallel(Dense(3, 2), Dense(3, 3))
    (w, v), (b, c) = ([p[i] for p in narrow.init(KEY)] for i in (0, 1))
    joined = fnn.DenseParams(jnp.concatenate([w, v], 1), jnp.concatenate([b, c]))
    y, _ = wide.forward(joined, X)
    np.testing.assert_allclose(narrow.forward(narrow.init(KEY), X)[0], y, rtol=1e-12)


TEXT = Serial(embed=fnn.Embedding(7, 2), rnn=fnn.RNN(2, 4), last=Last())


def two_inputs(join):
    """A net, params, x of a Sequence of tokens and an array, and targets."""
    towers = Parallel(text=TEXT, image=Dense(3, 4), split=True, join=join)
    net = Serial(towers=towers, head=Dense(8 if join == "concat" else 4, 2))
    tokens = Sequence(jnp.array([[1, 4, 0, 6, 2], [3, 3, 5, 0, 1]]), MASK)
    return net, net.init(KEY), {"text": tokens, "image": noise(2, 3)}, noise(2, 2, seed=5)


@pytest.mark.parametrize("join", [pytest.param("concat", marks=pytest.mark.slow), "sum"])
def test_a_net_of_two_inputs(join):
    net, params, x, target = two_inputs(join)

    def value(params, image):
        y, _ = net.forward(params, x | {"image": image})
        return ((y - target) ** 2).sum() / 2

    done = jax.jit(fold)(net, SquaredError(), params, x, target)
    want, want_image = jax.jit(jax.grad(value, (0, 1)))(params, x["image"])
    close(done.result, want)
    close(done.dx["image"], want_image)
    assert done.dx["text"].x is None


@pytest.mark.slow
def test_norms_of_examples_of_two_inputs_are_those_of_each_alone():
    net, params, x, target = two_inputs("concat")
    rows = jax.jit(fold)(net, SquaredError(), params, x, target, rule=example_norms).result
    for b in range(2):
        one = jax.tree.map(lambda a, b=b: a[b : b + 1], x)
        _, grads = value_and_grad(net, SquaredError(), params, one, target[b : b + 1])
        norm = sum((g**2).sum() for g in jax.tree.leaves(grads))
        np.testing.assert_allclose(fnn.rules.total(rows)[b], norm, rtol=1e-10)


def close(found, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **EXACT), found, want)


@pytest.mark.slow
def test_one_sequence_of_several_inputs_has_one_mask_state_and_memory():
    net = Parallel(a=GRU(2, 3), b=Serial(Look(), GRU(3, 4)), split=True)
    params, memory = net.init(KEY), noise(2, 3, seed=8)
    state = {"a": states(3), "b": ((), states(4, seed=7))}
    x = Sequence({"a": noise(2, 5, 2), "b": noise(2, 5, 3, seed=2)}, MASK, state, memory)

    def f(params, x, state, memory):
        y, _ = net.forward(params, Sequence(x, MASK, state, memory))
        return y.x, y.state, y.memory

    y, cache = net.forward(params, x)
    assert y.x.shape == (2, 5, 7)
    dy = jax.tree.map(lambda a: noise(*a.shape), (y.x, y.state, y.memory))
    grads, dx = net.backward(params, cache, Sequence(dy[0], MASK, *dy[1:]))
    want = jax.vjp(f, params, x.x, state, memory)[1](dy)
    close((grads, dx.x, dx.state, dx.memory), want)
    alone, _ = net["a"].forward(params["a"], Sequence(x.x["a"], MASK, state["a"]))
    np.testing.assert_array_equal(y.x[..., :3], alone.x)


def test_several_sequences_keep_what_belongs_to_each():
    net = Parallel(Serial(Look(), GRU(3, 4)), Look(), split=True, join=None)
    params = net.init(KEY)
    first = Sequence(noise(2, 5, 3), MASK, ((), states(4)), noise(2, 3, seed=8))
    other = Sequence(noise(2, 7, 3, seed=4), memory=noise(2, 3, seed=9))
    (a, b), cache = net.forward(params, (first, other))
    alone, own = net[0].forward(params[0], first)
    jax.tree.map(np.testing.assert_array_equal, (a.x, a.state), (alone.x, alone.state))
    grads, (da, db) = net.backward(params, cache, (a, b))
    want, dx = net[0].backward(params[0], own, a)
    jax.tree.map(np.testing.assert_array_equal, (grads[0], da), (want, dx))
    np.testing.assert_allclose(db.memory, b.memory + (other.x * b.x).sum(1), rtol=1e-12)


@pytest.mark.slow
def test_layers_that_give_several_values_feed_layers_that_take_them():
    fork = Parallel(a=Dense(3, 4), b=Dense(3, 2), join=None)
    net = Serial(fork, Parallel(a=Tanh(), b=Dense(2, 4), split=True, join="sum"))
    check_layer(net, X)
    sequences = Serial(fork.with_children({"a": GRU(3, 4), "b": LSTM(3, 2)}), net[1])
    state = {"a": states(4), "b": states(2, 2, seed=7)}, ()
    y, _ = sequences.forward(sequences.init(KEY), Sequence(noise(2, 5, 3), MASK, state))
    assert y.state[0]["b"][1].shape == (2, 2)
    check_sequence(sequences, Sequence(noise(2, 5, 3), MASK, state))


def test_the_memory_that_all_look_at_gets_the_sum_of_their_cotangents():
    net, x, memory = Parallel(Look(), Look(), join="sum"), noise(2, 5, 3), noise(2, 3, seed=2)
    _, cache = net.forward((), Sequence(x, memory=memory))
    dy, dmemory = noise(2, 5, 3, seed=3), noise(2, 3, seed=4)
    _, dx = net.backward((), cache, Sequence(dy, memory=dmemory))
    np.testing.assert_allclose(dx.memory, dmemory + 2 * (x * dy).sum(1), rtol=1e-12)


def test_integers_have_no_dx_whoever_reads_them():
    table = fnn.Embedding(7, 2)
    net, tokens = Parallel(table, table, join="sum"), jnp.array([[1, 4, 0], [6, 6, 2]])
    params = net.init(KEY)
    y, cache = net.forward(params, tokens)
    grads, dx = net.backward(params, cache, y)
    assert dx is None
    close(grads, jax.vjp(lambda p: net.forward(p, tokens)[0], params)[1](y)[0])
    y, cache = net.forward(params, Sequence(tokens))
    assert net.backward(params, cache, y)[1].x is None
    pair = Parallel(Parallel(table, Tanh(), split=True), Parallel(table, Tanh(), split=True))
    x = tokens, noise(2, 3, 3)
    y, cache = pair.forward(pair.init(KEY), x)
    _, (nothing, dx) = pair.backward(pair.init(KEY), cache, y)
    assert nothing is None
    s = 1 - np.tanh(x[1]) ** 2
    np.testing.assert_allclose(dx, s * (y[..., 2:5] + y[..., 7:]), rtol=1e-12)


def test_layers_that_draw_have_keys_of_their_own():
    y, _ = Parallel(fnn.Dropout(0.5), fnn.Dropout(0.5)).forward((), jnp.ones((3, 40)), key=KEY)
    assert (y[:, :40] != y[:, 40:]).any()


def test_it_is_written_as_it_is_shown_and_keeps_its_route_over_other_layers():
    net = Parallel(a=Tanh(), b=Dense(3, 4), join=None, split=True)
    assert repr(net) == "Parallel(a=Tanh(), b=Dense(n_in=3, n_out=4), join=None, split=True)"
    assert repr(Parallel(Tanh(), Sigmoid())) == "Parallel(Tanh(), Sigmoid())"
    assert net.with_children(net.children) == net
    assert net.with_children({"a": Tanh(), "b": Tanh()})["b"] == Tanh()
    assert Parallel(Tanh()) != Parallel(Tanh(), join="sum")
    assert len(TWO.init(KEY)) == 2


def test_errors():
    with pytest.raises(ValueError, match='^Parallel: join must be "concat", "sum" or None, got'):
        Parallel(Tanh(), join="mean")
    with pytest.raises(ValueError, match="^Parallel: there must be at least one layer"):
        Parallel(join="sum")
    with pytest.raises(TypeError, match="^Parallel: split must be True or False, got 2"):
        Parallel(Tanh(), split=2)
    with pytest.raises(TypeError, match="^Parallel: give every layer a name, or none"):
        Parallel(Tanh(), a=Tanh())
    with pytest.raises(TypeError, match=r"^Parallel takes layers, got .*; build it: Tanh\("):
        Parallel(Tanh)
    net = Parallel(a=Dense(3, 4), b=Dense(3, 2), join="sum")
    message = (
        r"^Parallel: y of layer b must have shape \[5, 4\], got \[5, 2\]; that of layer a has \["
    )
    with pytest.raises(ValueError, match=message):
        net.forward(net.init(KEY), X)
    with pytest.raises(ValueError, match=r"^layer b, Dense\(n_in=3, n_out=2\): x must have"):
        Parallel(a=Tanh(), b=Dense(3, 2)).forward({"b": net.init(KEY)["b"]}, noise(5, 4))
    message = (
        r"^Parallel: y of layer 1 must have shape \[5, 3\], got \[10, 3\]; that of layer 0 has"
    )
    with pytest.raises(ValueError, match=message):
        Parallel(Tanh(), fnn.Flatten(), split=True).forward((), (noise(5, 2), noise(10, 3, 1)))


@pytest.mark.parametrize(
    ("net", "x", "message"),
    [
        (Parallel(a=Tanh(), split=True), X, "x must be a dict of a, one for each layer, got"),
        (Parallel(a=Tanh(), split=True), {"a": X, "b": X}, "x must be a dict of a, one"),
        (Parallel(Tanh(), split=True), (X, X), "x must be a tuple of 1, one for each layer, got"),
        (Parallel(Last(), Tanh()), Sequence(noise(2, 5, 3)),
         "all layers must make Sequences, or none; of layers 0 and 1 one does"),
        (Parallel(Last(), Tanh(), split=True), (Sequence(noise(2, 5, 3)),) * 2,
         "layer 1 makes a Sequence of its own, which cannot be joined; end it in Last"),
    ],
)  # fmt: skip
def test_errors_of_what_is_dealt_out_and_joined(net, x, message):
    with pytest.raises(TypeError, match=f"^Parallel: {message}"):
        net.forward((), x)
