"""ConvTranspose1d, ConvTranspose2d: what a convolution does backward, as a layer.

    y[b,j,d] = Σ_k Σ_c Σ_i 1{i·s + k·r − p = j} x[b,i,c] w[k,c,d] + b[d]     bias=False: without b

with stride s, dilation r, padding p, i, j and k one index per axis: every entry of x is
stamped on y, s apart. This is dx of a convolution from y to x with the same windows, so
backward is that convolution, and the sum over its windows,

    dx[b,i,c] = Σ_k Σ_d dy[b, i·s + k·r − p, d] w[k,c,d]
    dw[k,c,d] = Σ_b Σ_i x[b,i,c] dy[b, i·s + k·r − p, d]            db[d] = Σ_b Σ_j dy[b,j,d]

A convolution with stride s makes n outputs of s different lengths; of these the shortest is
the length of y, (n − 1) s + (K − 1) r + 1 less the padding on both sides, and
`output_padding`, from 0 to s − 1, adds what the others have more: entries at the end. Under
'same' y has n·s. dw and db are summed in at least float32.

Source: Dumoulin & Visin (2016), arXiv:1603.07285, chapter 4; Long, Shelhamer & Darrell
(2015), arXiv:1411.4038, section 3.3.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from fnn.factors import Factor, Sum
from fnn.layers.convolution import (
    ConvCache,
    Convolution,
    ConvParams,
    Kernel,
    Windows,
    convolve,
    convolve_kernel,
    convolve_transpose,
    swap_channels,
)
from fnn.layers.windows import Window, padded, pairs
from fnn.numerics import like, plus, plus_gradient


@dataclass(frozen=True)
class ConvTranspose(Convolution):
    """What ConvTranspose1d and ConvTranspose2d have in common."""

    output_padding: Any = field(default=0, kw_only=True)  # a number, or one per axis

    def __post_init__(self):
        """One number per axis; refuse more entries at the end than a stride leaves over."""
        super().__post_init__()
        more = pairs(type(self).__name__, "output_padding", self.output_padding, self.n_axes, 0)
        object.__setattr__(self, "output_padding", more)
        if any(a >= s for a, s in zip(more, self.stride, strict=True)):
            raise ValueError(f"{self}: output_padding must be smaller than the stride.")
        if self.padding == "same" and any(more):
            raise ValueError(f"{self}: output_padding must be 0 with padding='same'.")

    def windows(self, shape: tuple[int, ...]) -> Windows:
        """The windows over y, along the spatial axes, of an input of this shape."""
        return tuple(self.window(axis, n) for axis, n in enumerate(shape[1:-1]))

    def window(self, axis: int, n: int) -> Window:
        """The windows over y along one axis, n of them."""
        size, s, r = self.kernel[axis], self.stride[axis], self.dilation[axis]
        span = (size - 1) * r + 1
        low, high = padded(self.padding, axis, n * s, span, s)
        length = (n - 1) * s + span - low - high + self.output_padding[axis]
        if self.padding == "same":
            length = n * s
        if n < 1 or length < 1:
            raise ValueError(
                f"{self}: axis {axis + 1} of x has {n} entries, and {low} + {high} of padding "
                "leave nothing of y; use less of it."
            )
        return Window(size, s, r, low, high, length, n)

    def forward(self, params, x, *, key=None):
        """y = x, spread by the stride, ∗ mirrored w, + b."""
        y = convolve_transpose(x, params.w, self.windows(x.shape), self.groups)
        return plus(y, params.b), ConvCache(x)

    def backward(self, params, cache, dy):
        """dw = dy ∗ x,  db = Σ dy,  dx = dy ∗ w."""
        along = self.windows(cache.x.shape)
        dw = swap_channels(convolve_kernel(dy, cache.x, along, self.groups), self.groups)
        dx = convolve(dy, swap_channels(params.w, self.groups), along, self.groups)
        return like((ConvParams(dw, plus_gradient(params.b, dy)), dx), (params, cache.x))

    def factors(self, params, cache, dy):
        """dw: dy, x;  db: dy."""
        along = self.windows(cache.x.shape)
        dx = convolve(dy, swap_channels(params.w, self.groups), along, self.groups)
        found: dict[str, Factor] = {"w": Kernel(dy, cache.x, along, self.groups, turned=True)}
        return found | ({"b": Sum(dy)} if self.bias else {}), like(dx, cache.x)


@dataclass(frozen=True)
class ConvTranspose1d(ConvTranspose):
    """y = w stamped by every x, + b, along one axis.  x [B, T, n_in] → y [B, T′, n_out].

    `padding`, taken off both ends of y, is 'valid', 'same' (T′ = T · stride), a number, or
    ((low, high),). `w_init` (key, n_in, n_out) → w sees the entries of a window as n_in. With
    bias=False there is no b.

    Raises:
        ValueError: for sizes below 1, groups that do not divide n_in and n_out, padding of
            another form, an output_padding that is not below the stride or not 0 with 'same';
            from forward, where the padding leaves nothing of y.
    """

    n_axes: ClassVar[int] = 1


@dataclass(frozen=True)
class ConvTranspose2d(ConvTranspose):
    """y = w stamped by every x, + b, along two axes.  x [B, H, W, n_in] → y [B, H′, W′, n_out].

    `kernel`, `stride`, `dilation` and `output_padding` are a number or one per axis;
    `padding`, taken off the ends of y, is 'valid', 'same', a number, or a pair (low, high)
    per axis. `w_init` and `bias` as in ConvTranspose1d.

    Raises:
        ValueError: as ConvTranspose1d does.
    """

    n_axes: ClassVar[int] = 2
