"""Embedding, recurrence and attention as one writes them for autodiff."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from benchmarks.plain.nets import plain
from fnn.layers.distances import alibi
from fnn.layers.linear_attention import EPS


@plain.register
def _(net: fnn.Embedding, params, x, key):
    """table[x]."""
    return params.table[x]


@plain.register
def _(net: fnn.Positions, params, x, key):
    """x + the first rows of the table."""
    return x + params.table[: x.shape[1]]


@plain.register
def _(net: fnn.Sinusoids, params, x, key):
    """x + sines and cosines, side by side."""
    angle = np.arange(x.shape[1])[:, None] / 1e4 ** (np.arange(0, net.n, 2) / net.n)
    waves = np.stack([np.sin(angle), np.cos(angle)], -1).reshape(-1, net.n)
    return x + jnp.asarray(waves, x.dtype)


Cell = Callable[[Any, jax.Array], tuple[Any, jax.Array]]  # (state, x of a step) → (state, h)


def scanned(cell: Cell, state: Any, x: jax.Array) -> jax.Array:
    """lax.scan of a cell over time, [B, T, n] → [B, T, n_hidden]."""
    return jax.lax.scan(cell, state, x.swapaxes(0, 1))[1].swapaxes(0, 1)


def start(net: fnn.RNN | fnn.LSTM | fnn.GRU, x: jax.Array) -> jax.Array:
    """h before the first step."""
    return jnp.zeros((len(x), net.n_hidden), x.dtype)


@plain.register
def _(net: fnn.RNN, params, x, key):
    """lax.scan of tanh(x wx + h wh + b)."""

    def cell(h, x):
        h = jnp.tanh(x @ params.wx + h @ params.wh + params.b)
        return h, h

    return scanned(cell, start(net, x), x)


def lstm_cell(params: fnn.LSTMParams) -> Cell:
    """One step, all gates from one product each of x and h."""

    def cell(state, x):
        h, c = state
        i, f, g, o = jnp.split(x @ params.wx + h @ params.wh + params.b, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return cell


@plain.register
def _(net: fnn.LSTM, params, x, key):
    """lax.scan of a cell."""
    return scanned(lstm_cell(params), (start(net, x),) * 2, x)


@plain.register
def _(net: fnn.GRU, params, x, key):
    """lax.scan of a cell, r behind the product."""

    def cell(h, x):
        a_r, a_z, a_n = jnp.split(x @ params.wx + params.bx, 3, -1)
        u_r, u_z, u_n = jnp.split(h @ params.wh + params.bh, 3, -1)
        r, z = jax.nn.sigmoid(a_r + u_r), jax.nn.sigmoid(a_z + u_z)
        h = (1 - z) * jnp.tanh(a_n + r * u_n) + z * h
        return h, h

    return scanned(cell, start(net, x), x)


def heads(x: jax.Array, w: jax.Array, n_heads: int) -> jax.Array:
    """x w, cut: [B, T, n_heads, d]."""
    return (x @ w).reshape(*x.shape[:2], n_heads, -1)


@plain.register
def _(net: fnn.Attention, params, x, key):
    """einsum, where, softmax, einsum."""
    q = heads(x, params.wq, net.n_heads)
    k, v = heads(x, params.wk, net.kv_heads), heads(x, params.wv, net.kv_heads)
    k, v = (jnp.repeat(a, net.n_heads // net.kv_heads, 2) for a in (k, v))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
    delta = jnp.arange(x.shape[1])[:, None] - jnp.arange(x.shape[1])
    if net.alibi:
        scores = scores - jnp.asarray(alibi(net.n_heads), x.dtype)[:, None, None] * abs(delta)
    if net.causal:
        scores = jnp.where(delta >= 0, scores, -jnp.inf)
    if net.window is not None:
        scores = jnp.where(abs(delta) < net.window, scores, -jnp.inf)
    o = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)
    return o.reshape(x.shape) @ params.wo


def linear_heads(net: fnn.LinearAttention, params: Any, x: jax.Array) -> tuple[jax.Array, ...]:
    """q/√d, k, v, the logarithm of the decay and, if there is one, β, [B, T, n_heads, ...]."""
    q, k, v = (heads(x, w, net.n_heads) for w in (params.wq, params.wk, params.wv))
    l, scale = jax.nn.log_sigmoid(x @ params.wa + params.ba), 1 / math.sqrt(q.shape[-1])
    if not net.delta:
        return q * scale, k, v, l
    b = jax.nn.sigmoid(x @ params.wb + params.bb)
    return unit(q) * scale, unit(k), v, l, b[..., None]


def unit(a: jax.Array) -> jax.Array:
    """`a` over its length."""
    return a * jax.lax.rsqrt((a**2).sum(-1, keepdims=True) + EPS * a.shape[-1])


def linear_output(net: fnn.LinearAttention, params: Any, o: jax.Array) -> jax.Array:
    """Every head over its root mean square, then one product."""
    if net.norm:
        o = o * jax.lax.rsqrt((o**2).mean(-1, keepdims=True) + EPS)
    return o.reshape(*o.shape[:2], net.n) @ params.wo


@plain.register
def _(net: fnn.LinearAttention, params, x, key):
    """lax.scan of S = a S + kᵀ v, or kᵀ β (v − k a S), one step after another."""

    def cell(s, inputs):
        q, k, v, l, *b = inputs
        s = jnp.exp(l)[..., None, None] * s
        v = b[0] * (v - jnp.einsum("bhi,bhij->bhj", k, s)) if b else v
        s = s + k[..., None] * v[..., None, :]
        return s, jnp.einsum("bhi,bhij->bhj", q, s)

    steps = [a.swapaxes(0, 1) for a in linear_heads(net, params, x)]
    _, o = jax.lax.scan(cell, jnp.zeros((len(x), *net.state_shape), x.dtype), steps)
    return linear_output(net, params, o.swapaxes(0, 1))


@plain.register
def _(net: fnn.CrossAttention, params, x, key):
    """einsum, softmax, einsum."""
    q, z = heads(x.x, params.wq, net.n_heads), x.memory
    k, v = heads(z, params.wk, net.kv_heads), heads(z, params.wv, net.kv_heads)
    k, v = (jnp.repeat(a, net.n_heads // net.kv_heads, 2) for a in (k, v))
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / math.sqrt(q.shape[-1])
    o = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v)
    return x.with_fields(x=o.reshape(x.x.shape) @ params.wo)


@plain.register
def _(net: fnn.Unembed, params, x, key):
    """Logits, x w."""
    return x @ params.w
