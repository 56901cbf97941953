"""Tests of fnn.nets.gpt2."""

import functools
import re

import chex
import hugging_face
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hugging_face import behind, check_logits, check_same
from safetensors.numpy import save_file

import fnn
from fnn.checkpoints import save
from fnn.nets.gpt import gpt, perceptron
from fnn.nets.gpt2 import from_gpt2, to_gpt2

V, N, HEADS, LAYERS, CONTEXT, HIDDEN = 37, 20, 5, 2, 11, 28  # B, T, d are 3, 7, 4
SIZES = V, N, HEADS, LAYERS, CONTEXT
KIND = {"bias": True, "feed_forward": perceptron(N, HIDDEN), "norm": fnn.LayerNorm}
BLOCK = {
    "ln_1.weight": (N,), "ln_1.bias": (N,), "ln_2.weight": (N,), "ln_2.bias": (N,),
    "attn.c_attn.weight": (N, 3 * N), "attn.c_attn.bias": (3 * N,),
    "attn.c_proj.weight": (N, N), "attn.c_proj.bias": (N,),
    "mlp.c_fc.weight": (N, HIDDEN), "mlp.c_fc.bias": (HIDDEN,),
    "mlp.c_proj.weight": (HIDDEN, N), "mlp.c_proj.bias": (N,),
}  # fmt: skip
SHAPES = {
    "wte.weight": (V, N), "wpe.weight": (CONTEXT, N), "ln_f.weight": (N,), "ln_f.bias": (N,),
    **{f"h.{i}.{name}": shape for i in range(LAYERS) for name, shape in BLOCK.items()},
}  # fmt: skip
TOKENS = np.random.default_rng(1).integers(0, V, (3, 7))


@functools.cache
def tensors(dtype="float64", **more):
    return hugging_face.weights(SHAPES | more, dtype)


@pytest.mark.parametrize(
    ("dtype", "head", "rtol"),
    [("float64", (), 1e-10), ("float32", (), 1e-5), ("float64", (V, N), 1e-10)],
)
def test_logits_are_those_of_a_forward_in_numpy(dtype, head, rtol):
    given = tensors(dtype, **{"lm_head.weight": head} if head else {})
    net, params = from_gpt2(given, HEADS)
    forward = functools.partial(hugging_face.gpt2, n_heads=HEADS)
    check_logits(forward, net, params, given, TOKENS, rtol)


def test_the_net_is_the_gpt_of_these_sizes():
    net, params = from_gpt2(tensors(), HEADS)
    assert net == gpt(*SIZES, tied=True, **KIND)
    assert params["blocks"]["attention"].wv.shape == (LAYERS, N, N)
    how = {"dropout": 0.1, "recompute": True, "chunk": 3, "implementation": "cudnn"}
    net, params = from_gpt2(tensors(), HEADS, eps=1e-3, **how)
    norm = functools.partial(fnn.LayerNorm, eps=1e-3)
    assert net == gpt(*SIZES, tied=True, **KIND | {"norm": norm}, **how)
    check_same(to_gpt2(net, params), behind("transformer.", tensors()))


def test_epsilon_counts():
    net, params = from_gpt2(tensors(), HEADS, eps=0.5)
    forward = functools.partial(hugging_face.gpt2, n_heads=HEADS, eps=0.5)
    check_logits(forward, net, params, tensors(), TOKENS, 1e-10)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float64"])
