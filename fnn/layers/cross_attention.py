"""CrossAttention: every position attends to the positions of another sequence, the memory.

With x [B, T, n] and z [B, S, n_memory], and p, o and m as in attention.py,

    q = x wq + bq      k = z wk + bk      v = z wv + bv      y = (o of all heads) wo + bo

    dx = dq wqᵀ        dz = dk wkᵀ + dv wvᵀ

z is `Sequence.memory`, an array or a Sequence with a mask of its own, and dz comes back as the
memory of dx. Every layer that looks at the memory adds its part.

Source: Vaswani et al. (2017), arXiv:1706.03762, section 3.2.3.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from fnn.composite import empty
from fnn.errors import check_steps
from fnn.factors import summed
from fnn.initializers import glorot_uniform
from fnn.layers.attention import AttentionCache, Heads, Implementation
from fnn.numerics import like
from fnn.records import Array, Key, PyTree
from fnn.sequence import Sequence, add, lift, mask_of, renewed, select, state_of, value


class CrossAttentionCache(NamedTuple):
    """The memory in the form in which it came, and what the heads made of it."""

    memory: PyTree
    inner: AttentionCache


@dataclass(frozen=True)
class CrossAttention(Heads[CrossAttentionCache]):
    """y_t from all z_s.  A Sequence x [B, T, n] with memory z [B, S, n_memory] → y [B, T, n].

    `n_memory` None: n. The memory may be a Sequence, whose mask says which z may be seen; the
    mask of x leaves out queries. The other fields are those of Attention.

    Raises:
        ValueError: for heads that do not divide, a chunk below 1, an n_memory below 1, another
            implementation.
        TypeError: from forward, for x without a memory, and for a Sequence with a state; of cuDNN,
            for another precision.
        RuntimeError: from forward, of cuDNN, where it is not there.
    """

    n: int
    n_heads: int
    n_memory: int | None = None
    n_kv_heads: int | None = None
    chunk: int | None = 128
    bias: bool = field(default=False, kw_only=True)
    implementation: Implementation = field(default="chunked", kw_only=True)
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject a memory without features."""
        super().__post_init__()
        if self.n_memory is not None and self.n_memory < 1:
            raise ValueError(f"{self}: n_memory must be at least 1, or None.")

    @property
    def n_z(self) -> int:
        """The features of the memory."""
        return self.n if self.n_memory is None else self.n_memory

    def check_input(self, x):
        """x must be a Sequence with a memory of as many examples, without a state."""
        if not isinstance(x, Sequence) or x.memory is None:
            raise TypeError(f"{self}: x must be a Sequence with memory: Sequence(x, memory=z).")
        check_steps(self, "x", x.x, self.n)
        check_steps(self, "x.memory", value(x.memory), self.n_z)
        if len(value(x.memory)) != len(x.x):
            raise ValueError(
                f"{self}: x.memory must have the {len(x.x)} examples of x, "
                f"got {len(value(x.memory))}."
            )
        if not empty(state_of(x)):
            raise TypeError(f"{self}: x.state must be None, this layer has no state.")

    def zero_state(self, params, n, capacity=None):
        """No state: the memory is there at every step."""
        return ()

    def forward(self, params, x, *, key=None):
        """y of x and z, the memory."""
        keys = mask_of(x.memory)
        z = select(keys, value(x.memory))
        y, inner, _ = self.compared(params, x.with_fields(state=None, pairs=None), z, keys)
        memory = lift(lambda _: z, renewed(x.memory, state=None))
        return x.with_fields(x=y, state=None), CrossAttentionCache(memory, inner)

    def backward(self, params, cache, dy):
        """dx = dq wqᵀ, dmemory = dz."""
        found, dx = self.factors(params, cache, dy)
        return summed(found, params), dx

    def factors(self, params, cache, dy):
        """As in Attention."""
        memory, inner = cache
        found, dx, dz, _ = self.back(params, inner, renewed(dy, state=None))
        dx, dz = like((dx, dz), (inner.x, inner.z))
        dmemory = add(dy.memory, lift(lambda _: dz, memory))
        return found, dy.with_fields(x=dx, state=None, memory=dmemory)
