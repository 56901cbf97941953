"""The entries of all windows at one place, and where they came from.

    window_entry             e[b,i,c] = x[b, i·s + k − p, c]                  of one place k
    scatter_window_entries   x[b,j,c] = Σ_k Σ_i 1{i·s + k − p = j} e_k[b,i,c]

one index per spatial axis; each is the transpose of the other. The second adds nothing to x
entry by entry. Windows move by the stride s, so it tiles x with cells of s entries:

    x      | 0 1 | 2 3 | 4 5 |  s = 2: entry j stands in cell j div s, at r = j mod s
    cells     0     1     2

With k − p = q s + r, place k of window i is entry r of cell i + q: what belongs to one r is added
up at the size of y, shifted by q, and the s sums are interleaved at the end.
"""

from collections.abc import Iterable

import jax
import jax.numpy as jnp

from fnn.layers.windows import Window
from fnn.records import Array

Windows = tuple[Window, ...]


def window_entry(x: Array, along: Windows, place: tuple[int, ...], pad: float) -> Array:
    """What every window has at one of its places, [B, H′, ..., C]; `pad` outside x."""
    config, steps = [(0, 0, 0)], []
    for a, k in zip(along, place, strict=True):
        first, last = k - a.low, k - a.low + (a.n_out - 1) * a.stride
        config.append((-first, last + 1 - a.n_in, 0))  # negative: cut off
        steps.append(slice(None, None, a.stride))
    x = jax.lax.pad(x, jnp.asarray(pad, x.dtype), [*config, (0, 0, 0)])
    return x[:, *steps]


def scatter_window_entries(
    entries: Iterable[tuple[tuple[int, ...], Array]], along: Windows
) -> Array:
    """The sum of what each place of the windows holds, [B, H′, ..., C] each → [B, H, ..., C]."""
    sums: dict[tuple[int, ...], Array] = {}
    for place, e in entries:
        moves, r = zip(*map(shift, along, place), strict=True)
        e = jax.lax.pad(e, jnp.zeros((), e.dtype), [(0, 0, 0), *moves, (0, 0, 0)])
        sums[r] = sums[r] + e if r in sums else e
    zero = jnp.zeros_like(next(iter(sums.values())))
    x = interleaved(sums, along, zero)
    x = x.reshape(len(x), *(cells(a) * a.stride for a in along), x.shape[-1])
    return x[:, *(slice(a.n_in) for a in along)]


def interleaved(
    sums: dict[tuple[int, ...], Array], along: Windows, zero: Array, r: tuple[int, ...] = ()
) -> Array:
    """The sums of all r, and those of none `zero`: [B, cells, ..., C] → [B, cells, s, ..., C]."""
    if len(r) == len(along):
        return sums.get(r, zero)
    parts = [interleaved(sums, along, zero, (*r, t)) for t in range(along[len(r)].stride)]
    return jnp.stack(parts, 2 + len(r))


def cells(a: Window) -> int:
    """How many cells an axis of x has."""
    return -(-a.n_in // a.stride)


def shift(a: Window, k: int) -> tuple[tuple[int, int, int], int]:
    """The padding that moves place k of every window to its cell, and r."""
    q, r = divmod(k - a.low, a.stride)
    return (q, cells(a) - a.n_out - q, 0), r
