"""Tests of fnn.layers.skip."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, Look, check_layer, check_sequence, noise, states

import fnn
from fnn.layers.activations import Tanh
from fnn.layers.dense import Dense
from fnn.layers.lstm import LSTM
from fnn.layers.parallel import Parallel
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.layers.skip import Skip
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(5, 3)


def test_contract():
    check_layer(Skip(Serial(Dense(3, 4), Tanh())), X)


@pytest.mark.slow
def test_contract_of_sequences():
    check_sequence(Skip(LSTM(3, 4)), Sequence(noise(2, 5, 3), MASK, states(4, 4)))


def test_forward_and_backward_by_hand():
    layer = Skip(Scale(3.0))
    y, cache = layer.forward((), jnp.array([[2.0, -1.0]]))
    grads, dx = layer.backward((), cache, jnp.array([[1.0, 10.0, 100.0, 1000.0]]))
    np.testing.assert_array_equal(y, [[2, -1, 6, -3]])
    np.testing.assert_array_equal(dx, [[301, 3010]])
    assert grads == ()


def test_it_is_the_identity_beside_a_layer_whose_params_are_its_own():
    inner = Serial(Dense(3, 4), Tanh())
    params, pair = inner.init(KEY), Parallel(fnn.Identity(), inner)
    y, cache = Skip(inner).forward(params, X)
    want, caches = pair.forward(((), params), X)
    np.testing.assert_array_equal(y, want)
    dy = noise(5, 7)
    grads, dx = Skip(inner).backward(params, cache, dy)
    (_, other), other_dx = pair.backward(((), params), caches, dy)
    jax.tree.map(np.testing.assert_array_equal, (grads, dx), (other, other_dx))


@pytest.mark.slow
def test_a_u_net_is_levels_around_levels():
    inside = Dense(4, 5)
    for n in (4, 3):  # the features of each level, from the coarse one
        around = Serial(pool=fnn.MaxPool2d(2), inside=inside, up=fnn.Upsample(2))
        inside = Serial(down=Dense(n - 1, n), skip=Skip(around), up=Dense(n + 5, 5))
    params, x = inside.init(KEY), noise(1, 4, 8, 2)
    assert params["skip"]["inside"]["up"].w.shape == (9, 5)
    y, cache = inside.forward(params, x)
    assert y.shape == (1, 4, 8, 5)
    found = inside.backward(params, cache, y)
    want = jax.vjp(lambda p, x: inside.forward(p, x)[0], params, x)[1](y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-10, 1e-12), found, want)


def test_the_memory_that_is_looked_at_gets_its_cotangent_once():
    net, x, memory = Skip(Look()), noise(2, 5, 3), noise(2, 3, seed=2)
    _, cache = net.forward((), Sequence(x, memory=memory))
    dy, dmemory = noise(2, 5, 6, seed=3), noise(2, 3, seed=4)
    _, dx = net.backward((), cache, Sequence(dy, memory=dmemory))
    np.testing.assert_allclose(dx.memory, dmemory + (x * dy[..., 3:]).sum(1), rtol=1e-12)


def test_rules_and_params_are_those_of_the_inner_layer():
    net = Skip(Dense(3, 4))
    params = net.init(KEY)
    np.testing.assert_array_equal(params.w, Dense(3, 4).init(KEY).w)
    y, cache = net.forward(params, X)
    deltas, _ = fnn.rules.deltas(net, params, cache, y)
    np.testing.assert_array_equal(deltas, y[:, 3:])
    norms, _ = fnn.rules.example_norms(net, params, cache, y)
    for b in range(5):
        row = slice(b, b + 1)
        grads, _ = net.backward(params, net.forward(params, X[row])[1], y[row])
        np.testing.assert_allclose(norms[b], sum((g**2).sum() for g in grads), rtol=1e-12)
    assert net.with_children({"inner": Tanh()}) == Skip(Tanh())


def test_errors():
    net = Skip(fnn.MaxPool2d(2))
    message = r"^Skip: inner\(x\) must have shape \[2, 4, 6, 3\], got \[2, 2, 3, 3\]; only the last"
    with pytest.raises(ValueError, match=message):
        net.forward((), noise(2, 4, 6, 3))
    with pytest.raises(ValueError, match=r"^Skip: inner\(x\) must have shape"):
        Skip(fnn.Last()).forward((), Sequence(noise(2, 5, 3)))
    with pytest.raises(TypeError, match="^Skip: x must be floating, got int64"):
        Skip(fnn.Embedding(4, 3)).forward(fnn.Embedding(4, 3).init(KEY), jnp.ones((2, 5), int))
    with pytest.raises(TypeError, match=r"^Skip takes layers, got .*; build it: Tanh\("):
        Skip(Tanh)
