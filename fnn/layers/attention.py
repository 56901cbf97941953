"""Attention: every position attends to all earlier ones, several heads at a time.

Of every head, with d features and the sums over the positions s that t may see,

    q = x wq + bq      k = z wk + bk      v = z wv + bv      z = x
    p[t,s] = exp(u[t,s] − m_t),  u[t,s] = q_t·k_s/√d + a[t − s],  m_t = log Σ_s exp u[t,s]
    o_t = Σ_s p[t,s] v_s                         y = (o of all heads) wo + bo

Backward, with do = dy woᵀ split into heads,

    dv_s = Σ_t p[t,s] do_t           δ_t = do_t·o_t = Σ_s p[t,s] do_t·v_s
    du[t,s] = p[t,s] (do_t·v_s − δ_t)
    dq_t = Σ_s du[t,s] k_s/√d        dk_s = Σ_t du[t,s] q_t/√d
    dwq = Σ xᵀ dq    dwk = Σ zᵀ dk    dwv = Σ zᵀ dv    dwo = Σ oᵀ dy
    dbq = Σ dq       dbk = Σ dk       dbv = Σ dv       dbo = Σ dy
    dx = dq wqᵀ + dz                  dz = dk wkᵀ + dv wvᵀ

In CrossAttention z is another sequence, the memory, of any length: dz is its cotangent, and dx
is dq wqᵀ alone. The biases are there with `bias`, a with `alibi` or `distances` (distances.py).

p is not kept (flash attention, chunked.py): forward keeps m, the logsumexp of each row, and
backward forms p again from q, k and m: on a CPU a tile of one sequence and key head at a time, but
for those of which nobody sees anything; on other devices `chunk` keys of all of them. `chunk=None`
makes p whole instead, the reference; of `implementation="cudnn"` see fused.py. With fewer key heads
than query heads (grouped-query attention), several queries share one key head. A position that may
see nothing has o = 0. With `rotary` (RoPE), q and k are rotated by their positions before they
meet, and dq and dk are rotated back. With a `window` a position sees only those that are nearer,
and time grows with T · window instead of T²; memory grows with T in any case. Where there is a
state, keys and values of earlier steps (kv_cache.py) stand in front of z's.

Source: Vaswani et al. (2017), arXiv:1706.03762, eq. 1 and section 3.2.2; Dao, Fu, Ermon,
Rudra & Ré (2022), arXiv:2205.14135, section 3.1 and appendix B.2; Ainslie et al. (2023),
arXiv:2305.13245, for grouped queries; Beltagy, Peters & Cohan (2020), arXiv:2004.05150, section
3.1, for windows.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, Literal, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import empty
from fnn.errors import check_key, check_steps
from fnn.factors import Alone, Factor, Outer, Sum, summed
from fnn.initializers import glorot_uniform
from fnn.layer import C, Layer
from fnn.layers.chunked import attend, attend_back
from fnn.layers.distances import by_head, gathered
from fnn.layers.fused import fused, fused_back
from fnn.layers.kv_cache import behind, check_kv, final, gradients, zero_kv
from fnn.layers.rotary import rotate
from fnn.layers.sight import Sight
from fnn.numerics import common, like, plus, product, wide
from fnn.records import Array, Key, Static
from fnn.sequence import Sequence, as_sequence, lift, renewed, select, state_of, value

Implementation = Literal["chunked", "cudnn"]


class Core(NamedTuple):
    """What makes o and m of q, k and v, and dq, dk, dv and da."""

    attend: Callable[..., Any]
    attend_back: Callable[..., Any]


CORES = {"chunked": Core(attend, attend_back), "cudnn": Core(fused, fused_back)}


class AttentionParams(NamedTuple):
    """The weights of an attention layer, and their gradients."""

    wq: Array  # [n, n_heads d]
    wk: Array  # [n_memory, n_kv_heads d]
    wv: Array  # [n_memory, n_kv_heads d]
    wo: Array  # [n_heads d, n]
    bq: Array | None = None  # [n_heads d]; None without biases
    bk: Array | None = None  # [n_kv_heads d]
    bv: Array | None = None  # [n_kv_heads d]
    bo: Array | None = None  # [n]
    r: Array | None = None  # [n_heads, 2 distances − 1]; None without distances

    weights = ("wq", "wk", "wv", "wo")


class AttentionCache(NamedTuple):
    """What was compared, who may see whom, and what the heads made of it."""

    x: Array  # [B, T, n]
    mask: Array | None  # [B, T]
    z: Array | None  # [B, S, n_memory] in CrossAttention, else None: x
    keys: Array | None  # which of all keys count, [B, S]
    pairs: Array | None  # [B, T, T]
    q: Array  # [B, n_kv_heads, n_heads / n_kv_heads, T, d], rotated
    k: Array  # [B, n_kv_heads, S, d], rotated
    v: Array  # [B, n_kv_heads, S, d]
    o: Array  # like q
    m: Array | None  # [B, n_kv_heads, n_heads / n_kv_heads, T]; None of cuDNN
    state: Static  # the dtypes of k and v in the state, () without one


class Heads(Layer[AttentionParams, C], Generic[C]):
    """What self-attention and cross-attention have in common."""

    sequences: ClassVar = "own"

    n: int
    n_heads: int
    n_kv_heads: int | None
    chunk: int | None
    bias: bool
    w_init: Callable[[Key, int, int], Array]
    causal: bool = False
    window: int | None = None
    rotary: float | None = None
    alibi: bool = False
    distances: int | None = None
    implementation: Implementation = "chunked"

    def __post_init__(self):
        """Reject heads that do not divide the features, and what cuDNN does not have."""
        super().__post_init__()
        heads, kv = self.n_heads, self.kv_heads
        if self.n < 1 or heads < 1 or self.n % heads:
            raise ValueError(f"{self}: n_heads must divide n, got {heads} and {self.n}.")
        if kv < 1 or heads % kv:
            raise ValueError(f"{self}: n_kv_heads must divide n_heads, got {kv} and {heads}.")
        if self.chunk is not None and self.chunk < 1:
            raise ValueError(f"{self}: chunk must be at least 1, or None.")
        if self.implementation not in [*CORES]:
            raise ValueError(
                f"{type(self).__name__}: implementation must be one of {[*CORES]}, "
                f"got {self.implementation!r:.60}."
            )
        if self.implementation == "cudnn" and (self.alibi or self.distances is not None):
            raise ValueError(f"{self}: implementation='cudnn' has no alibi and no distances.")

    @property
    def kv_heads(self) -> int:
        """The number of key heads."""
        return self.n_heads if self.n_kv_heads is None else self.n_kv_heads

    @property
    def n_z(self) -> int:
        """The features of z."""
        return self.n

    def shapes(self):
        """Those of the four weights, and of biases and distances where there are some."""
        n, small = self.n, self.n // self.n_heads * self.kv_heads
        weights = {"wq": (n, n), "wk": (self.n_z, small), "wv": (self.n_z, small), "wo": (n, n)}
        biases = {"bq": (n,), "bk": (small,), "bv": (small,), "bo": (n,)}
        learned = {} if self.distances is None else {"r": (self.n_heads, 2 * self.distances - 1)}
        return weights | (biases if self.bias else {}) | learned

    def init(self, key):
        """Each weight from `w_init`, biases and distances 0."""
        check_key(self, key)
        shapes = self.shapes()
        drawn = zip(jax.random.split(key, 4), AttentionParams.weights, strict=True)
        weights = {name: self.w_init(k, *shapes.pop(name)) for k, name in drawn}
        return AttentionParams(**weights, **{name: jnp.zeros(s) for name, s in shapes.items()})

    def compared(self, params: AttentionParams, x: Sequence, z: Any, keys: Any) -> Any:
        """y = o wo + bo, the cache, and the final state; without z it is x, with x's mask."""
        mask, state = x.mask, x.state
        a = select(mask, x.x)
        own, keys = (a, mask) if z is None else (z, keys)
        q = plus(product(a, params.wq), params.bq)
        k, v = plus(product(own, params.wk), params.bk), plus(product(own, params.wv), params.bv)
        whole = behind(state, (self.kv(k), self.kv(v), keys))
        k, v, keys = whole
        n_state = k.shape[2] - own.shape[1]
        q, k = self.rotated(self.heads(q), n_state), self.rotated(k)
        sight = self.sight(params, k, keys, x.pairs, n_state)
        o, m = self.core(q).attend(q, k, v, sight, self.chunk_of(q))
        dtypes = Static(() if empty(state) else tuple(s.dtype.name for s in state[:2]))
        cache = AttentionCache(a, mask, z, keys, x.pairs, q, k, v, o, m, dtypes)
        return plus(product(merge(o), params.wo), params.bo), cache, final(state, whole)

    def back(self, params: AttentionParams, cache: AttentionCache, dy: Any) -> Any:
        """dq, dk, dv of every head, then the gradients in factors, dq wqᵀ, dz and the state's."""
        x, mask, z, keys, pairs, q, k, v, o, m, dtypes = cache
        z, own = (x, mask) if z is None else (z, keys)
        dlast, dy, n_state = state_of(dy), value(dy), k.shape[2] - z.shape[1]
        do = self.heads(product(dy, params.wo.T))
        sight = self.sight(params, k, keys, pairs, n_state)
        dq, dk, dv, da = self.core(q).attend_back(q, k, v, o, m, do, sight, self.chunk_of(q))
        dq, dk = self.rotated(dq, n_state, back=True), self.rotated(dk, back=True)
        dstate, dk, dv = gradients(dlast, dk, dv, n_state)
        dq, dk, dv = merge(dq), merge(dk), merge(dv)
        found: dict[str, Factor] = {"wq": Outer(x, dq), "wk": Outer(z, dk), "wv": Outer(z, dv)}
        found |= {"wo": Outer(merge(o), dy)}
        if self.bias:
            found |= {"bq": Sum(dq), "bk": Sum(dk), "bv": Sum(dv), "bo": Sum(dy)}
        if self.distances is not None:
            found["r"] = Alone(gathered(da, self.distances, self.n_heads))
        dz = select(own, product(dk, params.wk.T) + product(dv, params.wv.T))
        given = zip(dstate, dtypes.value, strict=False)
        dstate = (*(d.astype(t) for d, t in given), None) if dtypes.value else None
        return found, select(mask, product(dq, params.wq.T)), dz, dstate

    def sight(self, params: AttentionParams, k: Array, keys: Any, pairs: Any, ahead: int) -> Sight:
        """What a position may see, and what is added to the scores of what it sees."""
        a = by_head(self.alibi, params.r, self.n_heads, k.shape[2], wide(k.dtype))
        a = None if a is None else a.reshape(self.kv_heads, -1, a.shape[-1])
        if pairs is not None:
            pairs = jnp.pad(pairs, ((0, 0), (0, 0), (ahead, 0)), constant_values=True)
        return Sight(self.causal, self.window, keys, pairs, a, ahead)

    def chunk_of(self, q: Array) -> int | None:
        """The rows of p to make at a time; a single one needs no order."""
        return self.chunk if q.shape[3] > 1 else None

    def core(self, q: Array) -> Core:
        """That of the implementation; of a single row, as when one writes, no kernel."""
        return CORES[self.implementation if q.shape[3] > 1 else "chunked"]

    def rotated(self, a: Array, first: int = 0, *, back: bool = False) -> Array:
        """`a` rotated by its positions, from `first` on, or back, where the layer is rotary."""
        return a if self.rotary is None else rotate(a, self.rotary, first, back=back)

    def heads(self, a: Array) -> Array:
        """[B, T, n_heads d] → [B, n_kv_heads, n_heads / n_kv_heads, T, d]."""
        groups = self.kv_heads, self.n_heads // self.kv_heads
        return jnp.moveaxis(a.reshape(*a.shape[:2], *groups, self.n // self.n_heads), 1, 3)

    def kv(self, a: Array) -> Array:
        """[B, T, n_kv_heads d] → [B, n_kv_heads, T, d]."""
        return jnp.moveaxis(a.reshape(*a.shape[:2], self.kv_heads, self.n // self.n_heads), 1, 2)


@dataclass(frozen=True)
class Attention(Heads[AttentionCache]):
    """y_t from x_1 ... x_t, or from all.  x [B, T, n], or a Sequence with mask → y [B, T, n].

    `n_heads` must divide n, `n_kv_heads` (None: the same) n_heads. `causal`: no position
    sees a later one; `window`: none sees one at that distance or further. The mask of a
    Sequence says which positions may be seen at all, its pairs [B, T, T] by which others.
    `chunk` keys of p are made at a time, on a CPU of as many rows; None: all of them. `rotary` is
    the base θ of rotary positions, usually 10⁴; None: the layer knows no positions but by `causal`
    and `window`.
    `alibi` and `distances` add to the scores what belongs to a distance: a line, and a learned
    number for each of the first `distances`. `w_init` (key, n_in, n_out) → w. There is no dropout
    of p, as torch's MultiheadAttention has. `implementation="cudnn"` is NVIDIA's kernel in place of
    the chunks, in half precision on its GPUs, without alibi and distances (fused.py).

    A Sequence that comes with a state (KV cache), from zero_state or from the part before, goes
    with the one behind its last step; one without has none. A mask leaves out steps, it moves
    none: distances are those in the array.

    Raises:
        ValueError: for heads that do not divide, a chunk, window or distances below 1, a rotary
            base of at most 1 or with an odd n / n_heads, another implementation; from forward, for
            a state of other sizes.
        TypeError: from forward, for a state of another form, or if not causal; of cuDNN, for
            another precision.
        RuntimeError: from forward, of cuDNN, where it is not there.
    """

    n: int
    n_heads: int
    causal: bool = True
    n_kv_heads: int | None = None
    chunk: int | None = 128
    rotary: float | None = None
    window: int | None = field(default=None, kw_only=True)
    alibi: bool = field(default=False, kw_only=True)
    distances: int | None = field(default=None, kw_only=True)
    bias: bool = field(default=False, kw_only=True)
    implementation: Implementation = field(default="chunked", kw_only=True)
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject a window and rotations that mean nothing."""
        super().__post_init__()
        if self.window is not None and self.window < 1:
            raise ValueError(f"{self}: window must be at least 1, or None.")
        if self.distances is not None and self.distances < 1:
            raise ValueError(f"{self}: distances must be at least 1, or None.")
        if self.rotary is not None and (self.rotary <= 1 or self.n // self.n_heads % 2):
            raise ValueError(f"{self}: rotary must be above 1, and n / n_heads even.")

    def check_input(self, x):
        """x must be a batch of sequences, its state (k, v, keys), only if causal."""
        check_steps(self, "x", value(x), self.n)
        check_kv(self, state_of(x), len(value(x)), self.kv_heads, self.n // self.n_heads)
        if not (self.causal or empty(state_of(x))):
            raise TypeError(f"{self}: x.state must be None: it sees later steps.")

    def zero_state(self, params, n, capacity=None):
        """Room for `capacity` steps, or for those that the window lets anybody see."""
        if not self.causal:
            raise ValueError(f"{self}: no state to begin with: it sees later steps.")
        if capacity is None:
            raise ValueError(f"{self}: zero_state needs a capacity, the steps to remember.")
        capacity = min(capacity, self.window - 1) if self.window else capacity
        dtype = common(*jax.tree.leaves(params))
        return zero_kv(n, self.kv_heads, capacity, self.n // self.n_heads, dtype)

    def forward(self, params, x, *, key=None):
        """y of x and z = x."""
        y, cache, state = self.compared(params, as_sequence(x), None, None)
        return renewed(lift(lambda _: y, x), state=state), cache

    def backward(self, params, cache, dy):
        """dx = dq wqᵀ + dz."""
        found, dx = self.factors(params, cache, dy)
        return summed(found, params), dx

    def factors(self, params, cache, dy):
        """dwq: x, dq;  dwk: z, dk;  dwv: z, dv;  dwo: o, dy."""
        found, dx, dz, dstate = self.back(params, cache, dy)
        dx = like(dx + dz, cache.x)
        return found, renewed(lift(lambda _: dx, dy), state=dstate)


def merge(a: Array) -> Array:
    """All heads side by side: [B, ..., T, d] → [B, T, n]."""
    n = math.prod(a.shape[1:-2]) * a.shape[-1]
    return jnp.moveaxis(a, -2, 1).reshape(a.shape[0], a.shape[-2], n)
