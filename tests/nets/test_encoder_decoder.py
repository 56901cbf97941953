"""Tests of fnn.nets.encoder_decoder."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, QUICK, moved, some

import fnn
from fnn.layers.cross_attention import CrossAttention
from fnn.layers.dropout import Dropout
from fnn.layers.embedding import Embedding
from fnn.layers.encoder_decoder import EncoderDecoder
from fnn.layers.normalization import LayerNorm, RMSNorm
from fnn.layers.positions import Positions, Sinusoids
from fnn.layers.recompute import Recompute
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.layers.unembed import Unembed
from fnn.losses.linear_softmax import LinearSoftmaxCrossEntropy
from fnn.nets.encoder_decoder import encoder_decoder
from fnn.nets.gpt import transformer_block
from fnn.sequence import Sequence

KEY = jax.random.key(0)
LOSS = LinearSoftmaxCrossEntropy(chunk=4)
SIZES: dict[str, Any] = {"n_vocab": 9, "n": 8, "n_heads": 2, "n_layers": 2, "n_context": 7}
RNG = np.random.default_rng(0)
TOKENS, LABELS = (jnp.asarray(RNG.integers(0, 9, (3, 5))) for _ in range(2))
SOURCE = jnp.asarray(RNG.integers(0, 11, (3, 7)))
MASK = jnp.arange(5) < jnp.array([[5], [2], [4]])
SEEN = jnp.arange(7) < jnp.array([[3], [7], [6]])
X = Sequence(TOKENS, MASK, memory=Sequence(SOURCE, SEEN))


def net_and_params(**how):
    net = encoder_decoder(**SIZES, n_source=11, **how)
    return net, moved(jax.tree.map(lambda p: p.astype(float), net.init(KEY)))


def ours(net, loss, *args, **how):
    """fnn.value_and_grad, jitted."""
    return jax.jit(fnn.value_and_grad, compiler_options=QUICK)(net, loss, *args, **how)


def of_jax(net, params, key):
    """The mean loss over the positions of the mask, and its gradient by jax.grad."""

    def f(params):
        y = net.forward(params, X, key=key)[0].x
        log_p = jax.nn.log_softmax(y.h @ y.w)
        losses = -jnp.take_along_axis(log_p, LABELS[..., None], -1)[..., 0]
        return losses[MASK].mean()

    return jax.value_and_grad(f)(params)


WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "sinusoidal, dropout, recompute": {
        "positions": "sinusoidal",
        "dropout": 0.3,
        "recompute": True,
        "norm": RMSNorm,
    },
    "rotary, bias": {"positions": "rotary", "bias": True, "n_kv_heads": 1, "chunk": 2},
}


@pytest.mark.parametrize("way", some(WAYS, 2))
def test_the_gradient_is_that_of_jax(way):
    net, params = net_and_params(**WAYS[way])
    key = KEY if "dropout" in way else None
    found = ours(net, LOSS, params, X, LABELS, key=key)
    want = jax.jit(of_jax, static_argnums=0, compiler_options=QUICK)(net, params, key)
    chex.assert_trees_all_close(found, want, rtol=1e-9, atol=1e-12)


def test_layers_by_default():
    assert encoder_decoder(**SIZES, n_source=11) == EncoderDecoder(
        encoder=Serial(
            embed=Embedding(11, 8),
            positions=Positions(7, 8),
            blocks=Repeat(2, transformer_block(8, 2, causal=False)),
            norm=LayerNorm(8),
        ),
        decoder=Serial(
            embed=Embedding(9, 8),
            positions=Positions(7, 8),
            blocks=Repeat(2, transformer_block(8, 2, n_memory=8)),
            norm=LayerNorm(8),
            head=Unembed(8, 9),
        ),
    )
    assert encoder_decoder(**SIZES)["encoder"]["embed"] == Embedding(9, 8)


def test_options_choose_the_layers():
    how: dict[str, Any] = {"dropout": 0.25, "norm": RMSNorm, "n_kv_heads": 1, "bias": True}
    net = encoder_decoder(**SIZES, positions="sinusoidal", recompute=True, chunk=3, **how)
    block = transformer_block(8, 2, n_memory=8, chunk=3, **how)
    assert block["cross_attention"] == CrossAttention(8, 2, 8, 1, 3, bias=True)
    assert block["cross_attention_norm"] == RMSNorm(8)
    assert block["cross_attention_dropout"] == Dropout(0.25)
    assert net["decoder"]["blocks"] == Repeat(2, Recompute(block))
    assert net["encoder"]["positions"] == net["decoder"]["positions"] == Sinusoids(8)
    rotary = encoder_decoder(**SIZES, positions="rotary")
    assert rotary["encoder"]["blocks"].inner["attention"].rotary == 1e4
    assert not rotary["encoder"]["blocks"].inner["attention"].causal
    assert "positions" not in rotary["decoder"].children


@pytest.mark.slow
def test_padding_is_worth_nothing_on_either_side_whatever_stands_there():
    net, params = net_and_params()

    def run(x):
        return ours(net, LOSS, params, x, LABELS)

    garbage = Sequence(
        jnp.where(MASK, TOKENS, 99), MASK, memory=Sequence(jnp.where(SEEN, SOURCE, -7), SEEN)
    )
    chex.assert_trees_all_equal(run(garbage), run(X))
    alone = Sequence(TOKENS[1:2, :2], memory=Sequence(SOURCE[1:2]))
    forward = jax.jit(lambda x: net.forward(params, x)[0].x.h, compiler_options=QUICK)
    np.testing.assert_allclose(forward(X)[1:2, :2], forward(alone), **EXACT)


@pytest.mark.slow
def test_a_token_sees_all_of_the_source_and_of_the_target_what_is_before_it():
    net, params = net_and_params(chunk=2)

    def h_of(x, z):
        return net.forward(params, Sequence(x, memory=z))[0].x.h

    f = jax.jit(h_of, compiler_options=QUICK)
    h = f(TOKENS, SOURCE)
    for t in range(1, 5):
        other = f(TOKENS.at[:, t].set((TOKENS[:, t] + 1) % 9), SOURCE)
        np.testing.assert_array_equal(other[:, :t], h[:, :t])
        assert abs(other[:, t:] - h[:, t:]).max() > 1e-3
    for s in range(7):
        other = f(TOKENS, SOURCE.at[:, s].set((SOURCE[:, s] + 1) % 11))
        assert (abs(other - h).max(-1) > 1e-6).all()


@pytest.mark.slow
def test_the_evaluation_net_gives_the_logits():
    net, params = net_and_params(dropout=0.5)
    evaluated, its = fnn.inference(net, params)
    run = jax.jit(lambda net, params: net.forward(params, X)[0].x, compiler_options=QUICK)
    y = run(encoder_decoder(**SIZES, n_source=11), params)  # a Dropout has no params
    np.testing.assert_allclose(run(evaluated, its), y.h @ y.w, rtol=1e-10, atol=1e-12)


@pytest.mark.long
def test_fit_learns_to_repeat_the_source():
    net = encoder_decoder(3, 16, 4, 1, 4)
    source = jnp.asarray(RNG.integers(1, 3, (64, 3)))
    x = Sequence(jnp.pad(source, ((0, 0), (1, 0)))[:, :3], memory=Sequence(source))
    adam, metrics = fnn.optim.Adam(0.01), {"accuracy": fnn.accuracy}
    plan = fnn.Plan(net, LinearSoftmaxCrossEntropy(), adam, metrics=metrics)
    state, data = fnn.start(plan, KEY), (x, source)
    _, history = fnn.fit(plan, state, data, epochs=150, batch_size=24, validation=data)
    assert history["loss"][0] > 0.6
    assert history["validation_accuracy"][-1] == 1


def test_the_program_does_not_grow_with_the_layers():
    def size(n_layers):
        net = encoder_decoder(**SIZES | {"n_layers": n_layers}, n_source=11)
        params = jax.eval_shape(net.init, KEY)
        run = jax.jit(fnn.value_and_grad).lower(net, LOSS, params, X, LABELS)
        return len(run.as_text().splitlines())

    assert size(12) == size(2)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"positions": "alibi"}, r"positions must be one of \('learned', .*'alibi'\.$"),
        ({"n_heads": 3}, r"transformer_block, Attention\(.*n_heads must divide n, got 3 and 8"),
        ({"n_layers": 0}, r"Repeat: n must be at least 1, got 0"),
        ({"n_source": 0}, r"n_vocab and n must be at least 1"),
        ({"n_vocab": 1}, r"n_vocab at least 2"),
        ({"dropout": 1.0}, r"rate must be"),
    ],
    ids=str,
)
def test_what_makes_no_net_is_refused(how, message):
    with pytest.raises(ValueError, match="^encoder_decoder[,:] .*" + message):
        encoder_decoder(**SIZES | how)
