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

With `delta` (Gated DeltaNet), q and k have length 1, and S takes of v only what it does not
hold yet (delta_rule.py):

    S_t = a_t S_{t−1} + k_tᵀ β_t (v_t − k_t a_t S_{t−1})      β = σ(x wb + bb)
    dzb = dβ β (1 − β)      dwb = Σ xᵀ dzb      dbb = Σ dzb      dx, besides, dzb wbᵀ

Time and memory grow with T: within a chunk every step looks at the earlier ones, from one
chunk to the next S is handed on. S is in at least float32. The gates on u, RetNet's rotation of
q and k, and the short convolutions of the others are left out.

Source: Sun et al. (2023), arXiv:2307.08621, eqs. 5 to 8, with RMSNorm for GroupNorm; Sun et al.
(2024), arXiv:2405.05254, for a decay that depends on x (gated retention); Dao & Gu (2024),
arXiv:2405.21060, section 6, for the chunks; Yang, Kautz & Hatamizadeh (2024), arXiv:2412.06464,
for the delta rule.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_key, check_steps
from fnn.factors import Outer, Sum, summed
from fnn.initializers import glorot_uniform
from fnn.layers.delta_rule import unit, unit_back
from fnn.layers.normalization import mean, over_rms
from fnn.layers.recurrence import Form, Stateful
from fnn.layers.retention import Chunks, chunks_of, cut, joined, retain, retain_back
from fnn.numerics import like, plus, product, wide, widened
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
    wb: Array | None = None  # [n, n_heads], with the delta rule
    bb: Array | None = None  # [n_heads]

    weights = ("wq", "wk", "wv", "wo", "wa", "wb")


class LinearAttentionCache(NamedTuple):
    """The input, what is made of it, and how it came."""

    x: Array  # [B, T, n]
    z: Array  # [B, T, n_heads]
    chunks: Chunks  # q, k, v, sums of l, and β
    sizes: tuple[Array, ...]  # 1/|q| and 1/|k|, [B, chunks, n_heads, C, 1]; none without delta
    u: Array  # [B, chunks, n_heads, C, d]
    r: Array | None  # [B, chunks, n_heads, C, 1]; None without a norm
    s: Array  # before the first step, [B, n_heads, d, d]
    form: Form


@dataclass(frozen=True)
class LinearAttention(Stateful[LinearAttentionParams, LinearAttentionCache]):
    """o_t = q_t S_t/√d, S_t = a_t S_{t−1} + k_tᵀ v_t.  x [B, T, n] or a Sequence → y [B, T, n].

    Its state is (S,), [B, n_heads, d, d] with d = n / n_heads: as large after one step as after
    a million. `n_heads` must divide n. At most `chunk` steps are worked on at a time. `norm`
    divides every head's o by its root mean square, `delta` is the delta rule. `w_init`
    (key, n_in, n_out) → w.

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
    delta: bool = field(default=False, kw_only=True)
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
        """Those of the weights and of ba, and of what bias and delta rule add."""
        n, heads = self.n, self.n_heads
        square = dict.fromkeys(("wq", "wk", "wv", "wo"), (n, n))
        biases = dict.fromkeys(("bq", "bk", "bv", "bo"), (n,) if self.bias else None)
        delta = {"wb": (n, heads) if self.delta else None, "bb": (heads,) if self.delta else None}
        return square | {"wa": (n, heads), "ba": (heads,)} | biases | delta

    def check_input(self, x):
        """x must be a batch of sequences, its state a tuple (S,)."""
        check_steps(self, "x", value(x), self.n)
        self.check_state(x)

    def init(self, key):
        """Each weight from `w_init`, σ(ba) = 1 − 2^(−5−h), the other biases 0."""
        check_key(self, key)
        shapes: dict[str, Any] = {name: s for name, s in self.shapes().items() if s is not None}
        names = [name for name in LinearAttentionParams.weights if name in shapes]
        drawn = zip(jax.random.split(key, len(names)), names, strict=True)
        weights = {name: self.w_init(k, *shapes.pop(name)) for k, name in drawn}
        ba = jnp.asarray(np.log(2.0 ** np.arange(5, 5 + self.n_heads) - 1))
        zeros = {name: jnp.zeros(shape) for name, shape in shapes.items()}
        return LinearAttentionParams(**weights, **zeros | {"ba": ba})

    def forward(self, params, x, *, key=None):
        """y = u wo + bo."""
        a, (s,), form = self.unpack(params, x)
        q, v = plus(product(a, params.wq), params.bq), plus(product(a, params.wv), params.bv)
        k = select(form.mask, plus(product(a, params.wk), params.bk))
        z = wide_product(a, params.wa, params.ba)
        l = select(form.mask, jax.nn.log_sigmoid(z))
        q, k, v, l = map(self.cut, (q, k, v, l))
        b, sizes = None, ()
        if params.wb is not None and params.bb is not None:  # with the delta rule
            b = self.cut(jax.nn.sigmoid(wide_product(a, params.wb, params.bb)))
            (q, k), sizes = zip(unit(q), unit(k), strict=True)
        chunks = chunks_of(q, k, v, l, b)
        o, last = retain(chunks, s)
        u, r = self.normed(o)
        y = plus(product(joined(u, a.shape[1]), params.wo), params.bo)
        return self.pack(x, y, (last,)), LinearAttentionCache(a, z, chunks, sizes, u, r, s, form)

    def backward(self, params, cache, dy):
        """One sum for each weight matrix and bias."""
        found, dx = self.factors(params, cache, dy)
        return summed(found, params), dx

    def factors(self, params, cache, dy):
        """do, then dq, dk, dv, dl and dβ of every head, and what each of them multiplies."""
        (x, z, chunks, sizes, u, r, s, form), (d, (ds,)) = cache, self.unpack_cotangent(dy)
        do = self.unnormed(u, r, self.cut(product(d, params.wo.T)))
        dq, dk, dv, dl, db, ds = retain_back(chunks, s, do, ds)
        if self.delta:
            dq, dk = unit_back(chunks.q, sizes[0], dq), unit_back(chunks.k, sizes[1], dk)
        u, dq, dk, dv, dl = (joined(a, x.shape[1]) for a in (u, dq, dk, dv, dl))
        dk, dz = select(form.mask, (dk, dl * jax.nn.sigmoid(-z)))
        found = {"ba": Sum(dz), "wa": Outer(x, like(dz, x))}
        made = {"q": (x, dq), "k": (x, dk), "v": (x, dv), "o": (u, d)}
        found |= {f"w{name}": Outer(*both) for name, both in made.items()}
        found |= {f"b{name}": Sum(both[1]) for name, both in made.items() if self.bias}
        dx = product(dq, params.wq.T) + product(dk, params.wk.T) + product(dv, params.wv.T)
        dx = dx + product(like(dz, x), params.wa.T)
        if chunks.b is not None and params.wb is not None:
            dz = joined(db * chunks.b * (1 - chunks.b), x.shape[1])
            found |= {"wb": Outer(x, like(dz, x)), "bb": Sum(dz)}
            dx = dx + product(like(dz, x), params.wb.T)
        dx = self.pack_cotangent(form, dy, select(form.mask, dx), (ds,))
        return found, dx

    def cut(self, a: Array) -> Array:
        """The steps of every chunk and head."""
        return cut(a, self.n_heads, self.chunk)

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


def wide_product(x: Array, w: Array, b: Array) -> Array:
    """x w + b in at least float32: what is rounded in z would be so in all of the decays."""
    dtype = wide(x.dtype)
    return jnp.matmul(x, w, preferred_element_type=dtype) + b.astype(dtype)
