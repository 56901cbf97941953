"""GLU: two layers of which one opens and closes the other.

With φ an activation and ⊙ understood,

    g = x wg      u = x wu      y = (φ(g) u) wd

Backward, with da = dy wdᵀ and Σ over all leading axes (batch, time, ...),

    dg = da u φ′(g)      du = da φ(g)      dx = dg wgᵀ + du wuᵀ
    dwg = Σ xᵀ dg        dwu = Σ xᵀ du     dwd = Σ (φ(g) u)ᵀ dy

The cache is x, g and u; what is made of them entry by entry is made again. φ and φ′ are the
activation's own. The sums run in at least float32. There are no biases.

    activation    SiLU      GELU     Sigmoid    ReLU     Identity
    known as      SwiGLU    GEGLU    GLU        ReGLU    bilinear

Source: Dauphin, Fan, Auli & Grangier (2017), arXiv:1612.08083, eq. 1; Shazeer (2020),
arXiv:2002.05202, eqs. 5 and 6.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax

from fnn.errors import at, check_key, check_last_axis
from fnn.factors import Outer, summed
from fnn.initializers import glorot_uniform
from fnn.layer import Layer, check_layer_type
from fnn.layers.activations import SiLU
from fnn.numerics import like, product
from fnn.records import Array, Key


class GLUParams(NamedTuple):
    """The weights of a GLU, and their gradients."""

    wg: Array  # [n, n_hidden]
    wu: Array  # [n, n_hidden]
    wd: Array  # [n_hidden, n]

    weights = ("wg", "wu", "wd")


class GLUCache(NamedTuple):
    """The input and what the two layers make of it."""

    x: Array  # [B, ..., n]
    g: Array  # [B, ..., n_hidden], x wg
    u: Array  # [B, ..., n_hidden], x wu


@dataclass(frozen=True)
class GLU(Layer[GLUParams, GLUCache]):
    """y = (φ(x wg) (x wu)) wd.  x [B, ..., n] → y [B, ..., n].

    φ is `activation`, a layer without parameters that keeps the shape. `w_init`
    (key, n_in, n_out) → w draws the weights.

    Raises:
        ValueError: for n or n_hidden below 1.
        TypeError: for an activation that is not a layer.
    """

    sequences: ClassVar = "positions"

    n: int
    n_hidden: int
    activation: Layer[Any, Any] = field(default=SiLU())
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """Reject sizes that no array can have, and what is not a layer."""
        super().__post_init__()
        check_layer_type("GLU", self.activation)
        if self.n < 1 or self.n_hidden < 1:
            raise ValueError(f"{self}: n and n_hidden must be at least 1.")

    def shapes(self):
        """Those of the three weights."""
        n, m = self.n, self.n_hidden
        return {"wg": (n, m), "wu": (n, m), "wd": (m, n)}

    def check_input(self, x):
        """x must have n features."""
        check_last_axis(self, "x", x, self.n)

    def init(self, key):
        """Each weight from `w_init`."""
        check_key(self, key)
        drawn = zip(jax.random.split(key, 3), self.shapes().values(), strict=True)
        return GLUParams(*(self.w_init(k, *shape) for k, shape in drawn))

    def forward(self, params, x, *, key=None):
        """y = (φ(g) u) wd."""
        g, u = product(x, params.wg), product(x, params.wu)
        with at("GLU's activation"):
            a, _ = self.activation.forward((), g)
        return product(a * u, params.wd), GLUCache(x, g, u)

    def backward(self, params, cache, dy):
        """dg = da u φ′,  du = da φ, then one sum for each weight matrix."""
        found, dx = self.factors(params, cache, dy)
        return summed(found, params), dx

    def factors(self, params, cache, dy):
        """dwg: x, dg;  dwu: x, du;  dwd: a u, dy."""
        x, g, u = cache
        a, inner = self.activation.forward((), g)
        da = product(dy, params.wd.T)
        _, dg = self.activation.backward((), inner, da * u)
        du = da * a
        found = {"wg": Outer(x, dg), "wu": Outer(x, du), "wd": Outer(a * u, dy)}
        return found, like(product(dg, params.wg.T) + product(du, params.wu.T), x)
