"""Serial: layers one after another.

    y = f_n(... f_2(f_1(x)))        dx = dy ∂f_n ... ∂f_2 ∂f_1

Equations: nt.*, calc.chain-rule, fwd.input, fwd.layer-input, fwd.prediction, fwd.network,
bp.dynamic-programming, chain.*.
"""

from dataclasses import dataclass
from typing import Any

import jax

from fnn.layer import Composite, Layer, check_layer_type, child


@dataclass(frozen=True, init=False, repr=False)
class Serial(Composite[tuple[Any, ...]]):
    """y = f_n(... f_2(f_1(x))).  Serial(Dense(3, 4), Tanh(), Dense(4, 2))."""

    layers: tuple[Layer[Any, Any], ...]

    def __init__(self, *layers: Layer[Any, Any]):
        """Hold the layers, first to last."""
        for layer in layers:
            check_layer_type("Serial(*layers)", layer)
        object.__setattr__(self, "layers", layers)

    def __repr__(self):
        """As it was written."""
        return f"Serial({', '.join(map(repr, self.layers))})"

    @property
    def children(self):
        """The layers, first to last."""
        return self.layers

    def with_children(self, children):
        """Serial of other layers."""
        return Serial(*children)

    def forward(self, params, x, *, key=None):
        """x → f_1 → ... → f_n → y."""
        params, caches = self.parts(params), []
        keys = [None] * len(params) if key is None else jax.random.split(key, len(params))
        for i, layer in enumerate(self.layers):
            with child(i):
                x, cache = layer.forward(params[i], x, key=keys[i])
            caches.append(cache)
        return x, tuple(caches)

    def backward_with(self, rule, params, cache, dy):
        """dx ← f_1 ← ... ← f_n ← dy."""
        out = []
        for i in reversed(range(len(self.layers))):
            with child(i):
                result, dy = rule(self.layers[i], params[i], cache[i], dy)
            out.append(result)
        return tuple(reversed(out)), dy
