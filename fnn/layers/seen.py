"""What the windows of a convolution hold, and the Gram matrices of it.

    a_i[k,c] = x[i·s + k·r − p, c]        A[k,c,l,d] = Σ_b w_b Σ_i a_i[k,c] a_i[l,d]

Along an axis of stride 1, A[k, l] is a sum over the rows n = i + k·r of the padded x,

    A[k, k + d] = Σ_n x_nᵀ x_{n + d·r},   n from k·r to k·r + I − 1

of which the most are the same for every k: they are summed once for each d, so that K sums do
for K², and what lies at the ends is added row by row. What two windows have in common is a sum of
what two places of x have,

    a_i·a_j = Σ_k X[i·s + k·r − p, j·s + k·r − p]        X[n,m] = x_n·x_m

so that X, made once, stands for K products of all pairs of windows.

Source: Grosse & Martens (2016), arXiv:1602.01407, section 3, for A.
"""

import itertools
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from fnn.layers.tiling import window_entry
from fnn.layers.windows import Window
from fnn.numerics import outer, times, wide
from fnn.records import Array
from fnn.sides import Side

AXES = "HW"


@dataclass(frozen=True, eq=False)
class Seen(Side):
    """What every window holds, place by place and of each all channels: [B, I, K... n]."""

    all_count: ClassVar = True

    x: Array  # [B, ..., n]
    windows: tuple[Window, ...] = field(metadata={"static": True})

    @property
    def shape(self):
        """(B, I, K... n)."""
        made = math.prod(a.n_out for a in self.windows)
        return len(self.x), made, math.prod(a.size for a in self.windows) * self.x.shape[-1]

    @property
    def dtype(self):
        """At least float32."""
        return wide(self.x.dtype)

    def vectors(self):
        """The patches, as the rows of w stand."""
        return patches(self.x.astype(self.dtype), self.windows)

    def gram(self, w):
        """A, of one w for all windows of an example."""
        first = self.windows[0]
        if first.stride > 1 or first.size == 1 or (first.size - 1) * first.dilation >= first.n_out:
            return super().gram(w)
        root = jnp.sqrt(w[:, 0]).astype(self.dtype)[:, None, None]
        strips = self.strips()
        return by_offset(jnp.where(root == 0, 0, root * strips), self.strip_count, first)

    def total(self, w):
        """Σ w a."""
        first = self.windows[0]
        if first.stride > 1:
            return super().total(w)
        rows = times(w[:, 0].astype(self.dtype)[:, None, None], self.strips()).sum(0)
        rows = rows.reshape(-1, self.strip_count, rows.shape[-1]).sum(1)
        starts = [k * first.dilation for k in range(first.size)]
        return jnp.concatenate([rows[k : k + first.n_out].sum(0) for k in starts])

    @property
    def strip_count(self) -> int:
        """The windows along the other axes."""
        return math.prod(a.n_out for a in self.windows[1:])

    def strips(self) -> Array:
        """Every row n of the padded x as the windows of the other axes see it."""
        first, *rest = self.windows
        x = self.x.astype(self.dtype)
        n = first.n_out + (first.size - 1) * first.dilation
        around = [(0, 0)] * x.ndim
        around[1] = (first.low, max(0, n - first.low - x.shape[1]))
        x = jnp.pad(x, around)[:, :n]
        if rest:
            inner = Seen(x.reshape(-1, *x.shape[2:]), tuple(rest)).vectors()
            return inner.reshape(len(x), -1, inner.shape[-1])  # [B, rows strips, K n]
        return x


def by_offset(strips: Array, count: int, first: Window) -> Array:
    """A of strips [B, rows count, m], where the windows of the first axis have stride 1."""
    m, k, r, n = strips.shape[-1], first.size, first.dilation, first.n_out
    rows = strips.reshape(len(strips), -1, count, m)
    found = {}
    for d in range(k):
        here, there = rows, rows[:, d * r :]
        end = (k - 1 - d) * r  # rows at either end that not every window has
        core = outer(here[:, end:n], there[:, end:n])
        low = one_by_one(here[:, :end], there[:, :end])
        high = one_by_one(here[:, n : n + end], there[:, n : n + end])
        for i in range(k - d):
            found[i, i + d] = core + low[i * r :].sum(0) + high[: i * r].sum(0)
    lines = [[found[i, j] if i <= j else found[j, i].T for j in range(k)] for i in range(k)]
    return jnp.concatenate([jnp.concatenate(line, 1) for line in lines])


def one_by_one(a: Array, b: Array) -> Array:
    """Σ aᵀ b of every row, [B, rows, count, m] → [rows, m, m]."""
    return jnp.einsum("bnim,bnil->nml", a, b)


def patch_products(x: Array, along: tuple[Window, ...]) -> Array:
    """a_i·a_j of all pairs of windows of an example, [B, I, I], in at least float32."""
    x = x.astype(wide(x.dtype))
    n_places, n_windows = math.prod(a.n_in for a in along), math.prod(a.n_out for a in along)
    if n_places**2 > math.prod(a.size for a in along) * n_windows**2:
        a = patches(x, along)
        return a @ a.mT
    size = [a.n_in for a in along]
    flat = x.reshape(len(x), n_places, -1)
    pairs = (flat @ flat.mT).reshape(len(x), *size, *size, 1)
    both, total = (*along, *along), jnp.zeros((), x.dtype)
    for places in itertools.product(*(range(a.size) for a in along)):
        k = tuple(k * a.dilation for k, a in zip(places, along, strict=True))
        total = total + window_entry(pairs, both, (*k, *k), 0)
    return total.reshape(len(x), n_windows, n_windows)


def patches(x: Array, along: tuple[Window, ...]) -> Array:
    """All entries of every window, [B, windows, K... n_x].

    Slices side by side: XLA's conv_general_dilated_patches multiplies with ones and zeros, which
    takes on CPU as long as the gradient.
    """
    around = [(0, 0), *((a.low, max(a.high, 0)) for a in along), (0, 0)]
    x = jnp.pad(x, around)
    found = []
    for places in itertools.product(*(range(a.size) for a in along)):
        starts = [k * a.dilation for k, a in zip(places, along, strict=True)]
        ends = [i + (a.n_out - 1) * a.stride + 1 for i, a in zip(starts, along, strict=True)]
        steps = [a.stride for a in along]
        found.append(
            jax.lax.slice(x, (0, *starts, 0), (len(x), *ends, x.shape[-1]), (1, *steps, 1))
        )
    whole = jnp.concatenate(found, -1)
    return whole.reshape(len(x), -1, whole.shape[-1])


def numbers(n_axes: int, *forms: str) -> Any:
    """Dimension numbers: the spatial axes in place of _."""
    return tuple(form.replace("_", AXES[:n_axes]) for form in forms)