def test_out_and_in_again_every_bit_is_the_same(dtype):
    given = {name: a.astype(jnp.dtype(dtype)) for name, a in tensors().items()}
    net, params = from_gpt2(given, HEADS, recompute=True, dropout=0.1)
    assert {a.dtype for a in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    check_same(to_gpt2(net, params), behind("transformer.", given))
    again = from_gpt2(to_gpt2(net, params), HEADS, recompute=True, dropout=0.1)
    assert again[0] == net
    chex.assert_trees_all_equal(again[1], params)


def test_files_in_and_out(tmp_path):
    save_file(tensors(), tmp_path / "theirs")
    net, params = from_gpt2(tmp_path / "theirs", HEADS)
    save(tmp_path / "ours", to_gpt2(net, params))
    again, same_params = from_gpt2(f"{tmp_path}/ours", HEADS)
    assert again == net
    chex.assert_trees_all_equal(same_params, params)


def test_names_may_have_a_prefix_masks_are_left_out_and_jax_arrays_taken():
    net, params = from_gpt2(tensors(), HEADS)
    masks = {"h.1.attn.bias": np.ones((1, 1, 11, 11)), "h.0.attn.masked_bias": np.array(-1e4)}
    for prefix in ("", "transformer."):
        given = jax.tree.map(jnp.asarray, behind(prefix, tensors() | masks))
        again, found = from_gpt2(given, HEADS)
        assert again == net
        chex.assert_trees_all_equal(found, params)


def test_a_head_of_its_own_stays_one_and_a_tied_one_is_not_written_twice():
    table = tensors()["wte.weight"]
    given = tensors() | {"lm_head.weight": table + 1}
    net, params = from_gpt2(given, HEADS)
    assert net == gpt(*SIZES, **KIND)
    np.testing.assert_array_equal(params["head"].w, table.T + 1)
    check_same(to_gpt2(net, params), behind("transformer.", given))
    net, params = from_gpt2(tensors() | {"lm_head.weight": table}, HEADS)
    assert isinstance(net, fnn.Tied)
    check_same(to_gpt2(net, params), behind("transformer.", tensors()))
    untied, params = net.net, params | {"head": fnn.UnembedParams(params["embed"].table.T)}
    assert "lm_head.weight" in to_gpt2(untied, params)


def test_the_callers_arrays_are_not_shared():
    given = {name: a.copy() for name, a in tensors().items()}
    net, params = from_gpt2(given, HEADS)
    for a in given.values():
        a[...] = 0
    found = to_gpt2(net, params)
    found["transformer.wte.weight"][0] = 1
    check_same(to_gpt2(net, params), behind("transformer.", tensors()))


WTE, WPE, FC, C_ATTN = "wte.weight", "wpe.weight", "h.0.mlp.c_fc.weight", "h.1.attn.c_attn.weight"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"ln_f.bias": None}, ValueError, "from_gpt2: ln_f.bias is missing, float64[20]."),
        ({"h.1.ln_1.bias": None, "x": np.zeros(2)}, ValueError,
         "h.1.ln_1.bias is missing, float64[20]; x is unexpected, float64[2]."),
        ({C_ATTN: np.zeros((60, 20))}, ValueError,
         f"from_gpt2: {C_ATTN} must be float64[20, 60], got float64[60, 20]."),
        ({"h.1.ln_2.bias": np.zeros(20, np.float32)}, ValueError,
         "h.1.ln_2.bias must be float64[20], got float32[20]."),
        ({WTE: None}, ValueError, "from_gpt2: transformer.wte.weight is missing; there are "),
        ({WPE: None}, ValueError, "from_gpt2: wpe.weight is missing; there are wte.weight, "),
        ({WPE: np.zeros(20)}, ValueError, "wpe.weight must have two axes, got shape [20]."),
        ({FC: None}, ValueError, f"from_gpt2: {FC} is missing"),
        ({"h.7.ln_1.bias": np.zeros(20)}, ValueError, "h.2.ln_1.weight is missing, "),
        ({"h.0.ln_1.bias": np.zeros(20, int)}, TypeError, "h.0.ln_1.bias must be floating, got"),
        ({"h.0.ln_1.bias": [0.0] * 20}, TypeError,
         "from_gpt2: h.0.ln_1.bias must be a numpy array, got list; of a tensor of torch's that"),
        ({WTE: jax.ShapeDtypeStruct((37, 20), float)}, TypeError, "got ShapeDtypeStruct"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_by_name(changes, error, message):
    given = {name: a for name, a in (tensors() | changes).items() if a is not None}
    with pytest.raises(error, match=re.escape(message)):
        from_gpt2(given, HEADS)


def test_sizes_and_kinds_that_mean_nothing_are_refused():
    with pytest.raises(ValueError, match=r"from_gpt2, .*Attention\(.*n_heads must divide n, got 3"):
        from_gpt2(tensors(), 3)
    with pytest.raises(ValueError, match=r"from_gpt2: no name begins with h\.0\."):
        from_gpt2({name: a for name, a in tensors().items() if name[0] == "w"}, HEADS)
    with pytest.raises(TypeError, match="weights must be a dict of arrays or a file's path, got l"):
        from_gpt2([1], HEADS)
    with pytest.raises(TypeError, match="must be a numpy array, got an array; of a tensor of"):
        jax.jit(lambda weights: from_gpt2(weights, HEADS)[1])(tensors())
    with pytest.raises(ValueError, match=r": transformer\.wte\.weight is unexpected, float64"):
        from_gpt2(tensors() | behind("transformer.", tensors()), HEADS)
    with jax.enable_x64(False), pytest.raises(TypeError, match="float64, of which JAX would make"):
        from_gpt2(tensors(), HEADS)


DOWN = fnn.Serial(activation=fnn.GELU(approximate=False), dense=fnn.Dense(8, N))
EXACT = fnn.Serial(up=fnn.Dense(N, 8), down=fnn.Recompute(DOWN))


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (fnn.mlp([3, 4]), TypeError, "to_gpt2: net must be made like those of fnn.gpt, got Seria"),
        (fnn.Dense(3, 4), TypeError, "to_gpt2: net must be made like those of fnn.gpt, got Dense"),
        (gpt(*SIZES, tied=True), ValueError,
         "such a net: blocks.attention.bk is missing; blocks.attention.bo is missing; blocks."),
        (gpt(*SIZES, bias=True, positions="rotary"), ValueError, "positions.table is missing."),
        (gpt(*SIZES, bias=True, norm=fnn.RMSNorm), ValueError, "norm.b is missing"),
        (gpt(*SIZES, bias=True, n_kv_heads=1), ValueError,
         "to_gpt2: layer blocks.attention must be Attention(n=20, n_heads=5"),
        (gpt(*SIZES, bias=True, feed_forward=EXACT), ValueError,
         "to_gpt2: layer blocks.feed_forward.down.activation must be GELU("),
    ],
)  # fmt: skip
def test_nets_that_compute_something_else_are_refused_by_the_layer(net, error, message):
    with pytest.raises(error, match=re.escape(message)):
        to_gpt2(net, hugging_face.zeros(net))


def test_params_of_another_net_are_refused_by_name():
    net, params = from_gpt2(tensors(), HEADS)
    params = params | {"norm": params["norm"]._replace(b=jnp.zeros(3))}
    with pytest.raises(ValueError, match=r"do not fit the net: norm\.b must be float64\[20\], got"):
        to_gpt2(net, params)
