"""WeightNorm: a layer whose weights are learned as lengths and directions.

For every output of a weight w, with Σ and ‖·‖ over all axes of v but the last, that of outputs,

    w = g v̂        v̂ = v/‖v‖

With dw = ∂L/∂w, what the layer's own backward gives,

    dg = Σ dw v̂        dv = (g/‖v‖) (dw − dg v̂)

dv is at right angles to v. v begins as the layer draws w, and g as ‖v‖: nothing changes before the
first step. ‖v‖ counts as 1 where it is 0. The arithmetic is at least float32, and v is divided
by its largest entry first, so that no square leaves the range of the dtype.

‖g‖² is ‖w‖², so g is what penalties and decay see; the length of v changes nothing.

Source: Salimans & Kingma (2016), arXiv:1602.07868, eqs. 2 and 3; not its initialization from data.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.composite import Composite
from fnn.errors import check_floating, check_known, check_shape, shown
from fnn.layer import Around
from fnn.numerics import concrete, like, widened
from fnn.records import Array


class WeightNormParams(NamedTuple):
    """Directions and lengths, and their gradients."""

    inner: Any  # params of the inner layer, v in place of w
    scale: dict[str, Array]  # by the name of each weight, [n_out], g

    weights = ("scale",)


@dataclass(frozen=True)
class WeightNorm(Around[WeightNormParams, Any]):
    """y = inner(x) with w = g v/‖v‖.  The shapes are those of inner.

    inner is one layer with weights, as its params class declares them: Dense, a convolution, a
    recurrent layer, attention. Its other params are as they are. `inference` gives inner with w.

    Raises:
        TypeError: for what is not a layer, or made of layers; for params of another kind and of
            a layer without weights.
        ValueError: from init, where w of an output is 0 throughout; from forward, for shapes of
            g that do not fit.
    """

    def __post_init__(self):
        """Refuse what is made of layers."""
        super().__post_init__()
        if isinstance(self.inner, Composite):
            raise TypeError(
                f"WeightNorm takes one layer with weights, got {type(self.inner).__name__}; put it "
                "around each."
            )

    def init(self, key):
        """v as inner draws w, g = ‖v‖."""
        inner = self.inner.init(key)
        scale = {}
        for name in self.names(inner):
            v = getattr(inner, name)
            _, length = direction(*widened(v))
            scale[name] = like(jnp.where((v == 0).all(others(v)), 0, length), v)
            if (g := concrete(scale[name])) is not None:
                check_known(self, f"‖{name}‖", g, np.asarray(g > 0), "be above 0")
        return WeightNormParams(inner, scale)

    def forward(self, params, x, *, key=None):
        """y = f(w, x),  w = g v̂."""
        return self.inner.forward(self.weighted(params), x, key=key)

    def backward(self, params, cache, dy):
        """dg = Σ dw v̂,  dv = (g/‖v‖) (dw − dg v̂), of inner's dw."""
        grads, dx = self.inner.backward(self.weighted(params), cache, dy)
        dv, dg = {}, {}
        for name, g in params.scale.items():
            v, g, dw = widened(getattr(params.inner, name), g, getattr(grads, name))
            unit, length = direction(v)
            dg[name] = (dw * unit).sum(others(v))
            dv[name] = g / length * (dw - dg[name] * unit)
        return like(WeightNormParams(grads._replace(**dv), dg), params), dx

    def weighted(self, params: WeightNormParams) -> Any:
        """Params of inner, w = g v̂."""
        self.check_lengths(params)
        pairs = {name: widened(getattr(params.inner, name), g) for name, g in params.scale.items()}
        found = {name: g * direction(v)[0] for name, (v, g) in pairs.items()}
        return like(params.inner._replace(**found), params.inner)

    def names(self, params: Any) -> tuple[str, ...]:
        """The names of the weights in params of inner."""
        weights = getattr(type(params), "weights", None)
        if not weights or not hasattr(params, "_replace"):
            raise TypeError(
                f"{self}: inner must have weights, which its params class declares, "
                f"got {shown(params)}."
            )
        return weights

    def check_lengths(self, params: Any) -> None:
        """Raise unless there is a g [n_out] for every weight."""
        if not isinstance(params, WeightNormParams):
            raise TypeError(f"{self}: params must be WeightNormParams, got {shown(params)}.")
        names, scale = self.names(params.inner), params.scale
        if type(scale) is not dict or {*scale} != {*names}:
            must = f"a dict of {', '.join(names)}"
            raise TypeError(f"{self}: params.scale must be {must}, got {shown(scale)}.")
        for name, g in scale.items():
            v = getattr(params.inner, name)
            check_floating(self, f"params.inner.{name}", v)
            check_floating(self, f"params.scale.{name}", g)
            check_shape(self, f"params.scale.{name}", g, v.shape[-1:])


def direction(v: Array) -> tuple[Array, Array]:
    """v̂ = v/‖v‖ and ‖v‖ of every output; where ‖v‖ is 0 it counts as 1."""
    m = abs(v).max(others(v), keepdims=True, initial=0)
    m = jnp.where(m == 0, 1, jax.lax.stop_gradient(m))  # any m gives the same v̂
    u = v / m
    squares = (u**2).sum(others(v), keepdims=True)
    length = jnp.sqrt(jnp.where(squares == 0, 1, squares))
    return u / length, (m * length).reshape(v.shape[-1])


def others(v: Array) -> tuple[int, ...]:
    """All axes but that of outputs."""
    return tuple(range(v.ndim - 1))
