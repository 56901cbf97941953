"""Attention: every position asks all earlier ones, several heads at a time.

Of every head, with d features and the sums over the positions s that t may see,

    q = x wq      k = x wk      v = x wv
    p[t,s] = exp(q_t·k_s/√d − m_t),  m_t = log Σ_s exp(q_t·k_s/√d)
    o_t = Σ_s p[t,s] v_s                         y = (o of all heads) wo

Backward, with do = dy woᵀ cut into heads,

    dv_s = Σ_t p[t,s] do_t           δ_t = do_t·o_t = Σ_s p[t,s] do_t·v_s
    du[t,s] = p[t,s] (do_t·v_s − δ_t) / √d
    dq_t = Σ_s du[t,s] k_s           dk_s = Σ_t du[t,s] q_t
    dwq = Σ xᵀ dq   dwk = Σ xᵀ dk   dwv = Σ xᵀ dv   dwo = Σ oᵀ dy   dx = dq wqᵀ + dk wkᵀ + dv wvᵀ

p is never stored: forward keeps m, backward makes p again of q, k and m, a block of rows at
a time; a causal block looks at no key behind its end. `block=None` stores p whole instead,
the reference. With fewer key heads than query heads, several queries share one key head.
A position that may see nothing has o = 0. With `rotary`, q and k are turned by their
positions (rotary.py) before they meet, and dq and dk are turned back.

Source: Vaswani et al. (2017), arXiv:1706.03762, eq. 1 and section 3.2.2; Dao, Fu, Ermon,
Rudra & Ré (2022), arXiv:2205.14135, section 3.1 and appendix B.2; Ainslie et al. (2023),
arXiv:2305.13245, for shared key heads.
Equations: dir.self-attention, dir.multi-head.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_key, check_last_axis, check_params, check_shape
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.layers.blockwise import attended, attended_back
from fnn.layers.recurrence import Sequence, answer, form, product
from fnn.layers.rotary import turned
from fnn.types import Array, Key, Static


class AttentionParams(NamedTuple):
    """The weights of an attention layer, and their gradients."""

    wq: Array  # [n, n_heads d]
    wk: Array  # [n, n_kv_heads d]
    wv: Array  # [n, n_kv_heads d]
    wo: Array  # [n_heads d, n]


class AttentionCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, T, n]
    mask: Array | None  # [B, T]
    q: Array  # [B, n_kv_heads, n_heads / n_kv_heads, T, d], turned
    k: Array  # [B, n_kv_heads, T, d], turned
    v: Array  # [B, n_kv_heads, T, d]
    o: Array  # like q
    m: Array  # [B, n_kv_heads, n_heads / n_kv_heads, T]
    given: Static  # the form of x


@dataclass(frozen=True)
class Attention(Layer[AttentionParams, AttentionCache]):
    """y_t from x_1 ... x_t, or from all.  x [B, T, n], or a Sequence with mask → y [B, T, n].

    `n_heads` must divide n, `n_kv_heads` (None: the same) n_heads. `causal`: no position
    sees a later one. The mask says which positions may be seen. `block` rows of p exist at
    a time, per head; None: all of them. `rotary` is the base θ of rotary positions, usually
    10⁴; None: the layer knows no positions but by `causal`. `w_init` (key, n_in, n_out) → w.
    """

    n: int
    n_heads: int
    causal: bool = True
    n_kv_heads: int | None = None
    block: int | None = 128
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
        if self.block is not None and self.block < 1:
            raise ValueError(f"{self}: block must be at least 1, or None.")
        if self.rotary is not None and (self.rotary <= 1 or self.n // heads % 2):
            raise ValueError(f"{self}: rotary must be above 1, and n / n_heads even.")

    @property
    def kv_heads(self) -> int:
        """The number of key heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    def shapes(self) -> dict[str, tuple[int, int]]:
        """The shape of every weight."""
        small = self.n // self.n_heads * self.kv_heads
        return {
            "wq": (self.n, self.n),
            "wk": (self.n, small),
            "wv": (self.n, small),
            "wo": (self.n, self.n),
        }

    def init(self, key):
        """Each weight from `w_init`."""
        check_key(self, key)
        keys = jax.random.split(key, 4)
        pairs = zip(keys, self.shapes().values(), strict=True)
        return AttentionParams(*(self.w_init(k, *shape) for k, shape in pairs))

    def forward(self, params, x, *, key=None):
        """y = o wo."""
        given = form(x)
        x, mask, _ = x if isinstance(x, Sequence) else Sequence(x)
        self.check(x, mask)
        check_params(self, params, **self.shapes())
        x = jnp.asarray(x)
        q, k, v = self.split(x @ params.wq), self.cut(x @ params.wk), self.cut(x @ params.wv)
        if self.rotary is not None:
            q, k = turned(q, self.rotary), turned(k, self.rotary)
        o, m = attended(q, k, v, mask, self.causal, self.block)
        return self.joined(o) @ params.wo, AttentionCache(x, mask, q, k, v, o, m, given)

    def backward(self, params, cache, dy):
        """dq, dk, dv of every head, then the four products."""
        x, mask, q, k, v, o, m, given = cache
        do = self.split(dy @ params.wo.T)
        dq, dk, dv = attended_back(q, k, v, o, m, do, mask, self.causal, self.block)
        if self.rotary is not None:
            dq, dk = turned(dq, self.rotary, back=True), turned(dk, self.rotary, back=True)
        dq, dk, dv = self.joined(dq), self.whole(dk), self.whole(dv)
        grads = AttentionParams(
            product(x, dq), product(x, dk), product(x, dv), product(self.joined(o), dy)
        )
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, params)
        dx = dq @ params.wq.T + dk @ params.wk.T + dv @ params.wv.T
        return grads, answer(given, dx.astype(x.dtype), None)

    def check(self, x: Any, mask: Any) -> None:
        """Raise unless x is [B, T, n] and mask None or booleans [B, T]."""
        check_last_axis(self, "x", x, self.n)
        if x.ndim != 3:
            raise ValueError(f"{self}: x must have shape [B, T, {self.n}], got {list(x.shape)}.")
        if mask is not None:
            check_shape(self, "mask", mask, x.shape[:2])
            if mask.dtype != bool:
                raise TypeError(f"{self}: mask must be boolean, got {mask.dtype}.")

    def split(self, a: Array) -> Array:
        """[B, T, n_heads d] → [B, n_kv_heads, n_heads / n_kv_heads, T, d]."""
        heads = self.kv_heads, self.n_heads // self.kv_heads
        return jnp.moveaxis(a.reshape(*a.shape[:2], *heads, self.n // self.n_heads), 1, 3)

    def joined(self, a: Array) -> Array:
        """Back to [B, T, n_heads d]."""
        return jnp.moveaxis(a, 3, 1).reshape(a.shape[0], a.shape[3], self.n)

    def cut(self, a: Array) -> Array:
        """[B, T, n_kv_heads d] → [B, n_kv_heads, T, d]."""
        return jnp.moveaxis(a.reshape(*a.shape[:2], self.kv_heads, self.n // self.n_heads), 1, 2)

    def whole(self, a: Array) -> Array:
        """Back to [B, T, n_kv_heads d]."""
        return jnp.moveaxis(a, 2, 1).reshape(a.shape[0], a.shape[2], a.shape[1] * a.shape[3])
