"""Shared: one set of parameters, used in several places.

    y_i = f_i(s_i(p), x_i)

s_i makes the parameters of place i from those of the first layer: the same, or a transposed
table. Backward, with sᵢᵀ the way of a gradient back,

    dp = Σ_i sᵢᵀ(∂L/∂p_i)        dx_i = dy_i ∂f_i

`Tied` puts the places where they belong in a net, and rules see this layer: x, y, their
cotangents and the caches hold one entry for every use, in the order in which the way back
has come by. So what a rule makes of a gradient it makes of the sum.

    Embedding → Unembed, Dense     w = tableᵀ       dtable = dwᵀ
    Dense → Dense                  w = w₀ᵀ          dw₀ = dwᵀ

Source: Press & Wolf (2017), arXiv:1608.05859, section 3, for embeddings; Vincent, Larochelle,
Lajoie, Bengio & Manzagol (2010), JMLR 11, section 2.2, for autoencoders.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.factors import is_factor
from fnn.layer import Layer
from fnn.layers.dense import Dense, DenseParams
from fnn.layers.embedding import Embedding, EmbeddingParams
from fnn.layers.unembed import Unembed, UnembedParams
from fnn.numerics import is_like
from fnn.records import Data, PyTree
from fnn.sequence import add
from fnn.together import Together

Way = Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Uses(Data):
    """One entry for every use."""

    each: tuple[Any, ...]


@dataclass(frozen=True)
class Use(Layer[Any, Any]):
    """f(s(p), x): a layer where it is used, and how its params come from those of the first."""

    sequences: ClassVar = "own"

    layer: Layer[Any, Any]
    name: str  # its path in the net
    source: str  # that of the first layer
    share: Way  # params of the first layer → params of this one
    back: Way  # a gradient of this one → a gradient of the first, None where it says nothing

    def forward(self, params, x, *, key=None):
        """y = f(s(p), x)."""
        return self.layer.forward(self.share(params), x, key=key)

    def backward(self, params, cache, dy):
        """dp = sᵀ(∂L/∂s(p)),  dx = dy ∂f."""
        grads, dx = self.layer.backward(self.share(params), cache, dy)
        return self.back(grads), dx


@dataclass(frozen=True)
class Shared(Layer[Any, Uses]):
    """y_i = f_i(s_i(p), x_i).  Uses of x_i → Uses of y_i; p are the params of `layer`."""

    sequences: ClassVar = "own"

    layer: Layer[Any, Any]
    uses: tuple[Use, ...]

    @property
    def stands_for(self):
        """The layers in use."""
        return tuple(use.layer for use in self.uses)

    def init(self, key):
        """The first layer's."""
        return self.layer.init(key)

    def forward(self, params, x, *, key=None):
        """y_i = f_i(s_i(p), x_i)."""
        n = len(self.uses)
        keys = [None] * n if key is None else jax.random.split(key, n)
        calls = zip(self.uses, x.each, keys, strict=True)
        ys, caches = zip(*[use.forward(params, own, key=k) for use, own, k in calls], strict=True)
        return Uses(ys), Uses(caches)

    def backward(self, params, cache, dy):
        """dp = Σ sᵢᵀ(∂L/∂p_i),  dx_i = dy_i ∂f_i."""
        calls = zip(self.uses, cache.each, dy.each, strict=True)
        grads, dxs = zip(*[use.backward(params, c, d) for use, c, d in calls], strict=True)
        return whole(functools.reduce(add, grads), params), Uses(dxs)

    def factors(self, params, cache, dy):
        """Those of every use, in the place of the first layer's; None if one does not say."""
        found, dxs = [], []
        for use, own, d in zip(self.uses, cache.each, dy.each, strict=True):
            p = use.share(params)
            if (said := use.layer.factors(p, own, d)) is None:
                return None
            found.append(use.back(p._replace(**said[0])))
            dxs.append(said[1])
        uses = {n: tuple(filter(is_factor, (getattr(f, n) for f in found))) for n in params._fields}
        names = [n for n in params._fields if getattr(params, n) is not None]
        if not all(uses[n] for n in names):
            return None
        return {n: Together(uses[n]) for n in names}, Uses(tuple(dxs))


def whole(grads: PyTree, params: PyTree) -> PyTree:
    """The gradients in the dtypes of params, 0 where none came back."""
    return jax.tree.map(
        lambda p, g: jnp.zeros_like(p) if g is None else g.astype(p.dtype), params, grads
    )


def same(params: PyTree) -> PyTree:
    """The params as they are: a share that is its own way back."""
    return params


def transposed(params: DenseParams) -> DenseParams:
    """w of a Dense turned round, without a bias: a share that is its own way back."""
    return DenseParams(params.w.mT, None)


def to_unembed(params: EmbeddingParams) -> UnembedParams:
    """w = tableᵀ."""
    return UnembedParams(params.table.mT)


def to_dense(params: EmbeddingParams) -> DenseParams:
    """w = tableᵀ, without a bias."""
    return DenseParams(params.table.mT, None)


def to_table(grads: Any) -> EmbeddingParams:
    """dtable = dwᵀ."""
    return EmbeddingParams(grads.w.mT)


TURNED: dict[tuple[type, type], tuple[Way, Way]] = {
    (Embedding, Unembed): (to_unembed, to_table),
    (Embedding, Dense): (to_dense, to_table),
    (Dense, Dense): (transposed, transposed),
}


def ways(first: Layer[Any, Any], other: Layer[Any, Any]) -> list[tuple[Way, Way]]:
    """Every known (share, back) that makes params of `other` from those of `first`."""
    pair = type(first), type(other)
    known = [TURNED[pair]] if pair in TURNED else []
    known += [(same, same)] if type(first) is type(other) else []
    return [way for way in known if fits(first, other, *way)]


def fits(first: Layer[Any, Any], other: Layer[Any, Any], share: Way, back: Way) -> bool:
    """Whether share makes params of `other` from those of `first`, and back makes them again."""
    p, q = (jax.eval_shape(lambda f=f: f.init(jax.random.key(0))) for f in (first, other))
    try:
        made, found = jax.eval_shape(share, p), jax.eval_shape(back, q)
        found = jax.tree.map(lambda p, g: p if g is None else g, p, found)
    except (AttributeError, TypeError, ValueError):  # they ask for other params
        return False
    return is_like(made, q) and is_like(found, p)
