"""What convolutions share: sizes, and the three sums over their windows.

With Σ over the entries k of a window and n the place that output i sees there,
n = i·s + k·r − p for stride s, dilation r and padding p, one of each per axis,

    convolve            y[b,i,d] = Σ_k Σ_c x[b,n,c] w[k,c,d]
    convolve_transpose  x[b,j,c] = Σ_k Σ_d Σ_i 1{n = j} y[b,i,d] w[k,d,c]
    convolve_kernel     w[k,c,d] = Σ_b Σ_i x[b,n,c] y[b,i,d]

Each is linear in both arguments, and the other two are its derivatives.

Source: Dumoulin & Visin (2016), arXiv:1603.07285, chapters 2 and 4.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from fnn.by_example import lengths, scaled, selected, square_sum, steps
from fnn.errors import check_floating, check_key
from fnn.factors import MORE, Alone, Factor
from fnn.initializers import glorot_uniform
from fnn.layer import Layer
from fnn.layers.seen import AXES, Seen, numbers, patch_products, patches
from fnn.layers.windows import Padding, Window, check_padding, pairs
from fnn.numerics import wide, widened
from fnn.records import QUIET, Array, Key
from fnn.sides import Sides, Vectors

Windows = tuple[Window, ...]


class ConvParams(NamedTuple):
    """The weights of a convolution, and their gradients."""

    w: Array  # [K, (K,) n_in / groups, n_out]
    b: Array | None  # [n_out]; None with bias=False

    weights = ("w",)


class ConvCache(NamedTuple):
    """The input."""

    x: Array  # [B, H, (W,) n_in]


@dataclass(frozen=True)
class Convolution(Layer[ConvParams, ConvCache]):
    """What Conv and ConvTranspose have in common; `n_axes` is the number of spatial axes."""

    n_axes: ClassVar[int]

    n_in: int
    n_out: int
    kernel: Any  # a number, or one per axis; so are stride and dilation
    stride: Any = 1
    padding: Padding = "valid"
    dilation: Any = 1
    groups: int = 1
    w_init: Callable[[Key, int, int], Array] = field(default=glorot_uniform, repr=False)
    bias: bool = field(default=True, kw_only=True, metadata=QUIET)

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

    def shapes(self):
        """Those of w and b."""
        b = (self.n_out,) if self.bias else None
        return {"w": (*self.kernel, self.n_in // self.groups, self.n_out), "b": b}

    def check_input(self, x):
        """x must have the spatial axes and n_in channels."""
        check_images(self, x, self.n_axes, self.n_in)

    def init(self, key):
        """w from `w_init` with n_in K... inputs, b = 0."""
        check_key(self, key)
        size, n_in = self.kernel, self.n_in // self.groups
        w = self.w_init(key, math.prod(size) * n_in, self.n_out)
        b = jnp.zeros(self.n_out) if self.bias else None
        return ConvParams(w.reshape(*size, n_in, self.n_out), b)


@dataclass(frozen=True, eq=False)
class Kernel(Factor):
    """x ∗ y as factors, [K..., n_x / groups, n_y]; where `swapped`, with swapped channels."""

    x: Array  # [B, ..., n_x]
    y: Array  # [B, ..., n_y]
    windows: Windows = field(metadata={"static": True})
    groups: int = field(metadata={"static": True})
    swapped: bool = field(default=False, metadata={"static": True})

    def gradient(self):
        """Σ_b x ∗ y."""
        w = convolve_kernel(self.x, self.y, self.windows, self.groups)
        return swap_channels(w, self.groups) if self.swapped else w

    def scaled(self, c):
        """x and c y."""
        return replace(self, x=selected(c, self.x), y=scaled(c, self.y))

    def sides(self):
        """The windows of x and y, or turned round y and the windows; None of groups."""
        if self.groups > 1:
            return None
        seen, made = Seen(self.x, self.windows), Vectors(steps(self.y))
        if self.swapped:
            return Sides(made, seen, self, swapped=True)  # nobody else has these columns
        return Sides(seen, made, self.y)

    def each(self):
        """Σ patchesᵀ y of every example, a few at a time."""
        return some(lambda f: f._each(), self)

    def _each(self):
        """The same at once."""
        a, d = widened(patches(self.x, self.windows), steps(self.y))
        kernel, groups = [along.size for along in self.windows], self.groups
        if groups > 1:
            a = a.reshape(*a.shape[:2], math.prod(kernel), groups, -1)
            d = d.reshape(*d.shape[:2], groups, -1)
            w = jnp.einsum("bngy,bnkgx->bkxgy", d, a)
        else:
            w = a.mT @ d
        w = w.reshape(len(w), *kernel, -1, self.y.shape[-1])
        return jax.vmap(lambda w: swap_channels(w, groups))(w) if self.swapped else w

    def formed(self):
        """x_b ∗ y_b."""
        small = self.n_entries <= MORE * (self.x[0].size + self.y[0].size)
        return Alone(self.each()) if small else self

    def size(self):
        """Σ_t ‖patch_t‖ ‖y_t‖."""
        (x,) = widened(self.x)
        squares = patches((x**2).sum(-1, keepdims=True), self.windows).sum(-1)
        return (jnp.sqrt(squares) * lengths(self.y)).sum(1)

    def square_norms(self):
        """Those of Σ patchesᵀ y over the places of a window, or ‖x_b ∗ y_b‖², a few at a time."""
        return some(lambda f: f._square_norms(), self)

    def _square_norms(self):
        """Σ_i Σ_j (patch_i·patch_j) (y_i·y_j), or those of x_b ∗ y_b; of groups always these."""
        n = math.prod(along.n_out for along in self.windows)
        if self.groups > 1 or 2 * n**2 >= self.n_entries:
            return square_sum(self._each())
        (y,) = widened(steps(self.y))
        both = (patch_products(self.x, self.windows) * (y @ y.mT)).reshape(len(y), -1)
        return jnp.maximum(both @ jnp.ones(n**2, both.dtype), 0)  # .sum(1) takes 15 times as long

    @property
    def n_entries(self) -> int:
        """How many x_b ∗ y_b has."""
        size = math.prod(along.size for along in self.windows)
        return size * self.x.shape[-1] // self.groups * self.y.shape[-1]


def some(f: Callable[[Kernel], Array], factor: Kernel) -> Array:
    """f(factor), of eight examples at a time where that saves much: patches are large."""

    def of(xy):
        return f(replace(factor, x=xy[0][None], y=xy[1][None]))[0]

    return jax.lax.map(of, (factor.x, factor.y), batch_size=8)


def convolve(x: Array, w: Array, along: Windows, groups: int) -> Array:
    """x ∗ w: every window of x, times w [K..., n_x / groups, n_y]."""
    return jax.lax.conv_general_dilated(
        x,
        w,
        window_strides=[a.stride for a in along],
        padding=[(a.low, a.high) for a in along],
        rhs_dilation=[a.dilation for a in along],
        dimension_numbers=numbers(len(along), "N_C", "_IO", "N_C"),
        feature_group_count=groups,
    )


def convolve_transpose(y: Array, w: Array, along: Windows, groups: int) -> Array:
    """The mirrored w [K..., n_y / groups, n_x] over y, spread by the stride.

    Along an axis with a stride and without padding one entry too many is computed and cut off:
    XLA on CPU (jaxlib 0.10) ends the process at some of these otherwise.
    """
    pads = [around(a) for a in along]
    more = [int(a.stride > 1 and pad == (0, 0)) for a, pad in zip(along, pads, strict=True)]
    x = jax.lax.conv_general_dilated(
        y,
        jnp.flip(w, tuple(range(len(along)))),
        window_strides=[1] * len(along),
        padding=[(low + m, high) for (low, high), m in zip(pads, more, strict=True)],
        lhs_dilation=[a.stride for a in along],
        rhs_dilation=[a.dilation for a in along],
        dimension_numbers=numbers(len(along), "N_C", "_IO", "N_C"),
        feature_group_count=groups,
    )
    return x[:, *(slice(m, None) for m in more)] if any(more) else x


def convolve_kernel(x: Array, y: Array, along: Windows, groups: int) -> Array:
    """Examples take the place of channels: x ∗ y, [K..., n_x / groups, n_y].

    The axes are put in place here, where dimension numbers could say the same: XLA on CPU (jaxlib
    0.10) is fast with those outside of loops only. In a scan over steps it would be this sum that
    takes a hundred times as long.
    """
    w = jax.lax.conv_general_dilated(
        jnp.swapaxes(x, 0, -1),
        jnp.moveaxis(y, 0, -2),
        window_strides=[a.dilation for a in along],
        padding=[(a.low, rest(a)) for a in along],
        rhs_dilation=[a.stride for a in along],
        dimension_numbers=numbers(len(along), "N_C", "_IO", "N_C"),
        batch_group_count=groups,
        preferred_element_type=wide(y.dtype),
    )
    return jnp.moveaxis(w, 0, -2)


def swap_channels(w: Array, groups: int) -> Array:
    """w with its channels in each other's place, [K..., a / groups, b] → [K..., b / groups, a]."""
    *size, a, b = w.shape
    parts = w.reshape(*size, a, groups, b // groups)
    parts = jnp.moveaxis(parts, -3, -1)  # [K..., groups, b / groups, a / groups]
    parts = jnp.moveaxis(parts, -3, -2)  # [K..., b / groups, groups, a / groups]
    return parts.reshape(*size, b // groups, a * groups)


def rest(a: Window) -> int:
    """The padding behind x for which x ∗ y has as many entries as the window."""
    length = (a.n_out - 1) * a.stride + 1
    return a.span - 1 + length - a.n_in - a.low


def around(a: Window) -> tuple[int, int]:
    """The padding of the spread y for which y ∗ w has as many entries as x."""
    low, length = a.span - 1 - a.low, (a.n_out - 1) * a.stride + 1
    return low, a.n_in + a.span - 1 - length - low


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
