"""Reparametrized: a layer whose weights are functions of its params.

    y = f(w(p), x)        dp = dw ∂w/∂p        dw, dx of f's own backward

For rules it is one layer, and `inference` gives f with w made once.
"""

import abc
from dataclasses import dataclass
from typing import Any

from fnn.composite import Composite
from fnn.errors import shown
from fnn.layer import Around
from fnn.records import Array


@dataclass(frozen=True)
class Reparametrized(Around[Any, Any]):
    """y = inner(x) with weights made of params.  The shapes are those of inner."""

    def __post_init__(self):
        """Refuse what is made of layers."""
        super().__post_init__()
        if isinstance(self.inner, Composite):
            raise TypeError(
                f"{type(self).__name__} takes one layer with weights, got "
                f"{type(self.inner).__name__}; put it around each."
            )

    @abc.abstractmethod
    def weighted(self, params: Any) -> Any:
        """Params of inner, with w."""

    @abc.abstractmethod
    def unweighted(self, params: Any, grads: Any) -> Any:
        """Gradients of params, of those of inner's params."""

    def forward(self, params, x, *, key=None):
        """y = f(w(p), x)."""
        return self.inner.forward(self.weighted(params), x, key=key)

    def backward(self, params, cache, dy):
        """dp = dw ∂w/∂p."""
        grads, dx = self.inner.backward(self.weighted(params), cache, dy)
        return self.unweighted(params, grads), dx

    def names(self, params: Any) -> tuple[str, ...]:
        """The names of the weights in params of inner."""
        weights = getattr(type(params), "weights", None)
        if not weights or not hasattr(params, "_replace"):
            raise TypeError(
                f"{self}: inner must have weights, which its params class declares, "
                f"got {shown(params)}."
            )
        return weights


def others(v: Array) -> tuple[int, ...]:
    """All axes but that of outputs."""
    return tuple(range(v.ndim - 1))
