"""Bidirectional: two layers over time, one of them backward in time.

With R the reversal of time, (R x)_t = x_{T+1−t}, and f and g the two layers,

    y_t = [f(x)_t, (R g(R x))_t]

Backward, with dy_t = [da_t, db_t],

    dx = da ∂f + R ((R db) ∂g)

The mask is reversed with x. A skipped step leaves the state as it is: behind padding on the
right g starts at the last step of each sequence, exactly as it would without the padding.

Source: Schuster & Paliwal (1997), IEEE Transactions on Signal Processing 45, section II.C.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp

from fnn.composite import Back, Composite, Forth
from fnn.layer import Layer, check_layer_type
from fnn.records import Static
from fnn.sequence import lift, mask_of, renewed, value


class BidirectionalCache(NamedTuple):
    """The caches of the two layers, and where dy is cut."""

    ahead: Any
    behind: Any
    n: Static  # the width of f(x)


@dataclass(frozen=True)
class Bidirectional(Composite[BidirectionalCache]):
    """y_t = [f(x)_t, (R g(R x))_t].  x [B, T, n], or a Sequence → y [B, T, n_f + n_g].

    f is `ahead`; g, `behind`, sees the sequence from its end. Bidirectional.of(LSTM(3, 5))
    is two of a kind, with weights of their own.

    Raises:
        TypeError: for what is not a layer.
        ValueError: from forward, for layers that do not both make [B, T, ...].
    """

    ahead: Layer[Any, Any]
    behind: Layer[Any, Any]

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        for layer in (self.ahead, self.behind):
            check_layer_type("Bidirectional", layer)

    @classmethod
    def of(cls, layer: Layer[Any, Any]) -> "Bidirectional":
        """The same layer in both directions."""
        return cls(layer, layer)

    def zero_state(self, params, n, capacity=None):
        """None: g begins at the end."""
        raise ValueError(f"{type(self).__name__}: no state to begin with: it sees later steps.")

    def forward(self, params, x, *, key=None):
        """f(x) and R g(R x), side by side."""
        f = Forth(self, params, x, key)
        a, ca = f("ahead", x)
        b, cb = f("behind", flip(x))
        check_alike(value(a), value(b))
        y = lift(lambda a, b: jnp.concatenate([a, b], -1), a, flip(b))
        return f.end(y), BidirectionalCache(ca, cb, Static(value(a).shape[-1]))

    def backward_with(self, rule, params, cache, dy):
        """dx = da ∂f + R ((R db) ∂g)."""
        f, n = Back(self, rule, params, dy), cache.n.value
        dx = f("ahead", cache.ahead, lift(lambda d: d[..., :n], dy))
        dz = f("behind", cache.behind, flip(lift(lambda d: d[..., n:], dy)))
        return f.end(lift(jnp.add, dx, flip(dz)))


def flip(x: Any) -> Any:
    """R x: the other order of time, mask included."""
    mask = mask_of(x)
    x = lift(lambda a: jnp.flip(a, 1), x)
    return x if mask is None else renewed(x, mask=jnp.flip(mask, 1))


def check_alike(a: Any, b: Any) -> None:
    """Raise unless both are [B, T, ...] of the same sequence."""
    if a.ndim != 3 or b.shape[:-1] != a.shape[:-1]:
        raise ValueError(
            "Bidirectional: both layers must make [B, T, ...] of the same sequence, they "
            f"made {list(a.shape)} and {list(b.shape)}."
        )
