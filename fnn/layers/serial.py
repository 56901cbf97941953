"""Serial: layers one after another.

    y = f_n(... f_2(f_1(x)))        dx = dy ∂f_n ... ∂f_2 ∂f_1

With names, Serial(embed=…, blocks=…, head=…), params are {"embed": …, "blocks": …, "head": …};
without, they are a tuple with one entry per layer.
"""

from dataclasses import dataclass
from typing import Any

from fnn.composite import Back, Forth, Listed


@dataclass(frozen=True, init=False, repr=False)
class Serial(Listed[dict[Any, Any]]):
    """y = f_n(... f_2(f_1(x))).  Serial(Dense(3, 4), Tanh()) or Serial(up=Dense(3, 4), …).

    net[0], or net["up"], is a layer of it.

    Raises:
        TypeError: for what is not a layer, names for some of them only, params of another kind.
        ValueError: for params of another number of layers, or of layers that are not there.
    """

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
