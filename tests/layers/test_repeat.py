"""Tests of fnn.layers.repeat."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, Look, check_layer, check_sequence, noise, states

import fnn
from fnn.layers.activations import SiLU, Tanh
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.dropout import Dropout
from fnn.layers.lstm import LSTM
from fnn.layers.repeat import Repeat
from fnn.layers.residual import Residual
from fnn.layers.serial import Serial
from fnn.sequence import Sequence

KEY = jax.random.key(0)
BLOCK = Residual(Serial(Dense(3, 4), Tanh(), Dense(4, 3)))


def test_contract():
    check_layer(Repeat(2, BLOCK), noise(5, 3))


@pytest.mark.slow
def test_contract_with_a_key():
    block = Serial(Dense(3, 3), Dropout(0.4))
    check_layer(Repeat(2, block), noise(2, 3), key=KEY)


def stacked(*trees):
    return jax.tree.map(lambda *a: jnp.stack(a), *trees)


def test_contract_of_sequences_with_a_state_for_every_copy():
    state = stacked(states(3, 3), states(3, 3, seed=7))
    check_sequence(Repeat(2, LSTM(3, 3)), Sequence(noise(2, 5, 3), MASK, state))


def test_forward_and_backward_by_hand():
    layer = Repeat(2, Dense(1, 1))
    params = DenseParams(w=jnp.array([[[2.0]], [[5.0]]]), b=jnp.array([[1.0], [7.0]]))
    y, cache = layer.forward(params, jnp.array([[4.0]]))
    grads, dx = layer.backward(params, cache, jnp.array([[1.0]]))
    assert y == 5 * (2 * 4 + 1) + 7
    np.testing.assert_array_equal(grads.w.ravel(), [5 * 4, 2 * 4 + 1])
    np.testing.assert_array_equal(grads.b.ravel(), [5, 1])
    assert dx == 5 * 2


def test_same_as_the_copies_in_series():
    repeated, series = Repeat(3, BLOCK), Serial(BLOCK, BLOCK, BLOCK)
    x, dy = noise(5, 3), noise(5, 3, seed=2)
    params = repeated.init(KEY)
    copies = tuple(jax.tree.map(lambda a, i=i: a[i], params) for i in range(3))

    @jax.jit
    def run(net, params):
        y, cache = net.forward(params, x)
        return y, *net.backward(params, cache, dy)

    series_y, series_grads, series_dx = run(series, copies)
    want = series_y, stacked(*series_grads), series_dx
    chex.assert_trees_all_close(run(repeated, params), want, rtol=1e-12)


def test_same_as_the_copies_in_series_with_their_states():
    cell = LSTM(3, 3)
    repeated, series = Repeat(2, cell), Serial(cell, cell)
    copies, given = series.init(KEY), (states(3, 3), states(3, 3, seed=7))
    params, x = stacked(*copies), Sequence(noise(2, 5, 3), MASK)
    y, _ = repeated.forward(params, x.with_fields(state=stacked(*given)))
    want, _ = series.forward(copies, x.with_fields(state=given))
    chex.assert_trees_all_close(y, want.with_fields(state=stacked(*want.state)), rtol=1e-12)
    begun, _ = repeated.forward(params, x)
    zeros = jax.tree.map(jnp.zeros_like, begun.state)
    chex.assert_trees_all_equal(repeated.forward(params, x.with_fields(state=zeros))[0], begun)


def test_every_copy_looks_at_one_memory_whose_cotangents_add_up():
    layer, x = Repeat(3, Look()), Sequence(noise(2, 5, 4), memory=noise(2, 4, seed=2))
    y, cache = layer.forward((), x)
    np.testing.assert_allclose(y.x, x.x * x.memory[:, None] ** 3, rtol=1e-12)
    assert y.memory is x.memory
    dy = noise(2, 5, 4, seed=3)
    _, dx = layer.backward((), cache, Sequence(dy))
    np.testing.assert_allclose(dx.x, dy * x.memory[:, None] ** 3, rtol=1e-12)
    np.testing.assert_allclose(dx.memory, 3 * x.memory**2 * (x.x * dy).sum(1), rtol=1e-12)
    _, more = layer.backward((), cache, Sequence(dy, memory=jnp.ones((2, 4))))
    np.testing.assert_allclose(more.memory, dx.memory + 1, rtol=1e-12)


def test_copies_are_drawn_independently():
    w = Repeat(3, Dense(4, 5)).init(KEY).w
    assert w.shape == (3, 4, 5)
    assert np.abs(w[0] - w[1]).min() > 0


def test_copies_drop_different_entries():
    _, cache = Repeat(2, Dropout(0.5)).forward((), jnp.ones((20, 30)), key=KEY)
    first, second = cache.inner.kept
    assert np.mean(first != second) == pytest.approx(0.5, abs=0.1)


def test_program_does_not_grow_with_the_number_of_copies():
    def program(n):
        layer = Repeat(n, BLOCK)

        def run(params, x):
            y, cache = layer.forward(params, x)
            return layer.backward(params, cache, y)

        jaxpr = jax.make_jaxpr(run)(jax.eval_shape(layer.init, KEY), noise(5, 3))
        return str(jaxpr).replace(f"{n}]", "n]").replace(f"{n},", "n,").replace(f"={n}", "=n")

    assert program(20).count("\n") == program(2).count("\n")
    assert abs(len(program(20)) - len(program(2))) < 0.1 * len(program(2))


def test_inner_that_changes_the_shape_is_refused():
    layer = Repeat(2, Dense(3, 4))
    message = r"^Repeat: inner must keep shape and dtype, it made float64\[5, 4\] of float64\[5, 3"
    with pytest.raises(ValueError, match=message):
        layer.forward(layer.init(KEY), noise(5, 3))


def test_params_of_another_number_of_copies_are_refused():
    params = Repeat(3, BLOCK).init(KEY)
    message = r"^Repeat: every array of params must have shape \[2, ...\], got \[3, "
    with pytest.raises(ValueError, match=message):
        Repeat(2, BLOCK).forward(params, noise(5, 3))


def test_error_of_the_inner_layer_carries_the_path_of_the_whole():
    layer = Serial(Repeat(2, BLOCK))
    message = r"^layer 0.0, Dense\(n_in=3, n_out=4\): x must have shape"
    with pytest.raises(ValueError, match=message):
        layer.forward(layer.init(KEY), noise(5, 2))


def test_with_children_keeps_the_number():
    assert Repeat(2, Tanh()).with_children({"inner": SiLU()}) == Repeat(2, SiLU())
    assert Repeat(2, Tanh()) != Repeat(3, Tanh())


def test_number_below_one_is_rejected():
    with pytest.raises(ValueError, match="Repeat: n must be at least 1, got 0"):
        Repeat(0, Tanh())


@pytest.mark.parametrize("n", [2.5, True, None, Tanh()], ids=str)
def test_number_that_is_no_integer_is_rejected(n):
    with pytest.raises(TypeError, match="Repeat: n must be a"):
        Repeat(n, Tanh())


def test_what_is_no_layer_is_rejected():
    with pytest.raises(TypeError, match="Repeat takes layers, got 3"):
        Repeat(2, 3)


def test_the_cotangent_of_a_memory_has_its_dtype():
    layer = fnn.Repeat(3, Look())
    x = Sequence(noise(2, 5, 3).astype("float32"), memory=noise(2, 3).astype("float32"))
    y, cache = layer.forward((), x)
    _, dx = layer.backward((), cache, Sequence(y.x))
    assert dx.x.dtype == dx.memory.dtype == "float32"
