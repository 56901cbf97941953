"""MaxPool1d, MaxPool2d, AvgPool1d, AvgPool2d, GlobalAvgPool: windows summed up by one number.

    MaxPool         y[b,i,c] = max_k x[b, i·s + k − p, c]
    AvgPool         y[b,i,c] = mean_k x[b, i·s + k − p, c], of the entries inside x
    GlobalAvgPool   y[b,c] = mean over all positions

i, j and k are one index per axis, k runs over the window. Backward, every window returns its
dy to where it came from,

    MaxPool         dx[b,j,c] = Σ_i dy[b,i,c] 1{j is the first largest of window i}
    AvgPool         dx[b,j,c] = Σ_i dy[b,i,c] / n_i 1{j in window i}, n_i entries inside
    GlobalAvgPool   dx[b,j,c] = dy[b,c] / n

Source: Boureau, Ponce & LeCun (2010), ICML, section 2; Lin, Chen & Yan (2014),
arXiv:1312.4400, section 3.2, for the global one.
"""

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating
from fnn.layer import Layer
from fnn.layers.tiling import scatter_window_entries, window_entry
from fnn.layers.windows import Padding, Window, check_padding, pairs, windows
from fnn.numerics import like, widened
from fnn.records import Array, Static


class MaxPoolCache(NamedTuple):
    """Where the largest entries are."""

    where: Array  # [B, H′, (W′,) C], the place in its window of the largest entry
    shape: Static  # (H, W), or all spatial axes


class AvgPoolCache(NamedTuple):
    """The shape to give back."""

    shape: Static  # (H, W), or all spatial axes


@dataclass(frozen=True)
class Pool(Layer[tuple[()], Any]):
    """What MaxPool and AvgPool have in common; `n_axes` is the number of spatial axes."""

    n_axes: ClassVar[int]

    kernel: Any  # a number, or one per axis; so is stride
    stride: Any = None
    padding: Padding = "valid"

    def __post_init__(self):
        """One number per axis; without a stride the windows do not overlap."""
        super().__post_init__()
        name = type(self).__name__
        object.__setattr__(self, "kernel", pairs(name, "kernel", self.kernel, self.n_axes))
        stride = self.kernel if self.stride is None else self.stride
        object.__setattr__(self, "stride", pairs(name, "stride", stride, self.n_axes))
        check_padding(name, self.padding, self.n_axes)

    def check_input(self, x):
        """x must be a batch of images, or of signals, channels last."""
        check_floating(self, "x", x)
        if x.ndim != self.n_axes + 2:
            one = "; one example is x[None], one channel x[..., None]"
            hint = one if x.ndim == self.n_axes + 1 else ""
            form = {1: "[B, T, C]", 2: "[B, H, W, C]"}[self.n_axes]
            raise ValueError(f"{self}: x must have shape {form}, got {list(x.shape)}{hint}.")

    def windows(self, shape: tuple[int, ...]) -> tuple[Window, ...]:
        """The windows along the spatial axes; each has an entry of x inside."""
        ones = (1,) * self.n_axes
        along = windows(self, shape, self.kernel, self.stride, ones, self.padding)
        for a in along:
            if a.low >= a.size or (a.n_out - 1) * a.stride - a.low >= a.n_in:
                raise ValueError(
                    f"{self}: a window would lie in the padding alone; use less of it."
                )
        return along


@dataclass(frozen=True)
class MaxPool(Pool):
    """What MaxPool1d and MaxPool2d have in common."""

    def forward(self, params, x, *, key=None):
        """y = max x over the window, and where it is."""
        along = self.windows(x.shape[1:-1])
        first, *offsets = np.ndindex(self.kernel)
        best = window_entry(x, along, first, -jnp.inf)
        at = jnp.zeros(best.shape, jnp.int8 if math.prod(self.kernel) < 128 else jnp.int32)
        for k, offset in enumerate(offsets, 1):
            v = window_entry(x, along, offset, -jnp.inf)
            more = ~(v <= best) & (best == best)  # a NaN is more than a number
            best, at = jnp.where(more, v, best), jnp.where(more, jnp.asarray(k, at.dtype), at)
        return best, MaxPoolCache(at, Static(x.shape[1:-1]))

    def backward(self, params, cache, dy):
        """dx = dy, at the largest entries."""
        along = self.windows(cache.shape.value)
        places = enumerate(np.ndindex(self.kernel))
        return (), scatter_window_entries(
            ((p, jnp.where(cache.where == k, dy, 0)) for k, p in places), along
        )


