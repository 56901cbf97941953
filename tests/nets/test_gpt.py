"""Tests of fnn.nets.gpt."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, QUICK, noise, some

import fnn
from fnn.layers.activations import SiLU
from fnn.layers.attention import Attention
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import Embedding
from fnn.layers.glu import GLU
from fnn.layers.normalization import LayerNorm, RMSNorm
from fnn.layers.positions import Positions, Sinusoids
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.layers.transformer_block import TransformerBlock
from fnn.layers.unembed import Unembed
from fnn.losses.categorical import SoftmaxCrossEntropy
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.nets.gpt import gpt, perceptron, transformer_block

KEY = jax.random.key(0)
LOSS = LinearSoftmaxCrossEntropy(chunk=4)
SIZES: dict[str, Any] = {"n_vocab": 11, "n": 8, "n_heads": 2, "n_layers": 2, "n_context": 7}
RNG = np.random.default_rng(0)
TOKENS, LABELS = (jnp.asarray(RNG.integers(0, 11, (3, 5))) for _ in range(2))
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "rotary": {"positions": "rotary"},
    "sinusoidal": {"positions": "sinusoidal"},
    "gated": {"feed_forward": GLU(8, 6), "norm": RMSNorm},
    "shared key heads": {"n_kv_heads": 1, "chunk": 2},
    "recompute": {"recompute": True},
    "dropout": {"dropout": 0.3},
}


def net_and_params(**how):
    """A small net, its params in float64 and with biases that are not 0."""
    net = gpt(**SIZES | how)
    leaves, tree = jax.tree.flatten(net.init(KEY))
    keys = jax.random.split(KEY, len(leaves))
    moved = [
        p.astype(float) + 0.1 * jax.random.normal(k, p.shape)
        for k, p in zip(keys, leaves, strict=True)
    ]
    return net, tree.unflatten(moved)


def ours(net, loss, *args, **how):
    """fnn.value_and_grad, jitted."""
    return jax.jit(fnn.value_and_grad, compiler_options=QUICK)(net, loss, *args, **how)


def of_jax(net, params, key=None):
    """The mean loss of whole logits and its gradient by jax.grad."""

    def f(params):
        y = net.forward(params, TOKENS, key=key)[0]
        log_p = jax.nn.log_softmax(y.h @ y.w)
        return -jnp.take_along_axis(log_p, LABELS[..., None], -1).mean()

    return jax.value_and_grad(f)(params)


@pytest.mark.parametrize("way", some(WAYS, 2))
def test_the_gradient_is_that_of_jax(way):
    net, params = net_and_params(**WAYS[way])
    key = KEY if way == "dropout" else None
    found = ours(net, LOSS, params, TOKENS, LABELS, key=key)
    want = jax.jit(of_jax, static_argnums=0, compiler_options=QUICK)(net, params, key)
    chex.assert_trees_all_close(found, want, rtol=1e-9, atol=1e-12)


def test_layers_by_default():
    block = TransformerBlock(LayerNorm(8), Attention(8, 2), LayerNorm(8), perceptron(8))
    assert transformer_block(8, 2) == block
    assert gpt(**SIZES) == Serial(
        embed=Embedding(11, 8),
        positions=Positions(7, 8),
        blocks=Repeat(2, block),
        norm=LayerNorm(8),
        head=Unembed(8, 11),
    )


def test_params_have_the_names_of_the_layers():
    net, params = net_and_params()
    shapes = jax.tree.map(jnp.shape, params)
    assert sorted(params) == sorted(net.children)
    blocks = shapes["blocks"]
    assert sorted(blocks) == ["attention", "attention_norm", "feed_forward", "feed_forward_norm"]
    assert blocks["attention"].wq == (2, 8, 8)
    assert blocks["feed_forward"]["up"].w == (2, 8, 32)
    assert blocks["feed_forward"]["down"]["dense"].w == (2, 32, 8)
    assert shapes["head"].w == (8, 11)
    assert sorted(net_and_params(positions="rotary")[1]) == ["blocks", "embed", "head", "norm"]


def test_options_choose_the_layers():
    how: dict[str, Any] = {
        "dropout": 0.25,
        "norm": RMSNorm,
        "feed_forward": GLU(8, 6, SiLU()),
        "n_kv_heads": 1,
        "bias": True,
    }
    block = transformer_block(8, 2, causal=False, rotary=100.0, chunk=3, **how)
    attention = Attention(8, 2, False, 1, 3, 100.0, bias=True)
    assert block == TransformerBlock(
        RMSNorm(8), attention, RMSNorm(8), GLU(8, 6, SiLU()), Dropout(0.25), Dropout(0.25)
    )
    net = gpt(**SIZES, positions="sinusoidal", recompute=True, chunk=3, **how)
    inside = transformer_block(8, 2, chunk=3, **how)
    assert net["positions"] == Sinusoids(8)
    assert net["blocks"] == Repeat(2, Recompute(inside))
    rotary = gpt(**SIZES, positions="rotary")
    assert list(rotary.children) == ["embed", "blocks", "norm", "head"]
    assert rotary["blocks"] == Repeat(2, transformer_block(8, 2, rotary=1e4))
    slower = gpt(**SIZES, positions="rotary", rotary=5e5)
    assert slower["blocks"] == Repeat(2, transformer_block(8, 2, rotary=5e5))


@pytest.mark.slow
def test_recompute_changes_no_number():
    plain, params = net_and_params()
    again = gpt(**SIZES, recompute=True)
    value, grads = ours(plain, LOSS, params, TOKENS, LABELS)
    same, others = ours(again, LOSS, params, TOKENS, LABELS)
    chex.assert_trees_all_close(same, value, rtol=1e-13)
    chex.assert_trees_all_close(others, grads, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal", "rotary"])
def test_no_position_sees_a_later_one_and_places_matter(positions):
    net, params = net_and_params(positions=positions, chunk=2)
    f = jax.jit(lambda x: net.forward(params, x)[0].h)
    h = f(TOKENS)
    for t in range(1, 5):
        other = f(TOKENS.at[:, t].set((TOKENS[:, t] + 1) % 11))
        np.testing.assert_array_equal(other[:, :t], h[:, :t])
        assert abs(other[:, t:] - h[:, t:]).max() > 1e-3
    swapped = f(TOKENS[:, jnp.array([1, 0, 2, 3, 4])])
    assert abs(swapped[:, 4] - h[:, 4]).max() > 1e-5


def test_padding_on_the_right_without_weight_changes_nothing():
    net, params = net_and_params(chunk=3)
    padded = jnp.pad(TOKENS, ((0, 0), (0, 2)), constant_values=9)
    labels, weights = jnp.pad(LABELS, ((0, 0), (0, 2))), jnp.tile(jnp.arange(7) < 5, (3, 1))
    found = ours(net, LOSS, params, padded, labels, weights=weights.astype(float))
    chex.assert_trees_all_close(found, ours(net, LOSS, params, TOKENS, LABELS), **EXACT)


@pytest.mark.parametrize(
    ("shape", "chunk"), [((1, 5), 2), ((3, 1), 3), ((2, 7), 3), ((1, 1), 1)], ids=str
)
@pytest.mark.slow
def test_one_sequence_one_token_and_lengths_that_no_chunk_divides(shape, chunk):
    net, params = net_and_params(chunk=chunk, n_layers=1)
    whole, _ = net_and_params(chunk=None, n_layers=1)
    tokens, labels = (jnp.resize(a, shape) for a in (TOKENS, LABELS))
    found = ours(net, LOSS, params, tokens, labels)
    chex.assert_trees_all_close(found, ours(whole, LOSS, params, tokens, labels), **EXACT)


def test_longer_sequences_are_refused_by_learned_positions_alone():
    tokens = jnp.zeros((1, 8), int)
    net, params = net_and_params()
    message = r"^layer positions, Positions\(.*\): a sequence of 8 is longer than n_context, 7; cut"
    with pytest.raises(ValueError, match=message):
        net.forward(params, tokens)
    for positions in ("sinusoidal", "rotary"):
        other, its = net_and_params(positions=positions)
        assert other.forward(its, tokens)[0].shape == (1, 8, 11)


@pytest.mark.parametrize("wrong", [-1, 11])
def test_tokens_out_of_range_are_refused_and_poison_under_jit(wrong):
    net, params = net_and_params()
    tokens = TOKENS.at[1, 2].set(wrong)
    with pytest.raises(ValueError, match=rf"x must be from 0 to 10, got {wrong} at \[1, 2\]"):
        net.forward(params, tokens)
    h = jax.jit(net.forward)(params, tokens)[0].h
    seen = np.zeros(TOKENS.shape, bool)
    seen[1, 2:] = True  # no earlier position may see it
    np.testing.assert_array_equal(np.isnan(h).all(2), seen)
    np.testing.assert_array_equal(np.isnan(h).any(2), seen)
    value, grads = ours(net, LOSS, params, tokens, LABELS)
    assert np.isnan(value)
    assert np.isnan(grads["head"].w).all()


def test_the_evaluation_net_gives_the_logits():
    net, params = net_and_params(dropout=0.5)
    evaluated, its = fnn.inference(net, params)
    logits, _ = evaluated.forward(its, TOKENS)
    y = gpt(**SIZES).forward(params, TOKENS)[0]  # a Dropout has no params
    np.testing.assert_allclose(logits, y.h @ y.w, rtol=1e-10, atol=1e-12)
    found = SoftmaxCrossEntropy().forward(logits, LABELS)[0]
    np.testing.assert_allclose(LOSS.forward(logits, LABELS)[0], found, rtol=1e-12)


@pytest.mark.slow
def test_fit_learns_a_pattern_and_evaluates_it():
    net = gpt(4, 8, 2, 1, 6)
    cycle = jnp.arange(40).reshape(-1, 1) % 4 + jnp.arange(7)
    x, target = cycle[:, :-1] % 4, cycle[:, 1:] % 4
    adam, metrics = fnn.optim.Adam(0.02), {"accuracy": fnn.accuracy}
    plan = fnn.Plan(net, LinearSoftmaxCrossEntropy(), adam, metrics=metrics)
    state = fnn.start(plan, KEY)
    valid = x[:8], target[:8]
    _, history = fnn.fit(plan, state, (x, target), epochs=60, batch_size=16, validation=valid)
    assert history["loss"][0] > 1
    assert history["loss"][-1] < 0.02
    assert history["validation_loss"][-1] < 0.02
    assert history["validation_accuracy"][-1] == history["accuracy"][-1] == 1


def test_the_program_does_not_grow_with_the_layers():
    def size(n_layers):
        net = gpt(**SIZES | {"n_layers": n_layers})
        params = jax.eval_shape(net.init, KEY)
        run = jax.jit(fnn.value_and_grad).lower(net, LOSS, params, TOKENS, LABELS)
        return len(run.as_text().splitlines())

    assert size(12) == size(2)


def test_half_precision_inside_gives_gradients_in_single_precision():
    net, params = net_and_params()
    single = jax.tree.map(lambda p: p.astype("float32"), params)
    value, grads = ours(fnn.Cast(net, "bfloat16"), LOSS, single, TOKENS, LABELS)
    assert {a.dtype for a in jax.tree.leaves(grads)} == {jnp.dtype("float32")}
    exact, exact_grads = ours(net, LOSS, params, TOKENS, LABELS)
    assert value.dtype == "float32"
    np.testing.assert_allclose(value, exact, rtol=0.02)
    for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(exact_grads), strict=True):
        assert np.linalg.norm(np.asarray(a) - np.asarray(b)) <= 0.15 * np.linalg.norm(b) + 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("way", ["default", "rotary"])
def test_a_hessian_vector_product_is_that_of_jax(way):
    net, params = net_and_params(**WAYS[way])
    v = jax.tree.map(lambda p: noise(*p.shape), params)

    def of_ours(params):
        return fnn.value_and_grad(net, LOSS, params, TOKENS, LABELS)[1]

    def of_theirs(params):
        return of_jax(net, params)[1]

    found, want = (
        jax.jit(lambda p, v, g=g: jax.jvp(g, (p,), (v,))[1], compiler_options=QUICK)(params, v)
        for g in (of_ours, of_theirs)
    )
    chex.assert_trees_all_close(found, want, rtol=1e-8, atol=1e-10)


def test_the_summary_counts_the_parameters_of_every_layer():
    net = gpt(**SIZES)
    text = fnn.summary(net, net.init(KEY), TOKENS)
    assert "blocks.feed_forward.down.dense" in text
    for word in ("Embedding", "Positions", "Attention", "LayerNorm", "GELU", "Unembed"):
        assert word in text
    block = 2 * 16 + 4 * 64 + (8 * 32 + 32) + (32 * 8 + 8)
    assert text.split()[-1] == f"{88 + 56 + 2 * block + 16 + 88:,}"


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"positions": "alibi"}, r"^gpt: positions must be one of \('learned', .*'alibi'\.$"),
        ({"n_heads": 3}, r"n_heads must divide n, got 3 and 8"),
        ({"n_kv_heads": 3}, r"n_kv_heads must divide n_heads, got 3 and 2"),
        ({"n_layers": 0}, r"n must be at least 1, got 0"),
        ({"n_context": 0}, r"n_context and n must be at least 1"),
        ({"n_vocab": 1}, r"n_vocab at least 2"),
        ({"n": 6, "positions": "rotary"}, r"rotary must be above 1, and n / n_heads even"),
        ({"dropout": 1.0}, r"rate must be"),
        ({"chunk": 0}, r"chunk must be at least 1, or None"),
    ],
    ids=str,
)
def test_what_makes_no_net_is_refused(how, message):
    with pytest.raises(ValueError, match=message):
        gpt(**SIZES | how)


def test_the_perceptron_starts_with_the_variance_that_a_gelu_leaves():
    params = perceptron(64).init(jax.random.key(0))
    up, down = params["up"].w, params["down"]["dense"].w
    assert up.std() == pytest.approx((2 / 64) ** 0.5, rel=0.02)  # he_normal
    assert down.std() == pytest.approx((2 / (64 + 256)) ** 0.5, rel=0.02)  # glorot_uniform


@pytest.mark.parametrize("chunk", [2, 128, None])
@pytest.mark.parametrize("positions", ["learned", "rotary"])
def test_a_token_that_cannot_be_makes_nan_where_it_may_be_seen_and_nowhere_else(chunk, positions):
    net = fnn.gpt(7, 8, 2, 2, 6, positions=positions, chunk=chunk)
    params = net.init(KEY)
    net, params = fnn.inference(net, params)
    tokens = jnp.array([[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]])
    run = jax.jit(lambda tokens: net.forward(params, tokens)[0])
    good, bad = run(tokens), run(tokens.at[0, 3].set(99))
    np.testing.assert_array_equal(bad[0, :3], good[0, :3])
    np.testing.assert_array_equal(bad[1], good[1])
    assert np.isnan(bad[0, 3:]).all()


def test_an_odd_width_needs_no_sinusoids():
    net = fnn.gpt(7, 5, 1, 1, 4)
    y, _ = net.forward(net.init(KEY), jnp.zeros((2, 4), int))
    assert y.shape == (2, 4, 7)
