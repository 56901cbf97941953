"""Blocks of other forms as mistakes take them: from one array to one array."""

from dataclasses import dataclass
from typing import Any

import jax
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
class Coded(fnn.Loss[Any]):
    """A loss of a pair as mistakes take it: y is reconstruction and code, [B, ..., n + 2 k]."""

    loss: fnn.ELBO
    n: int

    @property
    def children(self) -> dict[str, Any]:
        """What it is made of."""
        return {"loss": self.loss, "reconstruction": self.loss.reconstruction}

    def pair(self, y: Any) -> Any:
        """The two parts of y; of its shape, theirs."""
        if isinstance(y, jax.ShapeDtypeStruct):
            sizes = self.n, y.shape[-1] - self.n
            return tuple(jax.ShapeDtypeStruct((*y.shape[:-1], n), y.dtype) for n in sizes)
        return y[..., : self.n], y[..., self.n :]

    def check(self, y, target):
        """What the loss asks for."""
        self.loss.check(self.pair(y), target)

    def forward(self, y, target):
        """The losses of the pair."""
        return self.loss.forward(self.pair(y), target)

    def backward(self, cache, dl):
        """Both parts of dy behind each other."""
        return jnp.concatenate(self.loss.backward(cache, dl), -1)


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


def bent(params: Any, x: jax.Array) -> jax.Array:
    """tanh(x w) c, a function that only jax differentiates."""
    return jnp.tanh(x @ params["w"]) * params["c"]


def bent_params(key: jax.Array) -> Any:
    """w [4, 6] and c."""
    return {"w": jax.random.normal(key, (4, 6)) / 2, "c": jnp.ones(6)}
