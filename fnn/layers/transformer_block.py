"""TransformerBlock: attention, then a feed-forward net, each behind a norm and a skip connection.

    a = x + attention(norm x)
    b = a + cross_attention(norm a, z)
    y = b + feed_forward(norm b)

z is the memory of x, at which the blocks of a decoder look; without cross_attention b = a.
Backward, with ∂ of each child applied to what stands left of it,

    db = dy + dy ∂feed_forward ∂norm
    da = db + db ∂cross_attention ∂norm        dz = db ∂cross_attention
    dx = da + da ∂attention ∂norm

Source: Vaswani et al. (2017), arXiv:1706.03762, section 3.1; the order of norm and sum:
Xiong et al. (2020), arXiv:2002.04745, figure 1b.
"""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from fnn.composite import Back, Composite, Forth
from fnn.errors import check_shape
from fnn.layer import Layer, check_layer_type
from fnn.numerics import like
from fnn.sequence import lift, value

BRANCHES = "attention", "cross_attention", "feed_forward"


@dataclass(frozen=True)
class TransformerBlock(Composite[dict[str, Any]]):
    """y = b + feed_forward(norm b), a = x + attention(norm x).  x [B, T, n] → y [B, T, n].

    params["attention"] are those of the attention layer, and so on; the dropouts, behind
    each of the layers, may be None. With cross_attention, b = a + cross_attention(norm a), and x
    is a Sequence with memory; without, b = a.

    Raises:
        TypeError: for what is not a layer, and for a cross-attention without its norm.
        ValueError: from forward, for a child that makes another shape.
    """

    attention_norm: Layer[Any, Any]
    attention: Layer[Any, Any]
    feed_forward_norm: Layer[Any, Any]
    feed_forward: Layer[Any, Any]
    attention_dropout: Layer[Any, Any] | None = None
    feed_forward_dropout: Layer[Any, Any] | None = None
    cross_attention_norm: Layer[Any, Any] | None = None
    cross_attention: Layer[Any, Any] | None = None
    cross_attention_dropout: Layer[Any, Any] | None = None

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        needed = [("attention_norm", "attention"), ("feed_forward_norm", "feed_forward")]
        crossed = "cross_attention_norm", "cross_attention", "cross_attention_dropout"
        if any(getattr(self, name) is not None for name in crossed):
            needed.append(crossed[:2])
        for name in (name for names in needed for name in names):
            check_layer_type(f"TransformerBlock: {name}", getattr(self, name))

    def branches(self) -> list[list[str]]:
        """The names of the children beside each skip connection, first to last."""
        branches = [[f"{of}_norm", of, f"{of}_dropout"] for of in BRANCHES if of in self.children]
        return [[name for name in names if name in self.children] for names in branches]

    def forward(self, params, x, *, key=None):
        """x → a → b → y."""
        f, caches = Forth(self, params, x, key), {}
        for names in self.branches():
            z = x
            for name in names:
                z, caches[name] = f(name, z)
            check_shape("TransformerBlock", f"{names[1]}(x)", value(z), value(x).shape, like="x")
            x = lift(jnp.add, x, z)
        return f.end(x), caches

    def backward_with(self, rule, params, cache, dy):
        """dx ← da ← db ← dy."""
        f = Back(self, rule, params, dy)
        for names in reversed(self.branches()):
            dz = dy
            for name in reversed(names):
                dz = f(name, cache[name], dz)
            dy = lift(lambda dz, dy: like(dy + dz, dz), dz, dy)
        return f.end(dy)
