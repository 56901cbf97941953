"""Tests of fnn.layers.transformer_block."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, QUICK, Look, check_layer, check_sequence, moved, noise

import fnn
from fnn.layers.activations import Tanh
from fnn.layers.attention import Attention
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.lstm import LSTM
from fnn.layers.normalization import LayerNorm, RMSNorm
from fnn.layers.residual import Residual
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.layers.transformer_block import TransformerBlock
from fnn.sequence import Sequence

KEY = jax.random.key(0)
NAMES = ["attention_norm", "attention", "feed_forward_norm", "feed_forward"]
FEED_FORWARD = Serial(up=Dense(6, 4), activation=Tanh(), down=Dense(4, 6))
BLOCK = TransformerBlock(LayerNorm(6), Attention(6, 2, chunk=2), RMSNorm(6), FEED_FORWARD)
DROPOUT = TransformerBlock(*BLOCK.children.values(), Dropout(0.4), Dropout(0.3))


@pytest.mark.slow
def test_contract():
    check_layer(BLOCK, noise(2, 5, 6))


@pytest.mark.long
def test_contract_with_a_key():
    check_layer(DROPOUT, noise(2, 3, 6), key=KEY)


@pytest.mark.parametrize("causal", [True, False])
def test_contract_of_sequences_with_padding(causal):
    mask = jnp.arange(5) < jnp.array([[3], [5]])
    attention = Attention(6, 2, causal=causal, chunk=2)
    block = BLOCK.with_children(BLOCK.children | {"attention": attention})
    check_sequence(block, Sequence(noise(2, 5, 6), mask), steps=False)


@pytest.mark.slow
def test_a_branch_that_looks_at_a_memory_has_the_gradient_of_jax():
    block = fnn.transformer_block(6, 2, n_memory=4, chunk=2, bias=True)
    params, x, z = moved(block.init(KEY)), noise(2, 5, 6), noise(2, 7, 4, seed=2)

    def f(params, x, z):
        return block.forward(params, Sequence(x, memory=z))[0].x

    def ours(params, x, z):
        y, cache = block.forward(params, Sequence(x, memory=z))
        grads, dx = block.backward(params, cache, Sequence(y.x))
        return y.x, (grads, dx.x, dx.memory)

    y, found = jax.jit(ours, compiler_options=QUICK)(params, x, z)
    want = jax.jit(lambda *a: jax.vjp(f, *a)[1](y), compiler_options=QUICK)(params, x, z)
    chex.assert_trees_all_close(found, want, **EXACT)


def test_by_hand():
    block = TransformerBlock(Scale(2.0), Scale(3.0), Scale(5.0), Scale(7.0))
    y, cache = block.forward({}, jnp.ones((1, 1, 1)))
    grads, dx = block.backward({}, cache, jnp.ones((1, 1, 1)))
    assert (y, dx, grads) == ((1 + 2 * 3) * (1 + 5 * 7),) * 2 + ({},)


def test_by_hand_with_a_memory():
    block = TransformerBlock(
        Scale(2.0), Tanh(), Scale(5.0), Scale(7.0), None, None, Scale(11.0), Look()
    )
    x = Sequence(jnp.full((1, 1, 1), 0.3), memory=jnp.full((1, 1), 17.0))
    y, cache = block.forward({}, x)
    a = 0.3 + np.tanh(2 * 0.3)
    np.testing.assert_allclose(y.x, a * (1 + 11 * 17) * (1 + 5 * 7), rtol=1e-12)
    _, dx = block.backward({}, cache, Sequence(jnp.ones((1, 1, 1))))
    da = (1 + 5 * 7) * (1 + 11 * 17)
    np.testing.assert_allclose(dx.x, da * (1 + 2 * (1 - np.tanh(2 * 0.3) ** 2)), rtol=1e-12)
    np.testing.assert_allclose(dx.memory, (1 + 5 * 7) * 11 * a, rtol=1e-12)


def test_it_is_two_residuals_one_after_the_other():
    series = Serial(
        Residual(Serial(LayerNorm(6), Attention(6, 2, chunk=2))),
        Residual(Serial(RMSNorm(6), FEED_FORWARD)),
    )
    params, x, dy = BLOCK.init(KEY), noise(2, 5, 6), noise(2, 5, 6, seed=2)
    a, b, c, d = (params[name] for name in NAMES)

    @jax.jit
    def run(net, params):
        y, cache = net.forward(params, x)
        return y, *net.backward(params, cache, dy)

    y, grads, dx = run(BLOCK, params)
    grads = tuple(grads[name] for name in NAMES)
    want, ((da, db), (dc, dd)), want_dx = run(series, ((a, b), (c, d)))
    chex.assert_trees_all_close((y, grads, dx), (want, (da, db, dc, dd), want_dx), rtol=1e-12)


def test_with_a_feed_forward_of_zeros_and_an_attention_of_zeros_it_is_the_identity():
    params = BLOCK.init(KEY)
    params["attention"] = jax.tree.map(jnp.zeros_like, params["attention"])
    params["feed_forward"] = jax.tree.map(jnp.zeros_like, params["feed_forward"])
    x = noise(2, 5, 6)
    np.testing.assert_array_equal(BLOCK.forward(params, x)[0], x)


def test_children_are_those_that_there_are():
    assert list(BLOCK.children) == NAMES
    assert list(DROPOUT.children) == [*NAMES, "attention_dropout", "feed_forward_dropout"]
    assert BLOCK["attention"] == Attention(6, 2, chunk=2)
    assert sorted(BLOCK.init(KEY)) == sorted(DROPOUT.init(KEY)) == sorted(NAMES)
    assert sorted(BLOCK.init(KEY)["feed_forward"]) == ["down", "up"]


def test_dropouts_stand_behind_the_two_branches():
    block = DROPOUT.with_children(
        {"attention_norm": Scale(1.0), "attention": Scale(2.0)}
        | {"feed_forward_norm": Scale(1.0), "feed_forward": Scale(3.0)}
        | {"attention_dropout": Dropout(0.5), "feed_forward_dropout": Dropout(0.75)}
    )
    y, _ = block.forward({}, jnp.ones((3, 50, 6)), key=KEY)
    assert {*np.unique(y)} == {1.0, 5.0, 13.0, 65.0}  # (1 or 1 + 2 · 2) times (1 or 1 + 4 · 3)


def test_states_of_children_come_out_by_their_names():
    block = TransformerBlock(LayerNorm(4), LSTM(4, 4), LayerNorm(4), Scale(2.0))
    y, _ = block.forward(block.init(KEY), Sequence(noise(2, 5, 4)))
    assert list(y.state) == ["attention"]
    assert [s.shape for s in y.state["attention"]] == [(2, 4)] * 2


def test_errors():
    block = BLOCK.with_children(BLOCK.children | {"feed_forward": Dense(6, 4)})
    with pytest.raises(ValueError, match=r"^TransformerBlock: feed_forward\(x\) must have x's"):
        block.forward(block.init(KEY), noise(2, 5, 6))
    with pytest.raises(ValueError, match=r"^layer attention_norm, LayerNorm\(.*x must have shape"):
        BLOCK.forward(BLOCK.init(KEY), noise(2, 5, 4))
    deep = BLOCK.with_children(BLOCK.children | {"feed_forward": Serial(up=Dense(5, 6))})
    with pytest.raises(ValueError, match=r"^layer feed_forward\.up, Dense\(.*x must have shape"):
        deep.forward(deep.init(KEY), noise(2, 5, 6))
    with pytest.raises(TypeError, match="^TransformerBlock: attention takes layers, got None"):
        TransformerBlock(LayerNorm(6), None, LayerNorm(6), FEED_FORWARD)
    message = "^TransformerBlock: cross_attention_norm takes layers, got None"
    with pytest.raises(TypeError, match=message):
        TransformerBlock(*BLOCK.children.values(), cross_attention=Attention(6, 2))


def test_dx_has_the_dtype_of_x_where_params_are_wider():
    block = fnn.TransformerBlock(fnn.Tanh(), fnn.Dense(3, 3), fnn.Tanh(), fnn.Dense(3, 3))
    params = jax.tree.map(lambda p: p.astype("float32"), block.init(KEY))
    with jax.numpy_dtype_promotion("standard"):
        y, cache = block.forward(params, jnp.ones((2, 4, 3), jnp.bfloat16))
        _, dx = block.backward(params, cache, y)
    assert dx.dtype == jnp.bfloat16
