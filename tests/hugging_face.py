"""Forwards of GPT-2 and of a Llama in numpy, from tensors by Hugging Face's names.

And what the tests of the loaders share.
"""

import jax
import numpy as np
from contract import QUICK

import fnn


def weights(shapes, dtype, seed=0):
    """Random tensors of these shapes; those of norms are near 1."""
    rng = np.random.default_rng(seed)
    drawn = {name: 0.3 * rng.standard_normal(shape) for name, shape in shapes.items()}
    near = {name: "norm" in name or (".ln_" in name and "weight" in name) for name in shapes}
    return {name: (a + near[name]).astype(dtype) for name, a in drawn.items()}


def softmax(u):
    p = np.exp(u - u.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def attention(q, k, v):
    """Causal, one head after the other; q, k, v are lists of [T, d]."""
    seen = np.tril(np.ones((len(q[0]), len(q[0])), bool))

    def head(q, k, v):
        return softmax(np.where(seen, q @ k.T / np.sqrt(q.shape[-1]), -np.inf)) @ v

    return np.concatenate([*map(head, q, k, v)], -1)


def gpt2(t, tokens, n_heads, eps=1e-5):
    """Logits [T, n_vocab] of one sequence of tokens."""

    def norm(x, name):
        z = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + eps)
        return z * t[f"{name}.weight"] + t[f"{name}.bias"]

    def affine(x, name):
        return x @ t[f"{name}.weight"] + t[f"{name}.bias"]

    x = t["wte.weight"][tokens] + t["wpe.weight"][: len(tokens)]
    for i in range(sum(name.endswith("ln_1.bias") for name in t)):
        qkv = np.split(affine(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), 3, -1)
        heads = (np.split(a, n_heads, -1) for a in qkv)
        x = x + affine(attention(*heads), f"h.{i}.attn.c_proj")
        z = affine(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc")
        z = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
        x = x + affine(z, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ t.get("lm_head.weight", t["wte.weight"]).T


def llama(t, tokens, n_heads, rotary=1e4, eps=1e-6):
    """Logits [T, n_vocab] of one sequence of tokens."""

    def norm(x, name):
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * t[f"{name}.weight"]

    def linear(x, name):
        return x @ t[f"{name}.weight"].T

    x = t["embed_tokens.weight"][tokens]
    d = x.shape[-1] // n_heads

    def rotated(a):
        angle = np.arange(len(a))[:, None] / rotary ** (np.arange(0, d, 2) / d)
        cos, sin = np.tile(np.cos(angle), 2), np.tile(np.sin(angle), 2)
        return a * cos + np.concatenate([-a[:, d // 2 :], a[:, : d // 2]], -1) * sin

    def heads(x, name):
        a = linear(x, name)
        return np.split(a, a.shape[-1] // d, -1)

    for i in range(sum(name.endswith("q_proj.weight") for name in t)):
        z, at = norm(x, f"layers.{i}.input_layernorm"), f"layers.{i}.self_attn"
        q, k, v = (heads(z, f"{at}.{a}_proj") for a in "qkv")
        k, v = ([a for a in each for _ in range(n_heads // len(k))] for each in (k, v))
        o = attention([rotated(a) for a in q], [rotated(a) for a in k], v)
        x = x + linear(o, f"{at}.o_proj")
        z = norm(x, f"layers.{i}.post_attention_layernorm")
        g, u = (linear(z, f"layers.{i}.mlp.{name}_proj") for name in ("gate", "up"))
        x = x + linear(g / (1 + np.exp(-g)) * u, f"layers.{i}.mlp.down_proj")
    return norm(x, "norm") @ t.get("lm_head.weight", t["embed_tokens.weight"]).T


def logits(net, params, tokens):
    """What fnn makes of these tokens, of the net as it is evaluated."""
    net, params = fnn.inference(net, params)
    return jax.jit(lambda p, x: net.forward(p, x)[0], compiler_options=QUICK)(params, tokens)


def check_logits(forward, net, params, given, tokens, rtol):
    """fnn's logits are those of a forward in numpy, computed in float64."""
    wide = {name: a.astype("float64") for name, a in given.items()}
    want = np.stack([forward(wide, row) for row in tokens])
    found = np.asarray(logits(net, params, tokens))
    assert {found.dtype} == {a.dtype for a in given.values()}
    assert abs(found - want).max() <= rtol * abs(want).max()


def behind(prefix, tensors):
    """The tensors with a prefix before every name but that of the head."""
    return {name if "lm_head" in name else prefix + name: a for name, a in tensors.items()}


def check_same(found, want):
    """Equal bit for bit, in an order of memory that other readers take as it is."""
    assert found.keys() == want.keys()
    for name, a in want.items():
        assert (found[name].dtype, found[name].shape) == (a.dtype, a.shape)
        assert found[name].tobytes() == a.tobytes()
        assert found[name].flags.c_contiguous


def zeros(net):
    """Params of the net's form."""
    like = jax.eval_shape(net.init, jax.random.key(0))
    return jax.tree.map(lambda a: np.zeros(a.shape, a.dtype), like)
