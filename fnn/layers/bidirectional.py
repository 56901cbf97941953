"""Bidirectional: two layers over time, one of them backward in time.

With R the reversal of time, (R x)_t = x_{T+1−t}, and f and f′ the two layers,

    h→ = f(x)      h← = R f′(R x)      y_t = [h→_t, h←_t]

Backward, with dy_t = [dh→_t, dh←_t],

    dx = dh→ ∂f + R ((R dh←) ∂f′)

The mask is reversed with x. A skipped step leaves the state as it is: behind padding on the
right f′ starts at the last step of each sequence, exactly as it would without the padding.

Source: Schuster & Paliwal (1997), IEEE Transactions on Signal Processing 45, section II.C.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layer import Composite, Layer, check_layer_type, child
from fnn.layers.recurrence import Sequence, form
from fnn.types import Array, Static


class BidirectionalCache(NamedTuple):
    """The caches of the two layers, and what the way back depends on."""

    ahead: Any  # of forward_layer
    back: Any  # of backward_layer
    n: Static  # the width of h→
    given: Static  # the form of x


@dataclass(frozen=True)
class Bidirectional(Composite[BidirectionalCache]):
    """y_t = [h→_t, h←_t].  x [B, T, n], or a Sequence → y [B, T, n_f + n_b].

    `backward_layer` (None: a copy of `forward_layer`, with weights of its own) sees the
    sequence from its end. The state of a Sequence is a pair,
    one for each layer, or None.
    """

    forward_layer: Layer[Any, Any]
    backward_layer: Layer[Any, Any] | None = None

    def __post_init__(self):
        """The same layer again where there is no second; refuse what is not a layer."""
        super().__post_init__()
        if self.backward_layer is None:
            object.__setattr__(self, "backward_layer", self.forward_layer)
        for layer in self.children:
            check_layer_type("Bidirectional", layer)

    @property
    def children(self):
        """The layer that runs with time, then the other."""
        assert self.backward_layer is not None
        return self.forward_layer, self.backward_layer

    def with_children(self, children):
        """The same route over other layers."""
        return Bidirectional(*children)

    def forward(self, params, x, *, key=None):
        """h→ and h←, side by side."""
        params = self.parts(params)
        keys = (None, None) if key is None else jax.random.split(key)
        hs, caches = [], []
        for i, layer in enumerate(self.children):
            own = seen(x, i)
            with child(i):
                h, cache = layer.forward(params[i], own, key=keys[i])
            hs.append(h)
            caches.append(cache)
        ahead, back = hs
        if ahead.ndim != 3 or back.shape[:-1] != ahead.shape[:-1]:
            raise ValueError(
                "Bidirectional: both layers must make [B, T, ...] of the same sequence, they "
                f"made {list(ahead.shape)} and {list(back.shape)}."
            )
        cache = BidirectionalCache(caches[0], caches[1], Static(ahead.shape[-1]), form(x))
        return jnp.concatenate([ahead, turned(back)], -1), cache

    def backward_with(self, rule, params, cache, dy):
        """dx = the sum of what the two send back."""
        n = cache.n.value
        first, second = self.children
        with child(0):
            out, ahead = rule(first, params[0], cache.ahead, dy[..., :n])
        with child(1):
            out_back, back = rule(second, params[1], cache.back, turned(dy[..., n:]))
        return (out, out_back), together(cache.given, ahead, back)


def turned(a: Array) -> Array:
    """The other order of time: [B, T, ...] from its last step to its first."""
    return jnp.flip(a, 1)


def seen(x: Any, i: int) -> Any:
    """What layer i sees of x: all of it in its own order of time, and its own state."""
    if not isinstance(x, Sequence):
        return turned(x) if i else x
    if x.state is not None and not (isinstance(x.state, tuple | list) and len(x.state) == 2):
        raise ValueError(
            "Bidirectional: state must be a pair, that of forward_layer and that of "
            f"backward_layer, or None, got {x.state!r:.80}."
        )
    state = None if x.state is None else x.state[i]
    if i == 0:
        return Sequence(x.x, x.mask, state)
    return Sequence(turned(x.x), None if x.mask is None else turned(x.mask), state)


def together(given: Static, ahead: Any, back: Any) -> Any:
    """dx in the form of x, of the dx that the two layers send back."""
    is_sequence, has_state = given.value
    if not is_sequence:
        return ahead + turned(back)
    state = (ahead.state, back.state) if has_state else None
    return Sequence(ahead.x + turned(back.x), None, state)