@dataclass(frozen=True)
class AvgPool(Pool):
    """What AvgPool1d and AvgPool2d have in common."""

    def forward(self, params, x, *, key=None):
        """y = Σ x / n over the window."""
        along = self.windows(x.shape[1:-1])
        (z,) = widened(x)
        total = functools.reduce(
            jnp.add, (window_entry(z, along, k, 0) for k in np.ndindex(self.kernel))
        )
        y = total / self.inside(along, total.dtype)
        return like(y, x), AvgPoolCache(Static(x.shape[1:-1]))

    def backward(self, params, cache, dy):
        """dx = Σ dy / n over the windows that see the entry."""
        along = self.windows(cache.shape.value)
        (d,) = widened(dy)
        d = d / self.inside(along, d.dtype)
        dx = scatter_window_entries(((place, d) for place in np.ndindex(self.kernel)), along)
        return (), like(dx, dy)

    def inside(self, along: tuple[Window, ...], dtype) -> Array:
        """How many entries of each window lie inside x, [H′, (W′,) 1]."""
        counts = np.ones(1, int)
        for a in reversed(along):
            first = np.arange(a.n_out) * a.stride - a.low
            here = np.minimum(first + a.size, a.n_in) - np.maximum(first, 0)
            counts = here.reshape(-1, *(1,) * counts.ndim) * counts
        return jnp.asarray(counts, dtype)


@dataclass(frozen=True)
class MaxPool1d(MaxPool):
    """y = max of a window.  x [B, T, C] → y [B, T′, C].

    Without `stride` the windows stand side by side. Of several largest entries the first
    gets the gradient; NaN wins. `kernel`, `stride` and `padding` as in Conv1d.

    Raises:
        ValueError: for sizes below 1, padding of another form; from forward, for a window
            larger than x with its padding, or one in the padding alone.
    """

    n_axes: ClassVar[int] = 1


@dataclass(frozen=True)
class MaxPool2d(MaxPool):
    """y = max of a window.  x [B, H, W, C] → y [B, H′, W′, C].

    As MaxPool1d; `kernel`, `stride` and `padding` as in Conv2d.

    Raises:
        ValueError: as MaxPool1d does.
    """

    n_axes: ClassVar[int] = 2


@dataclass(frozen=True)
class AvgPool1d(AvgPool):
    """y = mean of a window, padding not counted.  x [B, T, C] → y [B, T′, C].

    Torch counts the padding unless told. Without `stride` the windows stand side by side;
    `kernel`, `stride` and `padding` as in Conv1d.

    Raises:
        ValueError: as MaxPool1d does.
    """

    n_axes: ClassVar[int] = 1


@dataclass(frozen=True)
class AvgPool2d(AvgPool):
    """y = mean of a window, padding not counted.  x [B, H, W, C] → y [B, H′, W′, C].

    As AvgPool1d; `kernel`, `stride` and `padding` as in Conv2d.

    Raises:
        ValueError: as MaxPool1d does.
    """

    n_axes: ClassVar[int] = 2


@dataclass(frozen=True)
class GlobalAvgPool(Layer[tuple[()], AvgPoolCache]):
    """y = mean over all positions.  x [B, ..., C] → y [B, C]."""

    def check_input(self, x):
        """x must have positions between batch and channels."""
        check_floating(self, "x", x)
        if x.ndim < 3:
            raise ValueError(f"{self}: x must have shape [B, ..., C], got {list(x.shape)}.")

    def forward(self, params, x, *, key=None):
        """y = mean x."""
        (z,) = widened(x)
        y = z.mean(tuple(range(1, x.ndim - 1)))
        return like(y, x), AvgPoolCache(Static(x.shape[1:-1]))

    def backward(self, params, cache, dy):
        """dx = dy / n."""
        shape = cache.shape.value
        dx = (dy / math.prod(shape)).reshape(len(dy), *(1,) * len(shape), -1)
        return (), jnp.broadcast_to(dx, (len(dy), *shape, dy.shape[-1]))
