"""EncoderDecoder: one net reads a source, another answers and looks at what the first made of it.

    z = encoder(source)        y = decoder(x, z)

Backward, with ∂ of each applied to what stands left of it,

    dx, dz = dy ∂decoder       dsource = dz ∂encoder

The source is the memory of x, `Sequence(x, mask, memory=source)`, an array or a Sequence with a
mask of its own. The decoder sees z in its place; y has the source again.

Source: Vaswani et al. (2017), arXiv:1706.03762, section 3; Cho et al. (2014), arXiv:1406.1078,
section 2.2, for two recurrent nets.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import Back, Composite, Forth
from fnn.errors import who
from fnn.layer import Layer, check_layer_type
from fnn.sequence import Sequence, add, lift, memory_of, renewed


class EncoderDecoderCache(NamedTuple):
    """The caches of the two nets, and what went from one to the other."""

    encoder: Any
    decoder: Any
    z: Any


@dataclass(frozen=True)
class EncoderDecoder(Composite[EncoderDecoderCache]):
    """y = decoder(x, encoder(source)).  A Sequence x whose memory is the source → y.

    The shapes are those of the two: mostly x [B, T, ...], source [B, S, ...] and z [B, S, n],
    at which every CrossAttention(…, n_memory=n) of the decoder looks. Masks of x and of the source
    are independent.

    Raises:
        TypeError: for what is not a layer; from forward, for an x without a memory.
    """

    encoder: Layer[Any, Any]
    decoder: Layer[Any, Any]

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        for name in ("encoder", "decoder"):
            check_layer_type(f"EncoderDecoder: {name}", getattr(self, name))

    def check_input(self, x):
        """x must be a Sequence with a memory."""
        if not isinstance(x, Sequence) or x.memory is None:
            raise TypeError(
                f"{who(self)}: x must be a Sequence with the source as its memory: "
                "Sequence(x, memory=source)."
            )

    def forward(self, params, x, *, key=None):
        """z = encoder(source), y = decoder(x, z)."""
        f = Forth(self, params, x, key)
        z, encoded = f("encoder", x.memory)
        y, decoded = f("decoder", renewed(x, memory=z))
        return f.end(renewed(y, memory=x.memory)), EncoderDecoderCache(encoded, decoded, z)

    def backward_with(self, rule, params, cache, dy):
        """dx, dz = dy ∂decoder,  dsource = dz ∂encoder."""
        f = Back(self, rule, params, renewed(dy, memory=None))
        dx = f("decoder", cache.decoder, dy)
        dz, f.memory = f.memory, None
        dz = lift(lambda z: jax.tree.map(jnp.zeros_like, z), cache.z) if dz is None else dz
        dsource = renewed(f("encoder", cache.encoder, dz), memory=f.memory)
        f.memory = add(dsource, memory_of(dy))
        return f.end(dx)
