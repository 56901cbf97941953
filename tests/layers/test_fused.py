"""Tests of fnn.layers.fused: cuDNN's kernel is replaced by the same function of jax's for CPUs."""

import re
from dataclasses import replace
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from jax._src.cudnn import fused_attention_stablehlo as cudnn

import fnn
from fnn.layers import fused
from fnn.layers.attention import CORES, Attention
from fnn.layers.cross_attention import CrossAttention
from fnn.layers.sight import Sight
from fnn.sequence import Sequence, value

KEY, HALF = jax.random.key(0), "bfloat16"
SIGHTS = {
    "causal": Sight(True),
    "all": Sight(),
    "window": Sight(True, 4),
    "both sides": Sight(window=4),
    "behind a state": Sight(True, ahead=3),
    "window behind a state": Sight(True, 4, ahead=3),
    "keys": Sight(True, keys=jnp.arange(7) % 3 > np.arange(2)[:, None]),
    "pairs": Sight(pairs=noise(2, 7, 7, seed=6) > 0),
    "nothing": Sight(keys=jnp.zeros((2, 7), bool)),
}


@pytest.fixture
def on_cpu(monkeypatch):
    """Float32, and the function that jax has for CPUs; what was asked of it."""
    asked, plain = [], jax.nn.dot_product_attention

    def run(*arrays, implementation, **how):
        asked.append((implementation, how))
        return plain(*arrays, implementation="xla", **how)

    monkeypatch.setattr(jax.nn, "dot_product_attention", run)
    monkeypatch.setattr(fused, "DTYPES", ("float32",))
    with jax.numpy_dtype_promotion("standard"):
        yield asked


def single(tree):
    """Its floating arrays in float32."""
    return jax.tree.map(lambda a: a.astype("float32") if a.dtype == float else a, tree)


def check_close(found, want):
    """To float32's rounding."""
    chex.assert_trees_all_close(found, want, rtol=1e-5, atol=2e-6)


def given(sight):
    """q, k, v and do, of as many rows as there are behind the state."""
    n = 7 - sight.ahead
    q, do = noise(2, 2, 3, n, 4), noise(2, 2, 3, n, 4, seed=4)
    return single((q, noise(2, 2, 7, 4, seed=2), noise(2, 2, 7, 4, seed=3), do))


def both(core, sight, q, k, v, do):
    """o, dq, dk, dv and da."""
    o, m = core.attend(q, k, v, sight, 3)
    return o, *core.attend_back(q, k, v, o, m, do, sight, 3)


@pytest.mark.parametrize("sight", SIGHTS.values(), ids=SIGHTS)
def test_values_and_gradients_are_those_in_chunks(sight, on_cpu):
    want, found = (jax.jit(partial(both, core, sight))(*given(sight)) for core in CORES.values())
    check_close(found, want)
    assert {name for name, _ in on_cpu} == {"cudnn"}


def test_what_the_kernel_knows_by_itself_is_no_mask(on_cpu):
    both(CORES["cudnn"], Sight(True, 4), *given(Sight()))
    assert all(
        how == {"mask": None, "is_causal": True, "local_window_size": (3, 0)} for _, how in on_cpu
    )


