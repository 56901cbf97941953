"""Attention: every position attends to all earlier ones, several heads at a time.

Of every head, with d features and the sums over the positions s that t may see,

    q = x wq      k = x wk      v = x wv
    p[t,s] = exp(q_t·k_s/√d − m_t),  m_t = log Σ_s exp(q_t·k_s/√d)
    o_t = Σ_s p[t,s] v_s                         y = (o of all heads) wo

Backward, with do = dy woᵀ split into heads,

    dv_s = Σ_t p[t,s] do_t           δ_t = do_t·o_t = Σ_s p[t,s] do_t·v_s
    du[t,s] = p[t,s] (do_t·v_s − δ_t) / √d
    dq_t = Σ_s du[t,s] k_s           dk_s = Σ_t du[t,s] q_t
    dwq = Σ xᵀ dq   dwk = Σ xᵀ dk   dwv = Σ xᵀ dv   dwo = Σ oᵀ dy   dx = dq wqᵀ + dk wkᵀ + dv wvᵀ

p is not kept (flash attention): forward keeps m, the logsumexp of each row, and backward
forms p again from q, k and m, a chunk of rows of one sequence and key head at a time; a causal
chunk looks at no key behind its end. XLA on CPU keeps several chunks at once. `chunk=None`
makes p whole instead, the reference. With fewer key heads
than query heads (grouped-query attention), several queries share one key head. A position
that may see nothing has o = 0. With `rotary` (RoPE), q and k are rotated by their positions
before they meet, and dq and dk are rotated back.

Source: Vaswani et al. (2017), arXiv:1706.03762, eq. 1 and section 3.2.2; Dao, Fu, Ermon,
Rudra & Ré (2022), arXiv:2205.14135, section 3.1 and appendix B.2; Ainslie et al. (2023),
arXiv:2305.13245, for grouped queries.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import empty
from fnn.errors import check_key, check_steps
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.layers.chunked import attend, attend_back
from fnn.layers.rotary import rotate
from fnn.numerics import like, outer
from fnn.records import Array, Key
from fnn.sequence import lift, mask_of, renewed, select, state_of, value


class AttentionParams(NamedTuple):
    """The weights of an attention layer, and their gradients."""

    wq: Array  # [n, n_heads d]
    wk: Array  # [n, n_kv_heads d]
    wv: Array  # [n, n_kv_heads d]
    wo: Array  # [n_heads d, n]

    weights = ("wq", "wk", "wv", "wo")


class AttentionCache(NamedTuple):
    """The input, and what the heads made of it."""

    x: Array  # [B, T, n]
    mask: Array | None  # [B, T]
    q: Array  # [B, n_kv_heads, n_heads / n_kv_heads, T, d], rotated
    k: Array  # [B, n_kv_heads, T, d], rotated
    v: Array  # [B, n_kv_heads, T, d]
    o: Array  # like q
    m: Array  # [B, n_kv_heads, n_heads / n_kv_heads, T]


@dataclass(frozen=True)
class Attention(Layer[AttentionParams, AttentionCache]):
    """y_t from x_1 ... x_t, or from all.  x [B, T, n], or a Sequence with mask → y [B, T, n].

    `n_heads` must divide n, `n_kv_heads` (None: the same) n_heads. `causal`: no position
    sees a later one. The mask says which positions may be seen. `chunk` rows of p are made at
    a time, and the time to compile grows with T / chunk; None: all of them. `rotary` is the base
    θ of rotary positions, usually 10⁴; None: the layer knows no positions but by `causal`.
    `w_init` (key, n_in, n_out) → w. It keeps no state (KV cache) from one part of a sequence to
    the next, and has neither biases nor a dropout of p, as torch's MultiheadAttention has.

    Raises:
        ValueError: for heads that do not divide, a chunk below 1, a rotary base of at most 1
            or with an odd n / n_heads.
        TypeError: from forward, for a Sequence with a state.
    """

    sequences: ClassVar = "own"

    n: int
    n_heads: int
    causal: bool = True
    n_kv_heads: int | None = None
    chunk: int | None = 128
    rotary: float | None = None
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject heads that do not divide the features."""
        super().__post_init__()
        heads, kv = self.n_heads, self.kv_heads
        if self.n < 1 or heads < 1 or self.n % heads:
            raise ValueError(f"{self}: n_heads must divide n, got {heads} and {self.n}.")
        if kv < 1 or heads % kv:
            raise ValueError(f"{self}: n_kv_heads must divide n_heads, got {kv} and {heads}.")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"{self}: chunk must be at least 1, or None.")
        if self.rotary is not None and (self.rotary <= 1 or self.n // heads % 2):
            raise ValueError(f"{self}: rotary must be above 1, and n / n_heads even.")

    @property
    def kv_heads(self) -> int:
        """The number of key heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    def shapes(self):
        """Those of the four weights."""
        n, small = self.n, self.n // self.n_heads * self.kv_heads
        return {"wq": (n, n), "wk": (n, small), "wv": (n, small), "wo": (n, n)}

    def check_input(self, x):
        """x must be a batch of sequences, without a state."""
        check_steps(self, "x", value(x), self.n)
        if not empty(state_of(x)):
            raise TypeError(f"{self}: x.state must be None, this layer has no state.")

    def init(self, key):
        """Each weight from `w_init`."""
        check_key(self, key)
        drawn = zip(jax.random.split(key, 4), self.shapes().values(), strict=True)
        return AttentionParams(*(self.w_init(k, *shape) for k, shape in drawn))

    def forward(self, params, x, *, key=None):
        """y = o wo."""
        a, mask = select(mask_of(x), value(x)), mask_of(x)
        q = self.rotated(self.heads(a @ params.wq))
        k = self.rotated(self.kv(a @ params.wk))
        v = self.kv(a @ params.wv)
        o, m = attend(q, k, v, mask, self.causal, self.chunk)
        y = lift(lambda _: merge(o) @ params.wo, x)
        return renewed(y, state=None), AttentionCache(a, mask, q, k, v, o, m)

    def backward(self, params, cache, dy):
        """dq, dk, dv of every head, then the four products."""
        x, mask, q, k, v, o, m = cache
        d = value(dy)
        do = self.heads(d @ params.wo.T)
        dq, dk, dv = attend_back(q, k, v, o, m, do, mask, self.causal, self.chunk)
        dq, dk = self.rotated(dq, back=True), self.rotated(dk, back=True)
        dq, dk, dv = merge(dq), merge(dk), merge(dv)
        grads = AttentionParams(outer(x, dq), outer(x, dk), outer(x, dv), outer(merge(o), d))
        dx = select(mask, dq @ params.wq.T + dk @ params.wk.T + dv @ params.wv.T)
        grads, dx = like((grads, dx), (params, x))
        return grads, renewed(lift(lambda _: dx, dy), state=None)

    def rotated(self, a: Array, *, back: bool = False) -> Array:
        """`a` rotated by its positions, or back, where the layer is rotary."""
        return a if self.rotary is None else rotate(a, self.rotary, back=back)

    def heads(self, a: Array) -> Array:
        """[B, T, n_heads d] → [B, n_kv_heads, n_heads / n_kv_heads, T, d]."""
        groups = self.kv_heads, self.n_heads // self.kv_heads
        return jnp.moveaxis(a.reshape(*a.shape[:2], *groups, self.n // self.n_heads), 1, 3)

    def kv(self, a: Array) -> Array:
        """[B, T, n_kv_heads d] → [B, n_kv_heads, T, d]."""
        return jnp.moveaxis(a.reshape(*a.shape[:2], self.kv_heads, self.n // self.n_heads), 1, 2)


def merge(a: Array) -> Array:
    """All heads side by side: [B, ..., T, d] → [B, T, n]."""
    n = math.prod(a.shape[1:-2]) * a.shape[-1]
    return jnp.moveaxis(a, -2, 1).reshape(a.shape[0], a.shape[-2], n)
