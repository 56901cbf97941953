"""Frozen: a layer whose params stay as they are.

    y = f(p, x)        dp = 0, not computed        dx = dy ∂f/∂x

The derivative is that of f(stop_gradient(p), x). dx is taken from f's own backward under jit, so
that the products which only dp needs are never made, in eager mode neither. What is frozen
has no weights: penalties and decay, which look at params and not at gradients, leave it alone.

Rules pass through. Each finds the layers inside as leaves whose gradients are 0, for which it has
its formula for any layer: δ is δ, the squared norm of a gradient is 0, an update made of gradients
moves nothing. A formula for a type of layer, such as Dense, is not asked; one for Frozen is.

Source: Yosinski, Clune, Bengio & Lipson (2014), arXiv:1411.1792, section 2: layers that are
transferred and left frozen, where the errors go through.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import Composite, With, Wrapper, plain
from fnn.errors import shown
from fnn.layer import Around, Layer
from fnn.numerics import is_like
from fnn.records import PyTree
from fnn.ruling import Results


class FrozenParams(NamedTuple):
    """Params that nothing moves; as gradients, zeros."""

    inner: PyTree  # of the inner layer

    weights = ()
    frozen = True  # `select` of a penalty does not ask about them


@dataclass(frozen=True)
class Frozen(Wrapper[Any]):
    """y = inner(x), dp = 0.  The shapes are those of inner.

    FrozenParams(params) freezes params of inner that were trained. The net is in training all the
    same: Dropout inside draws, BatchNorm takes the statistics of the batch. `inference` gives
    inner. A decay that is not fnn's, such as optax's, has to be told by a mask.

    Raises:
        TypeError: for what is not a layer; from forward, for params that are not FrozenParams.
    """

    backward_is_route: ClassVar = True

    def init(self, key):
        """Those of inner, frozen."""
        return FrozenParams(self.inner.init(key))

    def parts(self, tree):
        """Params without the mark; what else is nested like them has none."""
        if isinstance(tree, With):
            return {"inner": With(*(self.parts(part)["inner"] for part in tree))}
        return {"inner": tree.inner if isinstance(tree, FrozenParams) else tree}

    def forward(self, params, x, *, key=None):
        """y = f(p, x)."""
        check_frozen(self, params)
        return self.inner.forward(jax.lax.stop_gradient(params.inner), x, key=key)

    def backward(self, params, cache, dy):
        """dp = 0,  dx = dy ∂f/∂x."""
        check_frozen(self, params)
        return zeros(params), dx_alone(self.inner, params.inner, cache, dy)

    def backward_with(self, rule, params, cache, dy):
        """dx = dy ∂f/∂x, with the rule at layers whose dp is 0."""
        (inner,) = self.parts(params).values()
        result, dx = rule(held(self.inner), inner, cache, dy)
        return marked(result, plain(inner)), dx


@dataclass(frozen=True)
class Held(Around[Any, Any]):
    """A leaf inside Frozen as rules see it: y and dx are those of the leaf, dp is 0."""

    def __repr__(self):
        """That of the leaf."""
        return repr(self.inner)

    def init(self, key):
        """Those of the leaf."""
        return self.inner.init(key)

    def forward(self, params, x, *, key=None):
        """y = f(p, x)."""
        return self.inner.forward(params, x, key=key)

    def backward(self, params, cache, dy):
        """dp = 0,  dx = dy ∂f/∂x."""
        return zeros(params), dx_alone(self.inner, params, cache, dy)


def held(layer: Layer[Any, Any]) -> Layer[Any, Any]:
    """The layer with all its leaves held."""
    if isinstance(layer, Composite):
        return layer.with_children({name: held(f) for name, f in layer.children.items()})
    return Held(layer)


@jax.jit
def dx_alone(layer: Layer[Any, Any], params: PyTree, cache: Any, dy: Any) -> Any:
    """dx of the layer; what only its gradients need is not computed."""
    return layer.backward(jax.lax.stop_gradient(params), cache, dy)[1]


def zeros(params: PyTree) -> PyTree:
    """Gradients of 0."""
    return jax.tree.map(jnp.zeros_like, params)


def marked(result: PyTree, params: PyTree) -> PyTree:
    """A result that is like params with the mark of params; any other as it is."""
    if isinstance(result, Results):
        return result.of(marked(r, params) for r in result.each)
    return FrozenParams(result) if is_like(result, params) else result


def check_frozen(owner: Any, params: Any) -> None:
    """Raise a TypeError unless params have the mark."""
    if not isinstance(params, FrozenParams):
        raise TypeError(
            f"{type(owner).__name__}: params must be FrozenParams, got {shown(params)}; write "
            "FrozenParams(params)."
        )
