"""Tests of fnn.nets.llama."""

import functools
import re

import chex
import hugging_face
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hugging_face import behind, check_logits, check_same

import fnn
from fnn.checkpoints import save
from fnn.layers.glu import GLU
from fnn.layers.normalization import RMSNorm
from fnn.nets.gpt import gpt
from fnn.nets.llama import from_llama, to_llama

V, N, HEADS, KV, LAYERS, HIDDEN = 37, 24, 6, 2, 5, 28  # B, T, d are 3, 7, 4
BLOCK = {
    "input_layernorm": (N,), "post_attention_layernorm": (N,),
    "self_attn.q_proj": (N, N), "self_attn.k_proj": (8, N), "self_attn.v_proj": (8, N),
    "self_attn.o_proj": (N, N),
    "mlp.gate_proj": (HIDDEN, N), "mlp.up_proj": (HIDDEN, N), "mlp.down_proj": (N, HIDDEN),
}  # fmt: skip
SHAPES = {
    "embed_tokens.weight": (V, N), "norm.weight": (N,), "lm_head.weight": (V, N),
    **{f"layers.{i}.{name}.weight": a for i in range(LAYERS) for name, a in BLOCK.items()},
}  # fmt: skip
TIED = {name: shape for name, shape in SHAPES.items() if "lm_head" not in name}
TOKENS = np.random.default_rng(1).integers(0, V, (3, 7))
HOW = {"rotary": 500.0, "eps": 1e-3}


@functools.cache
def tensors(dtype="float64", tied=False):
    return hugging_face.weights(TIED if tied else SHAPES, dtype)


@pytest.mark.parametrize(
    ("dtype", "tied", "rtol"),
    [("float64", False, 1e-10), ("float32", False, 1e-5), ("float64", True, 1e-10)],
)
def test_logits_are_those_of_a_forward_in_numpy(dtype, tied, rtol):
    given = tensors(dtype, tied)
    net, params = from_llama(given, HEADS, **HOW)
    forward = functools.partial(hugging_face.llama, n_heads=HEADS, **HOW)
    check_logits(forward, net, params, given, TOKENS, rtol)


def test_heads_theta_and_epsilon_by_default_are_those_of_hugging_face():
    shapes = SHAPES | {
        f"layers.{i}.self_attn.{a}_proj.weight": (N, N) for i in range(LAYERS) for a in "kv"
    }
    given = hugging_face.weights(shapes, "float64")
    net, params = from_llama(given, HEADS)
    forward = functools.partial(hugging_face.llama, n_heads=HEADS)
    check_logits(forward, net, params, given, TOKENS, 1e-10)
    how = {"positions": "rotary", "feed_forward": GLU(N, HIDDEN), "norm": RMSNorm}
    assert net == gpt(V, N, HEADS, LAYERS, 1, **how)


def test_the_net_is_the_gpt_of_these_sizes():
    more = {"recompute": True, "dropout": 0.1, "chunk": 3, "implementation": "cudnn"}
    net, params = from_llama(tensors(), HEADS, **more)
    how = {"positions": "rotary", "feed_forward": GLU(N, HIDDEN), "norm": RMSNorm}
    assert net == gpt(V, N, HEADS, LAYERS, 1, n_kv_heads=KV, **how, **more)
    assert params["blocks"]["attention"].wk.shape == (LAYERS, N, 8)


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_out_and_in_again_every_bit_is_the_same(dtype, tmp_path):
    given = {name: a.astype(jnp.dtype(dtype)) for name, a in tensors().items()}
    net, params = from_llama(given, HEADS, recompute=True, **HOW)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    check_same(to_llama(net, params), behind("model.", given))
    save(tmp_path / "a", to_llama(net, params))
    again, found = from_llama(tmp_path / "a", HEADS, recompute=True, **HOW)
    assert again == net
    chex.assert_trees_all_equal(found, params)


def test_a_tied_head_is_not_written_twice():
    tied = tensors(tied=True)
    for given in (tied, tied | {"lm_head.weight": tied["embed_tokens.weight"]}):
        net, params = from_llama(given, HEADS)
        assert isinstance(net, fnn.Tied)
        check_same(to_llama(net, params), behind("model.", tied))


def test_names_may_have_a_prefix_and_frequencies_are_left_out():
    net, params = from_llama(tensors(), HEADS)
    more = {"layers.0.self_attn.rotary_emb.inv_freq": np.ones(2)}
    again, found = from_llama(behind("model.", tensors() | more), HEADS)
    assert again == net
    chex.assert_trees_all_equal(found, params)


K0, GATE = "layers.0.self_attn.k_proj.weight", "layers.0.mlp.gate_proj.weight"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm.weight": None}, "from_llama: norm.weight is missing, float64[24]."),
        ({"layers.3.self_attn.q_proj.bias": np.zeros(24)},
         "layers.3.self_attn.q_proj.bias is unexpected, float64[24]."),
        ({K0: np.zeros((12, 24))}, "layers.1.self_attn.k_proj.weight must be float64[12, 24], got"),
        ({K0: np.zeros((9, 24))}, f"from_llama: {K0} must be float64[8, 24], got float64[9, 24]."),
        ({K0: None}, f"from_llama: {K0} is missing; there are embed_tokens.weight, "),
        ({GATE: np.zeros(3)}, f"from_llama: {GATE} must have two axes, got shape [3]."),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_by_name(changes, message):
    given = {name: a for name, a in (tensors() | changes).items() if a is not None}
    with pytest.raises(ValueError, match=re.escape(message)):
        from_llama(given, HEADS)


def test_heads_that_do_not_divide_are_refused():
    for n_heads in (5, 0, -1, 48):
        with pytest.raises(ValueError, match=r"from_llama, .*n_heads must divide n, got"):
            from_llama(tensors(), n_heads)
    with pytest.raises(ValueError, match=r"rotary must be above 1, and n / n_heads even"):
        from_llama(tensors(), 24)


SIZES, GATED = (V, N, HEADS, LAYERS, 1), {"norm": RMSNorm, "feed_forward": GLU(N, HIDDEN)}


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (fnn.mlp([3, 4]), TypeError, "to_llama: net must be made like those of fnn.gpt, got Seri"),
        (gpt(*SIZES, **GATED), ValueError, "such a net: positions.table is unexpected."),
        (gpt(*SIZES, **GATED, positions="sinusoidal"), ValueError, "to_llama: net must be Serial("),
        (gpt(*SIZES, **GATED, positions="rotary", bias=True), ValueError, "bk is unexpected"),
        (gpt(*SIZES, **GATED | {"feed_forward": GLU(N, HIDDEN, fnn.GELU())}, positions="rotary"),
         ValueError, "to_llama: layer blocks.feed_forward must be GLU(n=24, n_hidden=28, activa"),
    ],
)  # fmt: skip
def test_nets_that_compute_something_else_are_refused_by_the_layer(net, error, message):
    with pytest.raises(error, match=re.escape(message)):
        to_llama(net, hugging_face.zeros(net))


def test_a_net_without_rotations_is_refused():
    inner = fnn.transformer_block(N, HEADS, **GATED)
    net = fnn.Serial(
        embed=fnn.Embedding(V, N), blocks=fnn.Repeat(2, inner), norm=RMSNorm(N),
        head=fnn.Unembed(N, V),
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"layer blocks\.attention must be .*rotary=10000\.0"):
        to_llama(net, hugging_face.zeros(net))
