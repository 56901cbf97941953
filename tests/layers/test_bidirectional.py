"""Tests of fnn.layers.bidirectional."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

import fnn
from fnn.layers.bidirectional import Bidirectional
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(2, 5, 3)
LAYER = Bidirectional(fnn.RNN(3, 4), fnn.RNN(3, 6))
RAGGED = jnp.array([[True, True, True, False, False], [True, True, True, True, True]])


def test_contract():
    check_layer(LAYER, X)


def test_by_hand():
    layer = Bidirectional(fnn.RNN(1, 1))
    one = fnn.RNNParams(jnp.array([[2.0]]), jnp.array([[3.0]]), jnp.array([1.0]))
    other = fnn.RNNParams(jnp.array([[1.0]]), jnp.array([[-1.0]]), jnp.array([0.0]))
    y, cache = layer.forward((one, other), jnp.array([[[0.5], [-1.0]]]))
    h, k = np.tanh(2.0), np.tanh(-1.0)  # the first step, and the last, which comes first
    np.testing.assert_allclose(y[0, :, 0], [h, np.tanh(3 * h - 1)], rtol=1e-12)
    np.testing.assert_allclose(y[0, :, 1], [np.tanh(0.5 - k), k], rtol=1e-12)
    dy = jnp.array([[[10.0, 1.0], [0.0, 0.0]]])
    grads, dx = layer.backward((one, other), cache, dy)
    da, db = 10 * (1 - h**2), 1 - np.tanh(0.5 - k) ** 2
    np.testing.assert_allclose(dx[0, :, 0], [2 * da + db, -db * (1 - k**2)], rtol=1e-12)
    np.testing.assert_allclose(grads[0].wh, [[0.0]], atol=1e-15)
    np.testing.assert_allclose(grads[1].wh, [[k * db]], rtol=1e-12)


@pytest.mark.parametrize("cell", [fnn.RNN, fnn.LSTM, fnn.GRU])
def test_gradients_with_mask_and_states_are_those_of_jax(cell):
    layer, n_states = Bidirectional(cell(3, 4), cell(3, 6)), 2 if cell is fnn.LSTM else 1
    states = [tuple(noise(2, n, seed=i) for i in range(n_states)) for n in (4, 6)]
    state = tuple(s if n_states > 1 else s[0] for s in states)
    params = layer.init(KEY)

    def f(params, x, state):
        return layer.forward(params, Sequence(x, RAGGED, state))[0]

    y, vjp = jax.vjp(f, params, X, state)
    dy = noise(*y.shape, seed=7)
    _, cache = layer.forward(params, Sequence(X, RAGGED, state))
    grads, dx = layer.backward(params, cache, dy)
    assert dx.mask is None
    assert jax.tree.structure(dx.state) == jax.tree.structure(state)
    ours = (grads, dx.x, dx.state)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_dx_has_the_form_of_x():
    params = LAYER.init(KEY)
    for x in (X, Sequence(X), Sequence(X, RAGGED)):
        y, cache = LAYER.forward(params, x)
        _, dx = LAYER.backward(params, cache, y)
        assert type(dx) is type(x)
        assert not isinstance(dx, Sequence) or (dx.mask, dx.state) == (None, None)


def test_behind_padding_each_sequence_is_read_from_its_own_last_step():
    layer = Bidirectional(fnn.LSTM(3, 4))
    params = layer.init(KEY)
    y, cache = layer.forward(params, Sequence(X, RAGGED))
    dy = jnp.where(RAGGED[..., None], noise(*y.shape, seed=2), 0)
    _, dx = layer.backward(params, cache, dy)
    for b, length in enumerate((3, 5)):
        alone, cache = layer.forward(params, X[b : b + 1, :length])
        np.testing.assert_allclose(y[b, :length], alone[0], rtol=1e-12)
        _, d = layer.backward(params, cache, dy[b : b + 1, :length])
        np.testing.assert_allclose(dx.x[b, :length], d[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(dx.x[0, 3:], 0)


def test_a_palindrome_says_the_same_in_both_directions():
    layer = Bidirectional(fnn.GRU(3, 4))
    one, _ = layer.init(KEY)
    x = jnp.concatenate([X, X[:, ::-1]], 1)
    y, _ = layer.forward((one, one), x)
    np.testing.assert_allclose(y[..., :4], y[:, ::-1, 4:], rtol=1e-12)


def test_without_a_second_layer_the_first_stands_twice_with_weights_of_its_own():
    layer = Bidirectional(fnn.RNN(3, 4))
    assert layer == Bidirectional(fnn.RNN(3, 4), fnn.RNN(3, 4))
    assert layer.with_children(LAYER.children) == LAYER
    first, second = layer.init(KEY)
    assert np.abs(first.wx - second.wx).min() > 0


def test_rules_reach_both_layers():
    net = fnn.Serial(LAYER, fnn.Dense(10, 2))
    params, target = net.init(KEY), noise(2, 5, 2)
    loss = fnn.SquaredError()
    _, deltas = fnn.value_and_grad(net, loss, params, X, target, rule=fnn.rules.deltas)
    assert [d.shape for d in deltas[0]] == [(2, 5, 4), (2, 5, 6)]
    _, norms = fnn.value_and_grad(net, loss, params, X, target, rule=fnn.rules.example_norms)
    for b in range(2):
        _, grads = fnn.value_and_grad(net, loss, params, X[b : b + 1], target[b : b + 1])
        for ours, g in zip(norms[0], grads[0], strict=True):
            np.testing.assert_allclose(ours[b], sum((a**2).sum() for a in g), rtol=1e-10)


def test_both_layers_get_a_key_of_their_own():
    layer = Bidirectional(fnn.Dropout(0.5))
    y, _ = layer.forward(((), ()), jnp.ones((3, 8, 16)), key=KEY)
    assert (y[..., :16] != y[:, ::-1, 16:]).any()


def test_errors():
    params = LAYER.init(KEY)
    with pytest.raises(ValueError, match=r"layer 0, RNN\(.*x must have shape \[B, T, 3\], got"):
        LAYER.forward(params, X[0])
    mixed = Bidirectional(fnn.RNN(3, 4), fnn.RNN(2, 4))
    with pytest.raises(ValueError, match=r"layer 1, RNN\(n_in=2, n_hidden=4\): x must have shape"):
        mixed.forward(mixed.init(KEY), X)
    with pytest.raises(ValueError, match="^Bidirectional: state must be a pair, that of forward"):
        LAYER.forward(params, Sequence(X, state=noise(2, 4)))
    with pytest.raises(ValueError, match=r"both layers must make \[B, T, ...\] of the same"):
        Bidirectional(fnn.RNN(3, 4), fnn.Flatten()).forward((params[0], ()), X)
    with pytest.raises(TypeError, match=r"Bidirectional takes layers, got .*build it: LSTM\("):
        Bidirectional(fnn.LSTM)
