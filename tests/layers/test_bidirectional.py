"""Tests of fnn.layers.bidirectional."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

import fnn
from fnn.layers.bidirectional import Bidirectional
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(2, 5, 3)
LAYER = Bidirectional(fnn.RNN(3, 4), fnn.RNN(3, 6))
RAGGED = jnp.array([[True, True, True, False, False], [True, True, True, True, True]])


@pytest.mark.slow
def test_contract():
    check_layer(LAYER, X)


def test_by_hand():
    layer = Bidirectional.of(fnn.RNN(1, 1))
    one = fnn.RNNParams(jnp.array([[2.0]]), jnp.array([[3.0]]), jnp.array([1.0]))
    other = fnn.RNNParams(jnp.array([[1.0]]), jnp.array([[-1.0]]), jnp.array([0.0]))
    params = {"ahead": one, "behind": other}
    y, cache = layer.forward(params, jnp.array([[[0.5], [-1.0]]]))
    h, k = np.tanh(2.0), np.tanh(-1.0)  # the first step, and the last, which comes first
    np.testing.assert_allclose(y[0, :, 0], [h, np.tanh(3 * h - 1)], rtol=1e-12)
    np.testing.assert_allclose(y[0, :, 1], [np.tanh(0.5 - k), k], rtol=1e-12)
    dy = jnp.array([[[10.0, 1.0], [0.0, 0.0]]])
    grads, dx = layer.backward(params, cache, dy)
    da, db = 10 * (1 - h**2), 1 - np.tanh(0.5 - k) ** 2
    np.testing.assert_allclose(dx[0, :, 0], [2 * da + db, -db * (1 - k**2)], rtol=1e-12)
    np.testing.assert_allclose(grads["ahead"].wh, [[0.0]], atol=1e-15)
    np.testing.assert_allclose(grads["behind"].wh, [[k * db]], rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(("cell", "n_states"), [(fnn.RNN, 1), (fnn.LSTM, 2), (fnn.GRU, 1)])
def test_contract_of_sequences(cell, n_states):
    state = {"ahead": states(*(4,) * n_states), "behind": states(*(6,) * n_states, seed=7)}
    layer = Bidirectional(cell(3, 4), cell(3, 6))
    check_sequence(layer, Sequence(X, MASK, state), steps=False)


@pytest.mark.slow
def test_contract_of_sequences_through_stacks():
    ahead = fnn.Serial(fnn.GRU(3, 4), fnn.RNN(4, 2))
    layer = Bidirectional(ahead, fnn.Repeat(2, fnn.RNN(3, 3)))
    state = {"ahead": (states(4), states(2, seed=7)), "behind": (noise(2, 2, 3, seed=9),)}
    check_sequence(layer, Sequence(X, MASK, state), steps=False)


@pytest.mark.slow
def test_contract_of_stacks_of_them():
    net = fnn.Serial(Bidirectional.of(fnn.GRU(3, 4)), Bidirectional(fnn.RNN(8, 2), fnn.RNN(8, 5)))
    check_sequence(net, Sequence(X, MASK), steps=False)


def test_the_state_that_comes_out_is_that_of_both_layers():
    params = LAYER.init(KEY)
    y, _ = LAYER.forward(params, Sequence(X, RAGGED))
    np.testing.assert_array_equal(y.mask, RAGGED)
    (ahead,), (behind,) = y.state["ahead"], y.state["behind"]
    np.testing.assert_array_equal(ahead, [y.x[0, 2, :4], y.x[1, 4, :4]])
    np.testing.assert_array_equal(behind, y.x[:, 0, 4:])


def test_dx_has_the_form_of_x():
    params = LAYER.init(KEY)
    for x in (X, Sequence(X), Sequence(X, RAGGED)):
        y, cache = LAYER.forward(params, x)
        _, dx = LAYER.backward(params, cache, y)
        assert type(dx) is type(x)
        assert type(y) is type(x)
        assert not isinstance(dx, Sequence) or (dx.mask is x.mask, dx.state) == (True, None)


@pytest.mark.slow
def test_behind_padding_each_sequence_is_read_from_its_own_last_step():
    layer = Bidirectional.of(fnn.LSTM(3, 4))
    params = layer.init(KEY)
    y, cache = layer.forward(params, Sequence(X, RAGGED))
    dy = jnp.where(RAGGED[..., None], noise(2, 5, 8, seed=2), 0)
    _, dx = layer.backward(params, cache, Sequence(dy, RAGGED))
    for b, length in enumerate((3, 5)):
        alone, cache = layer.forward(params, X[b : b + 1, :length])
        np.testing.assert_allclose(y.x[b, :length], alone[0], rtol=1e-12)
        _, d = layer.backward(params, cache, dy[b : b + 1, :length])
        np.testing.assert_allclose(dx.x[b, :length], d[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(dx.x[0, 3:], 0)


def test_a_palindrome_says_the_same_in_both_directions():
    layer = Bidirectional.of(fnn.GRU(3, 4))
    one = layer.init(KEY)["ahead"]
    x = jnp.concatenate([X, X[:, ::-1]], 1)
    y, _ = layer.forward({"ahead": one, "behind": one}, x)
    np.testing.assert_allclose(y[..., :4], y[:, ::-1, 4:], rtol=1e-12)


def test_of_one_layer_are_two_with_weights_of_their_own():
    layer = Bidirectional.of(fnn.RNN(3, 4))
    assert layer == Bidirectional(fnn.RNN(3, 4), fnn.RNN(3, 4))
    assert layer.with_children(LAYER.children) == LAYER
    params = layer.init(KEY)
    assert np.abs(params["ahead"].wx - params["behind"].wx).min() > 0


@pytest.mark.slow
def test_rules_reach_both_layers():
    net = fnn.Serial(LAYER, fnn.Dense(10, 2))
    params, target = net.init(KEY), noise(2, 5, 2)
    loss, rules = fnn.SquaredError(), (fnn.rules.deltas, fnn.rules.example_norms)
    deltas, norms = fnn.fold(net, loss, params, X, target, rule=rules).result
    assert deltas[0]["ahead"].shape == (2, 5, 4)
    assert deltas[0]["behind"].shape == (2, 5, 6)
    for b in range(2):
        _, grads = fnn.value_and_grad(net, loss, params, X[b : b + 1], target[b : b + 1])
        for name in ("ahead", "behind"):
            want = sum((a**2).sum() for a in grads[0][name])
            np.testing.assert_allclose(norms[0][name][b], want, rtol=1e-10)


def test_both_layers_get_a_key_of_their_own():
    layer = Bidirectional.of(fnn.Dropout(0.5))
    y, _ = layer.forward({}, jnp.ones((3, 8, 16)), key=KEY)
    assert (y[..., :16] != y[:, ::-1, 16:]).any()


def test_errors():
    params = LAYER.init(KEY)
    with pytest.raises(ValueError, match=r"^layer ahead, RNN\(.*x must have shape \[B, T, 3\]"):
        LAYER.forward(params, X[0])
    mixed = Bidirectional(fnn.RNN(3, 4), fnn.RNN(2, 4))
    with pytest.raises(ValueError, match=r"^layer behind, RNN\(n_in=2, n_hidden=4\): x must"):
        mixed.forward(mixed.init(KEY), X)
    with pytest.raises(TypeError, match="^Bidirectional: .* must be a dict of ahead, behind"):
        LAYER.forward(params, Sequence(X, state=states(4, 6)))
    with pytest.raises(ValueError, match="^Bidirectional: .* no layer 'back'; there are ahead, be"):
        LAYER.forward(params, Sequence(X, state={"back": states(4)}))
    with pytest.raises(ValueError, match=r"both layers must make \[B, T, ...\] of the same"):
        Bidirectional(fnn.RNN(3, 4), fnn.Flatten()).forward({"ahead": params["ahead"]}, X)
    with pytest.raises(TypeError, match=r"Bidirectional takes layers, got .*build it: LSTM\("):
        Bidirectional.of(fnn.LSTM)