@pytest.mark.parametrize("name", ["k", "v"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_key_or_value_makes_nan_of_the_rows_that_see_it(name, value, on_cpu):
    q, k, v, do = given(Sight())
    bad = {"k": k, "v": v}
    bad[name] = bad[name].at[0, 1, 2, 3].set(value)
    o, _ = fused.fused(q, **bad, sight=Sight(True), chunk=None)
    rows = np.zeros((2, 2, 3, 7), bool)
    rows[0, 1, :, 2:] = True
    np.testing.assert_array_equal(np.isnan(o).all(-1), rows)
    np.testing.assert_array_equal(np.isnan(o).any(-1), rows)
    dq, *_ = fused.fused_back(q, bad["k"], bad["v"], o, None, do, Sight(True), None)
    np.testing.assert_array_equal(np.isnan(dq).any(-1), rows)


def lowered(monkeypatch, sight, t=64):
    """The text for CUDA of forward and backward, as on a machine that has cuDNN."""
    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda _: True)
    q, k = (jax.ShapeDtypeStruct((2, 3, *g, t, 16), HALF) for g in ((2,), ()))
    traced = jax.jit(partial(both, CORES["cudnn"], sight)).trace(q, k, k, q)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


@pytest.mark.parametrize("window", [None, 8])
def test_a_gpu_runs_the_kernel_and_its_backward_and_makes_no_p(window, monkeypatch):
    text = lowered(monkeypatch, Sight(True, window))
    kernels = re.findall(r"custom_call @__cudnn\$(\w+)", text)
    assert set(kernels) == {"fmhaSoftmax", "fmhaSoftmaxBackward"}
    assert kernels.count("fmhaSoftmaxBackward") == 1
    assert not re.search(r"64x64x", text)
    assert "stablehlo.while" not in text
    assert "stablehlo.dot_general" not in text


LAYERS = [
    Attention(8, 2, n_kv_heads=1, rotary=30.0, implementation="cudnn"),
    Attention(12, 3, window=2, bias=True, implementation="cudnn"),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_layer_has_the_gradients_of_chunks_with_and_without_a_state(layer, on_cpu):
    params, x = single((layer.init(KEY), noise(2, 5, layer.n)))
    state = jax.tree.map(
        lambda a: noise(*a.shape, seed=9).astype(a.dtype) if a.dtype != bool else ~a,
        layer.zero_state(params, 2, 4),
    )
    plain = replace(layer, implementation="chunked")
    for given in (x, Sequence(x, jnp.arange(5) < np.array([[5], [3]]), state)):
        found, want = (gradients(one, params, given) for one in (layer, plain))
        check_close(found, want)
    assert on_cpu


def gradients(layer, params, x):
    """y, the gradients and dx."""
    y, cache = layer.forward(params, x)
    return y, layer.backward(params, cache, Sequence(value(y)))


def test_a_memory_is_looked_at_by_the_kernel(on_cpu):
    params = single(CrossAttention(8, 2, 6).init(KEY))
    memory = Sequence(noise(2, 7, 6), jnp.arange(7) < np.array([[7], [4]]))
    x = single(Sequence(noise(2, 5, 8), memory=memory))
    layers = CrossAttention(8, 2, 6, implementation="cudnn"), CrossAttention(8, 2, 6)
    found, want = (gradients(layer, params, x) for layer in layers)
    check_close(found, want)
    assert on_cpu


def test_one_row_has_no_kernel(on_cpu):
    layer = LAYERS[0]
    layer.forward(*single((layer.init(KEY), noise(2, 1, 8))))
    assert not on_cpu


def test_nets_hand_it_to_every_attention():
    net = fnn.gpt(11, 8, 2, 2, 6, implementation="cudnn")
    assert net.children["blocks"].inner.attention.implementation == "cudnn"
    both = fnn.encoder_decoder(11, 8, 2, 2, 6, implementation="cudnn")
    block = both.children["decoder"].children["blocks"].inner
    assert block.attention.implementation == block.cross_attention.implementation == "cudnn"


def test_a_machine_without_it_says_what_to_do():
    layer = Attention(16, 2, implementation="cudnn")
    params = layer.init(KEY)
    with pytest.raises(TypeError, match=r"q must be bfloat16 or float16, got float64; Cast\(net"):
        layer.forward(params, noise(2, 5, 16))
    net = fnn.Cast(layer, HALF)
    with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU .* implementation='chunked'"):
        net.forward(params, noise(2, 5, 16))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"implementation": "flash"}, r"must be one of \['chunked', 'cudnn'\], got 'flash'"),
        ({"implementation": "cudnn", "alibi": True}, r"has no alibi and no distances"),
        ({"implementation": "cudnn", "distances": 3}, r"has no alibi and no distances"),
    ],
)
def test_what_it_does_not_have_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Attention(8, 2, **fields)
