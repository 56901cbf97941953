"""TransformerBlock: attention, then a feed-forward net, each behind a norm and a skip connection.

    a = x + attention(norm x)        y = a + feed_forward(norm a)

Backward, with ∂ of each child applied to what stands left of it,

    da = dy + dy ∂feed_forward ∂norm        dx = da + da ∂attention ∂norm

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


@dataclass(frozen=True)
class TransformerBlock(Composite[dict[str, Any]]):
    """y = a + feed_forward(norm a), a = x + attention(norm x).  x [B, T, n] → y [B, T, n].

    params["attention"] are those of the attention layer, and so on; the dropouts, behind
    attention and feed-forward net, may be None.

    Raises:
        TypeError: for what is not a layer.
        ValueError: from forward, for a child that makes another shape.
    """

    attention_norm: Layer[Any, Any]
    attention: Layer[Any, Any]
    feed_forward_norm: Layer[Any, Any]
    feed_forward: Layer[Any, Any]
    attention_dropout: Layer[Any, Any] | None = None
    feed_forward_dropout: Layer[Any, Any] | None = None

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        for name in ("attention_norm", "attention", "feed_forward_norm", "feed_forward"):
            check_layer_type(f"TransformerBlock: {name}", getattr(self, name))

    def branches(self) -> list[list[str]]:
        """The names of the children beside each skip connection, first to last."""
        forms = "{}_norm", "{}", "{}_dropout"
        branches = [[f.format(of) for f in forms] for of in ("attention", "feed_forward")]
        return [[name for name in names if name in self.children] for names in branches]

    def forward(self, params, x, *, key=None):
        """x → a → y."""
        f, caches = Forth(self, params, x, key), {}
        for names in self.branches():
            z = x
            for name in names:
                z, caches[name] = f(name, z)
            check_shape("TransformerBlock", f"{names[1]}(x)", value(z), value(x).shape, like="x")
            x = lift(jnp.add, x, z)
        return f.end(x), caches

    def backward_with(self, rule, params, cache, dy):
        """dx ← da ← dy."""
        f = Back(self, rule, params, dy)
        for names in reversed(self.branches()):
            dz = dy
            for name in reversed(names):
                dz = f(name, cache[name], dz)
            dy = lift(lambda dz, dy: like(dy + dz, dz), dz, dy)
        return f.end(dy)
