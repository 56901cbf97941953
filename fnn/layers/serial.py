"""Serial: layers one after another.

    y = f_n(... f_2(f_1(x)))        dx = dy ∂f_n ... ∂f_2 ∂f_1

With names, Serial(embed=…, blocks=…, head=…), params are {"embed": …, "blocks": …, "head": …};
without, they are a tuple with one entry per layer.
"""

from dataclasses import dataclass
from typing import Any

from fnn.composite import Back, Composite, Forth, With, empty
from fnn.errors import type_of
from fnn.layer import Layer, check_layer_type


@dataclass(frozen=True, init=False, repr=False)
class Serial(Composite[dict[Any, Any]]):
    """y = f_n(... f_2(f_1(x))).  Serial(Dense(3, 4), Tanh()) or Serial(up=Dense(3, 4), …).

    net[0], or net["up"], is a layer of it.

    Raises:
        TypeError: for what is not a layer, names for some of them only, params of another kind.
        ValueError: for params of another number of layers, or of layers that are not there.
    """

    layers: tuple[Layer[Any, Any], ...]
    names: tuple[str, ...] | None

    def __init__(self, /, *layers: Layer[Any, Any], **named: Layer[Any, Any]):
        """Hold the layers, first to last: all with a name, or none."""
        if layers and named:
            raise TypeError("Serial: give every layer a name, or none.")
        for layer in (*layers, *named.values()):
            check_layer_type("Serial", layer)
        object.__setattr__(self, "layers", layers or tuple(named.values()))
        object.__setattr__(self, "names", tuple(named) or None)

    def __repr__(self):
        """As it was written."""
        inside = [f"{n}={layer!r}" if self.names else repr(layer) for n, layer in self._pairs()]
        return f"Serial({', '.join(inside)})"

    @property
    def children(self):
        """Name or place → layer, first to last."""
        return dict(self._pairs())

    def _pairs(self):
        return zip(self.names or range(len(self.layers)), self.layers, strict=True)

    def with_children(self, children):
        """Serial of other layers."""
        return Serial(**children) if self.names else Serial(*children.values())

    def parts(self, tree):
        """Place → entry, where the layers have no names."""
        if self.names or isinstance(tree, With) or empty(tree):
            return super().parts(tree)
        n, got = len(self.layers), type_of(tree)
        if type(tree) is not tuple:
            raise TypeError(f"Serial: params must be a tuple, one entry per layer, got {got}.")
        if len(tree) != n:
            raise ValueError(
                f"Serial: params must have one entry for each of its {n} layers, got {len(tree)}."
            )
        return dict(enumerate(tree))

    def joined(self, entries):
        """One entry per layer, () where it holds nothing, where the layers have no names."""
        if self.names:
            return super().joined(entries)
        return tuple(() if entry is None else entry for entry in entries.values())

    def forward(self, params, x, *, key=None):
        """x → f_1 → ... → f_n → y."""
        f, caches = Forth(self, params, x, key), {}
        for name in self.children:
            x, caches[name] = f(name, x)
        return f.end(x), caches

    def backward_with(self, rule, params, cache, dy):
        """dx ← f_1 ← ... ← f_n ← dy."""
        f = Back(self, rule, params, dy)
        for name in reversed(self.children):
            dy = f(name, cache[name], dy)
        return f.end(dy)
