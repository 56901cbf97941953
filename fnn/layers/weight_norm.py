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

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating, check_known, check_shape, shown
from fnn.layers.reparametrized import Reparametrized, others
from fnn.numerics import concrete, like, unit, unit_gradient, widened
from fnn.records import Array


class WeightNormParams(NamedTuple):
    """Directions and lengths, and their gradients."""

    inner: Any  # params of the inner layer, v in place of w
    scale: dict[str, Array]  # by the name of each weight, [n_out], g

    weights = ("scale",)


@dataclass(frozen=True)
class WeightNorm(Reparametrized):
    """y = inner(x) with w = g v/‖v‖.  The shapes are those of inner.

    inner is one layer with weights, as its params class declares them: Dense, a convolution, a
    recurrent layer, attention. Its other params are as they are. `inference` gives inner with w.

    Raises:
        TypeError: for what is not a layer, or made of layers; for params of another kind and of
            a layer without weights.
        ValueError: from init, where w of an output is 0 throughout; from forward, for shapes of
            g that do not fit.
    """

    def init(self, key):
        """v as inner draws w, g = ‖v‖."""
        inner = self.inner.init(key)
        scale = {}
        for name in self.names(inner):
            v = getattr(inner, name)
            (z,) = widened(v)
            _, length = unit(z, others(v))
            scale[name] = like(jnp.where((v == 0).all(others(v)), 0, length.ravel()), v)
            if (g := concrete(scale[name])) is not None:
                check_known(self, f"‖{name}‖", g, np.asarray(g > 0), "be above 0")
        return WeightNormParams(inner, scale)

    def unweighted(self, params, grads):
        """dg = Σ dw v̂,  dv = (g/‖v‖) (dw − dg v̂)."""
        dv, dg = {}, {}
        for name, g in params.scale.items():
            v, g, dw = widened(getattr(params.inner, name), g, getattr(grads, name))
            u, length = unit(v, others(v))
            dg[name] = (dw * u).sum(others(v))
            dv[name] = unit_gradient(u, length, g * dw, others(v))
        return like(WeightNormParams(grads._replace(**dv), dg), params)

    def weighted(self, params):
        """Params of inner, w = g v̂."""
        self.check_lengths(params)
        pairs = {name: widened(getattr(params.inner, name), g) for name, g in params.scale.items()}
        found = {name: g * unit(v, others(v))[0] for name, (v, g) in pairs.items()}
        return like(params.inner._replace(**found), params.inner)

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
