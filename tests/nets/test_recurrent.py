"""Tests of fnn.nets.recurrent."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_sequence, noise, states

import fnn
from fnn.nets.recurrent import recurrent
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_layers_by_default_and_with_all_that_there_is():
    assert recurrent(3, 4, 2) == fnn.Serial(recurrent_0=fnn.LSTM(3, 4), recurrent_1=fnn.LSTM(4, 4))
    assert recurrent(3, 4, 2, fnn.GRU, dropout=0.25, bidirectional=True) == fnn.Serial(
        recurrent_0=fnn.Bidirectional.of(fnn.GRU(3, 4)),
        dropout_0=fnn.Dropout(0.25),
        recurrent_1=fnn.Bidirectional.of(fnn.GRU(8, 4)),
    )


def test_dropout_stands_between_layers_alone():
    assert [*recurrent(3, 4, 3, fnn.RNN, dropout=0.5).children] == [
        "recurrent_0", "dropout_0", "recurrent_1", "dropout_1", "recurrent_2",
    ]  # fmt: skip
    assert [*recurrent(3, 4, 1, dropout=0.5).children] == ["recurrent_0"]


def test_a_kind_may_be_a_function_with_initializers():
    net = recurrent(3, 4, 2, lambda n_in, n: fnn.LSTM(n_in, n, forget_bias=0.0))
    assert net["recurrent_1"] == fnn.LSTM(4, 4, forget_bias=0.0)


def test_forward_by_hand():
    net, x = recurrent(3, 4, 2, fnn.RNN), noise(2, 5, 3)
    params = net.init(KEY)
    z = x
    for name in net.children:
        wx, wh, b = params[name]
        h, steps = jnp.zeros((2, 4)), []
        for t in range(5):
            h = np.tanh(z[:, t] @ wx + h @ wh + b)
            steps.append(h)
        z = jnp.stack(steps, 1)
    np.testing.assert_allclose(net.forward(params, x)[0], z, rtol=1e-12)


@pytest.mark.slow
def test_contract_of_sequences():
    state = {"recurrent_0": states(4), "recurrent_1": states(4, seed=5)}
    net = recurrent(3, 4, 2, fnn.GRU, dropout=0.25)
    check_sequence(net, Sequence(noise(2, 5, 3), MASK, state), key=KEY, steps=False)
    both = recurrent(3, 4, 2, fnn.RNN, bidirectional=True)
    state = {n: {"ahead": s, "behind": s} for n, s in state.items()}
    check_sequence(both, Sequence(noise(2, 5, 3), MASK, state), steps=False)


@pytest.mark.slow
def test_it_streams_and_is_trained_with_a_mask():
    net, x = recurrent(3, 4, 2, fnn.GRU, dropout=0.5), noise(2, 5, 3)
    plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.Adam(0.05))
    state, target = fnn.start(plan, KEY), noise(2, 5, 4, seed=2) / 4
    state, history = fnn.fit(plan, state, (Sequence(x, MASK), target), epochs=40, batch_size=2)
    assert history["loss"][-5:].mean() < 0.7 * history["loss"][:5].mean()
    net, params = fnn.inference(net, state.params)
    whole, _ = net.forward(params, Sequence(x))
    first, _ = net.forward(params, Sequence(x[:, :2]))
    assert [*first.state] == ["recurrent_0", "recurrent_1"]
    rest, _ = net.forward(params, Sequence(x[:, 2:], state=first.state))
    chex.assert_trees_all_close(jnp.concatenate([first.x, rest.x], 1), whole.x, rtol=1e-12)


@pytest.mark.parametrize(
    ("args", "options", "kind", "message"),
    [
        ((3, 4, 0), {}, ValueError, "n_layers must be at least 1, got 0"),
        ((3, 4, 2.5), {}, TypeError, "n_layers must be an integer, got 2.5"),
        ((0, 4, 2), {}, ValueError, r"LSTM\(n_in=0, n_hidden=4, .*: n_in and n_hidden must"),
        ((3, 4, 2, fnn.Tanh()), {}, TypeError, r"kind must make a layer of \(n_in, n_hidden\)"),
        ((3, 4, 2, lambda a, b: 1), {}, TypeError, "kind must make a layer of"),
        ((3, 4, 2), {"dropout": 1.0}, ValueError, "Dropout: rate must be in"),
        ((3, 4, 2), {"bidirectional": "no"}, TypeError, "bidirectional must be True or False"),
    ],
)
def test_errors(args, options, kind, message):
    with pytest.raises(kind, match=f"^recurrent, {message}"):
        recurrent(*args, **options)
