"""Blocks of other forms as mistakes take them: from one array to one array."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

import fnn


@dataclass(frozen=True)
class Headed(fnn.Layer[Any, Any]):
    """Factored logits and the loss behind them, as mistakes take them: one array to one array.

    The label of every row is 2: a row's loss must not depend on its place.
    """

    head: fnn.Unembed
    loss: fnn.LinearSoftmaxCrossEntropy

    @property
    def children(self) -> dict[str, Any]:
        """What it is made of."""
        return {"head": self.head, "loss": self.loss}

    def init(self, key):
        """The weights of the head."""
        return self.head.init(key)

    def forward(self, params, x, *, key=None):
        """The losses, [N, 1]."""
        y, cache = self.head.forward(params, x)
        losses, of_loss = self.loss.forward(y, jnp.full(len(x), 2))
        return losses[:, None].astype(x.dtype), (cache, of_loss)

    def backward(self, params, cache, dy):
        """Through the loss, then through the head."""
        of_head, of_loss = cache
        return self.head.backward(params, of_head, self.loss.backward(of_loss, dy[:, 0]))


@dataclass(frozen=True)
class Looking(fnn.Layer[Any, Any]):
    """What looks at a memory, as mistakes take it: of one array the first t positions do."""

    net: fnn.Layer[Any, Any]
    t: int

    @property
    def children(self) -> dict[str, Any]:
        """What it is made of."""
        return {"net": self.net}

    def init(self, key):
        """Its params."""
        return self.net.init(key)

    def forward(self, params, x, *, key=None):
        """y of the first positions."""
        y, cache = self.net.forward(params, fnn.Sequence(x[:, : self.t], memory=x[:, self.t :]))
        return y.x, cache

    def backward(self, params, cache, dy):
        """dx and dz behind each other."""
        grads, dx = self.net.backward(params, cache, fnn.Sequence(dy))
        return grads, jnp.concatenate([dx.x, dx.memory], 1)
