"""LinearAttention: attention without a softmax; all of the past is one matrix that decays.

Of every head, with d features,

    q = x wq + bq      k = x wk + bk      v = x wv + bv      z = x wa + ba
    a_t = σ(z_t)       S_t = a_t S_{t−1} + k_tᵀ v_t          o_t = q_t S_t/√d
    u = o r, r = 1/√(mean o² + ε)         y = (u of all heads) wo + bo

Backward, with du = dy woᵀ; retention.py makes dq, dk, dv and dl of do, l = log a:

    do = r (du − u mean(du u))      dz = dl (1 − a)
    dwq = Σ xᵀ dq    dwk = Σ xᵀ dk    dwv = Σ xᵀ dv    dwa = Σ xᵀ dz    dwo = Σ uᵀ dy
    dbq = Σ dq       dbk = Σ dk       dbv = Σ dv       dba = Σ dz       dbo = Σ dy
    dx = dq wqᵀ + dk wkᵀ + dv wvᵀ + dz waᵀ

Every step of every head has one decay, a_t. They begin near those of RetNet, where they are
the same at all steps: head h = 0, 1, ... has 1 − 2^(−5−h). Without `norm` u is o, whose size
grows with what S remembers. bq, bk, bv and bo are there with `bias`. A step that the mask skips
has S_t = S_{t−1}: its a is 1, and its k 0.

Time and memory grow with T: within a chunk every step looks at the earlier ones, from one
chunk to the next S is handed on. S is in at least float32. RetNet's rotation of q and k and
its gate on u are left out.

Source: Sun et al. (2023), arXiv:2307.08621, eqs. 5 to 8, with RMSNorm for GroupNorm; Sun et al.
(2024), arXiv:2405.05254, for a decay that depends on x (gated retention); Dao & Gu (2024),
arXiv:2405.21060, section 6, for the chunks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_key, check_steps
from fnn.initializers import glorot_uniform
from fnn.layers.normalization import mean, over_rms
from fnn.layers.recurrence import Form, Stateful
from fnn.layers.retention import Chunks, chunks_of, cut, joined, retain, retain_back
from fnn.numerics import like, outer, plus, plus_gradient, total, wide, widened
from fnn.records import Array, Key
from fnn.sequence import select, value

EPS = 1e-6  # ε, that of RMSNorm


class LinearAttentionParams(NamedTuple):
    """The weights of a linear attention, and their gradients."""

    wq: Array  # [n, n]
    wk: Array  # [n, n]
    wv: Array  # [n, n]
    wo: Array  # [n, n]
    wa: Array  # [n, n_heads]
    ba: Array  # [n_heads]
    bq: Array | None = None  # [n]
    bk: Array | None = None  # [n]
    bv: Array | None = None  # [n]
    bo: Array | None = None  # [n]

    weights = ("wq", "wk", "wv", "wo", "wa")


class LinearAttentionCache(NamedTuple):
    """The input, what is made of it, and how it came."""

    x: Array  # [B, T, n]
    z: Array  # [B, T, n_heads]
    chunks: Chunks  # q, k, v, and sums of l
    u: Array  # [B, chunks, n_heads, C, d]
    r: Array | None  # [B, chunks, n_heads, C, 1]; None without a norm
    s: Array  # before the first step, [B, n_heads, d, d]
    form: Form


@dataclass(frozen=True)
class LinearAttention(Stateful[LinearAttentionParams, LinearAttentionCache]):
    """o_t = q_t S_t/√d, S_t = a_t S_{t−1} + k_tᵀ v_t.  x [B, T, n] or a Sequence → y [B, T, n].

    Its state is (S,), [B, n_heads, d, d] with d = n / n_heads: as large after one step as after
    a million. `n_heads` must divide n. At most `chunk` steps are worked on at a time. `norm`
    divides every head's o by its root mean square. `w_init` (key, n_in, n_out) → w.

    Raises:
        ValueError: for heads that do not divide, a chunk below 1; from forward, for a state of
            another shape.
        TypeError: from forward, for a state that is not a tuple (S,).
    """

    state_names: ClassVar = ("S",)

    n: int
    n_heads: int
    chunk: int = 64
    norm: bool = field(default=True, kw_only=True)
    bias: bool = field(default=False, kw_only=True)
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject heads that do not divide the features, and chunks of no steps."""
        super().__post_init__()
        if self.n < 1 or self.n_heads < 1 or self.n % self.n_heads:
            raise ValueError(f"{self}: n_heads must divide n, got {self.n_heads} and {self.n}.")
        if self.chunk < 1:
            raise ValueError(f"{self}: chunk must be at least 1.")

    @property
    def state_shape(self):
        """(n_heads, d, d)."""
        return (self.n_heads, *(self.n // self.n_heads,) * 2)

    def state_dtype(self, dtype):
        """At least float32."""
        return wide(dtype)

    def shapes(self):
        """Those of the weights and of ba, and of the other biases where there are some."""
        n, heads = self.n, self.n_heads
        square = dict.fromkeys(("wq", "wk", "wv", "wo"), (n, n))
        biases = dict.fromkeys(("bq", "bk", "bv", "bo"), (n,) if self.bias else None)
        return square | {"wa": (n, heads), "ba": (heads,)} | biases

    def check_input(self, x):
        """x must be a batch of sequences, its state a tuple (S,)."""
        check_steps(self, "x", value(x), self.n)
        self.check_state(x)

    def init(self, key):
        """Each weight from `w_init`, σ(ba) = 1 − 2^(−5−h), the other biases 0."""
        check_key(self, key)
        names, shapes = LinearAttentionParams.weights, dict[str, Any](self.shapes())
        drawn = zip(jax.random.split(key, len(names)), names, strict=True)
        weights = {name: self.w_init(k, *shapes[name]) for k, name in drawn}
        ba = jnp.asarray(np.log(2.0 ** np.arange(5, 5 + self.n_heads) - 1))
        zeros = {name: jnp.zeros(self.n) for name in ("bq", "bk", "bv", "bo") if self.bias}
        return LinearAttentionParams(**weights, ba=ba, **zeros)

    def forward(self, params, x, *, key=None):
        """y = u wo + bo."""
        a, (s,), form = self.unpack(params, x)
        q, v = plus(a @ params.wq, params.bq), plus(a @ params.wv, params.bv)
        k = select(form.mask, plus(a @ params.wk, params.bk))
        z = jnp.matmul(a, params.wa, preferred_element_type=s.dtype) + params.ba.astype(s.dtype)
        l = select(form.mask, jax.nn.log_sigmoid(z))
        chunks = chunks_of(q, k, v, l, self.chunk)
        o, last = retain(chunks, s)
        u, r = self.normed(o)
        y = plus(joined(u, a.shape[1]) @ params.wo, params.bo)
        return self.pack(x, y, (last,)), LinearAttentionCache(a, z, chunks, u, r, s, form)

    def backward(self, params, cache, dy):
        """do, then dq, dk, dv and dl of every head, then one sum for each weight matrix."""
        (x, z, chunks, u, r, s, form), (d, (ds,)) = cache, self.unpack_cotangent(dy)
        do = self.unnormed(u, r, cut(d @ params.wo.T, self.n_heads, self.chunk))
        *found, ds = retain_back(chunks, s, do, ds)
        dq, dk, dv, dl = (joined(a, x.shape[1]) for a in found)
        dk, dz = select(form.mask, (dk, dl * jax.nn.sigmoid(-z)))
        biases = zip(params[6:], (dq, dk, dv, d), strict=True)
        grads = LinearAttentionParams(
            *(outer(x, dq), outer(x, dk), outer(x, dv), outer(joined(u, x.shape[1]), d)),
            *(outer(x, dz.astype(x.dtype)), total(dz)),
            *(plus_gradient(b, g) for b, g in biases),
        )
        dx = dq @ params.wq.T + dk @ params.wk.T + dv @ params.wv.T
        dx = select(form.mask, dx + dz.astype(x.dtype) @ params.wa.T)
        return like(grads, params), self.pack_cotangent(form, dy, dx, (ds,))

    def normed(self, o: Array) -> tuple[Array, Array | None]:
        """u = o r and r, where there is a norm."""
        if not self.norm:
            return o, None
        (a,) = widened(o)
        u, r = over_rms(a, (-1,), EPS)
        return u.astype(o.dtype), r

    def unnormed(self, u: Array, r: Array | None, du: Array) -> Array:
        """do = r (du − u mean(du u)), where there is a norm."""
        if r is None:
            return du
        a, d = widened(u, du)
        return like(r * (d - a * mean(d * a, (-1,))), du)
