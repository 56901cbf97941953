"""Conv1d, Conv2d: windows that share their weights; channels last.

    y[b,i,d] = Σ_k Σ_c x[b, i·s + k·r − p, c] w[k,c,d] + b[d]

with stride s, dilation r, padding p, i and k one index per axis. The sums of backward are
convolutions too: of x with dy for the weights, of dy, spread by the stride, with the
mirrored weights for the input,

    dw[k,c,d] = Σ_b Σ_i x[b, i·s + k·r − p, c] dy[b,i,d]            db[d] = Σ_b Σ_i dy[b,i,d]
    dx[b,j,c] = Σ_k Σ_d Σ_i 1{i·s + k·r − p = j} dy[b,i,d] w[k,c,d]

With `groups` > 1 the channels are cut into that many parts, each convolved apart: w has
n_in / groups input channels. dw and db are summed in at least float32.

Source: LeCun et al. (1989), Neural Computation 1, pp. 541-551; the gradients as in
Goodfellow, Bengio & Courville (2016), Deep Learning, section 9.5, eqs. 9.11 and 9.13;
Dumoulin & Visin (2016), arXiv:1603.07285, for strides and dilations.
Equations: dir.conv2d.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_floating, check_key, check_params
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.layers.windows import Padding, Window, check_padding, pairs, windows
from fnn.numerics import wide
from fnn.types import Array, Key

AXES = "HW"


class ConvParams(NamedTuple):
    """The weights of a convolution, and their gradients."""

    w: Array  # [K, (K,) n_in / groups, n_out]
    b: Array  # [n_out]


class ConvCache(NamedTuple):
    """What backward needs of forward."""

    x: Array  # [B, H, (W,) n_in]


@dataclass(frozen=True)
class Conv(Layer[ConvParams, ConvCache]):
    """What Conv1d and Conv2d have in common; `n_axes` is the number of spatial axes."""

    n_axes: ClassVar[int]

    n_in: int
    n_out: int
    kernel: Any  # a number, or one per axis; so are stride and dilation
    stride: Any = 1
    padding: Padding = "valid"
    dilation: Any = 1
    groups: int = 1
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)

    def __post_init__(self):
        """One number per axis for kernel, stride and dilation; refuse what does not fit."""
        super().__post_init__()
        for name in ("kernel", "stride", "dilation"):
            values = pairs(type(self).__name__, name, getattr(self, name), self.n_axes)
            object.__setattr__(self, name, values)
        check_padding(type(self).__name__, self.padding, self.n_axes)
        if self.n_in < 1 or self.n_out < 1:
            raise ValueError(f"{self}: n_in and n_out must be at least 1.")
        if self.groups < 1 or self.n_in % self.groups or self.n_out % self.groups:
            raise ValueError(f"{self}: groups must divide n_in and n_out.")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of w."""
        return (*self.kernel, self.n_in // self.groups, self.n_out)

    def init(self, key):
        """w from `w_init` with n_in K... inputs, b = 0."""
        check_key(self, key)
        size = math.prod(self.kernel)
        w = self.w_init(key, size * (self.n_in // self.groups), self.n_out)
        return ConvParams(w.reshape(self.shape), jnp.zeros(self.n_out))

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        """The windows along the spatial axes of an input of this shape."""
        return windows(self, shape[1:-1], self.kernel, self.stride, self.dilation, self.padding)

    def forward(self, params, x, *, key=None):
        """y = x ∗ w + b."""
        check_images(self, x, self.n_axes, self.n_in)
        check_params(self, params, w=self.shape, b=(self.n_out,))
        x = jnp.asarray(x)
        along = self.windows(x.shape)
        y = jax.lax.conv_general_dilated(
            x,
            params.w,
            window_strides=self.stride,
            padding=[(a.low, a.high) for a in along],
            rhs_dilation=self.dilation,
            dimension_numbers=numbers(self.n_axes, "N_C", "_IO", "N_C"),
            feature_group_count=self.groups,
        )
        return y + params.b, ConvCache(x)

    def backward(self, params, cache, dy):
        """dw = x ∗ dy,  db = Σ dy,  dx = dy ∗ mirrored w."""
        along = self.windows(cache.x.shape)
        db = dy.sum(tuple(range(dy.ndim - 1)), dtype=wide(dy.dtype))
        grads = ConvParams(
            w=self.dw(cache.x, dy, along).astype(params.w.dtype), b=db.astype(params.b.dtype)
        )
        return grads, self.dx(params.w, dy, along).astype(cache.x.dtype)

    def dw(self, x: Array, dy: Array, along: tuple[Window, ...]) -> Array:
        """Examples take the place of channels: x is convolved with dy."""
        return jax.lax.conv_general_dilated(
            x,
            dy,
            window_strides=self.dilation,
            padding=[(a.low, rest(a)) for a in along],
            rhs_dilation=self.stride,
            dimension_numbers=numbers(self.n_axes, "C_N", "I_O", "_NC"),
            batch_group_count=self.groups,
            preferred_element_type=wide(dy.dtype),
        )

    def dx(self, w: Array, dy: Array, along: tuple[Window, ...]) -> Array:
        """The outputs take the place of the inputs: dy is convolved with the mirrored w."""
        n, g = self.n_axes, self.groups
        mirrored = jnp.flip(w, tuple(range(n)))
        parts = mirrored.reshape(*self.kernel, self.n_in // g, g, self.n_out // g)
        parts = jnp.moveaxis(parts, n, -1)  # [K..., g, n_out / g, n_in / g]
        parts = jnp.moveaxis(parts, n, -2)  # [K..., n_out / g, g, n_in / g]
        return jax.lax.conv_general_dilated(
            dy,
            parts.reshape(*self.kernel, self.n_out // g, self.n_in),
            window_strides=(1,) * n,
            padding=[around(a) for a in along],
            lhs_dilation=self.stride,
            rhs_dilation=self.dilation,
            dimension_numbers=numbers(n, "N_C", "_IO", "N_C"),
            feature_group_count=g,
        )


@dataclass(frozen=True)
class Conv1d(Conv):
    """y = x ∗ w + b along one axis.  x [B, T, n_in] → y [B, T′, n_out].

    `padding` is 'valid', 'same', a number, or ((low, high),). `w_init` (key, n_in, n_out)
    → w sees the entries of a window as n_in.
    """

    n_axes: ClassVar[int] = 1


@dataclass(frozen=True)
class Conv2d(Conv):
    """y = x ∗ w + b along two axes.  x [B, H, W, n_in] → y [B, H′, W′, n_out].

    `kernel`, `stride` and `dilation` are a number or one per axis; `padding` is 'valid',
    'same', a number, or a pair (low, high) per axis.
    """

    n_axes: ClassVar[int] = 2


def rest(a: Window) -> int:
    """The padding behind x for which x ∗ dy has as many entries as the window."""
    spread = (a.n_out - 1) * a.stride + 1
    return a.span - 1 + spread - a.n_in - a.low


def around(a: Window) -> tuple[int, int]:
    """The padding of the spread dy for which dy ∗ w has as many entries as x."""
    low, spread = a.span - 1 - a.low, (a.n_out - 1) * a.stride + 1
    return low, a.n_in + a.span - 1 - spread - low


def numbers(n_axes: int, *forms: str) -> Any:
    """Dimension numbers: the spatial axes in place of _."""
    return tuple(form.replace("_", AXES[:n_axes]) for form in forms)


def check_images(owner: Any, x: Any, n_axes: int, n_in: int) -> None:
    """Raise unless x is a floating-point batch with `n_axes` spatial axes and `n_in` channels."""
    check_floating(owner, "x", x)
    if x.ndim != n_axes + 2 or x.shape[-1] != n_in:
        axes = ", ".join(["B", *AXES[:n_axes], str(n_in)])
        hint = ""
        if x.ndim == n_axes + 1:
            hint = "; one example is x[None], one channel x[..., None]"
        elif x.ndim == n_axes + 2 and x.shape[1] == n_in:
            hint = "; channels are the last axis: jnp.moveaxis(x, 1, -1)"
        raise ValueError(f"{owner}: x must have shape [{axes}], got {list(x.shape)}{hint}.")
