"""Conv1d, Conv2d: windows that share their weights; channels last.

    y[b,i,d] = Σ_k Σ_c x[b, i·s + k·r − p, c] w[k,c,d] + b[d]        bias=False: without b

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
"""

from dataclasses import dataclass
from typing import ClassVar

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
from fnn.layers.windows import windows
from fnn.numerics import like, plus, plus_gradient


@dataclass(frozen=True)
class Conv(Convolution):
    """What Conv1d and Conv2d have in common."""

    def windows(self, shape: tuple[int, ...]) -> Windows:
        """The windows along the spatial axes of an input of this shape."""
        return windows(self, shape[1:-1], self.kernel, self.stride, self.dilation, self.padding)

    def forward(self, params, x, *, key=None):
        """y = x ∗ w + b."""
        y = convolve(x, params.w, self.windows(x.shape), self.groups)
        return plus(y, params.b), ConvCache(x)

    def backward(self, params, cache, dy):
        """dw = x ∗ dy,  db = Σ dy,  dx = dy ∗ mirrored w."""
        along = self.windows(cache.x.shape)
        dw = convolve_kernel(cache.x, dy, along, self.groups)
        dx = convolve_transpose(dy, swap_channels(params.w, self.groups), along, self.groups)
        return like((ConvParams(dw, plus_gradient(params.b, dy)), dx), (params, cache.x))

    def factors(self, params, cache, dy):
        """dw: x, dy;  db: dy."""
        along = self.windows(cache.x.shape)
        dx = convolve_transpose(dy, swap_channels(params.w, self.groups), along, self.groups)
        found: dict[str, Factor] = {"w": Kernel(cache.x, dy, along, self.groups)}
        return found | ({"b": Sum(dy)} if self.bias else {}), like(dx, cache.x)


@dataclass(frozen=True)
class Conv1d(Conv):
    """y = x ∗ w + b along one axis.  x [B, T, n_in] → y [B, T′, n_out].

    `padding` is 'valid', 'same' (T′ = ⌈T / stride⌉), a number, or ((low, high),). `w_init`
    (key, n_in, n_out) → w sees the entries of a window as n_in. With bias=False there is no b.

    Raises:
        ValueError: for sizes below 1, groups that do not divide n_in and n_out, padding of
            another form; from forward, for a window larger than x with its padding.
    """

    n_axes: ClassVar[int] = 1


@dataclass(frozen=True)
class Conv2d(Conv):
    """y = x ∗ w + b along two axes.  x [B, H, W, n_in] → y [B, H′, W′, n_out].

    `kernel`, `stride` and `dilation` are a number or one per axis; `padding` is 'valid',
    'same' (H′ = ⌈H / stride⌉), a number, or a pair (low, high) per axis. `w_init` and
    `bias` as in Conv1d.

    Raises:
        ValueError: as Conv1d does.
    """

    n_axes: ClassVar[int] = 2
