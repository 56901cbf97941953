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


def window_entry(
    x: Array, along: tuple[Window, Window], place: tuple[int, ...], pad: float
) -> Array:
    """What every window has at one of its places, [B, H′, W′, C]; `pad` outside x."""
    config, step = [(0, 0, 0)], [1]
    for a, k in zip(along, place, strict=True):
        first, last = k - a.low, k - a.low + (a.n_out - 1) * a.stride
        config.append((-first, last + 1 - a.n_in, 0))  # negative: cut off
        step.append(a.stride)
    x = jax.lax.pad(x, jnp.asarray(pad, x.dtype), [*config, (0, 0, 0)])
    return x[:, :: step[1], :: step[2]]


def scatter_window_entries(
    entries: Iterable[tuple[tuple[int, ...], Array]], along: tuple[Window, Window]
) -> Array:
    """The sum of what each place of the windows holds, [B, H′, W′, C] each → [B, H, W, C]."""
    tall, broad = along
    sums: dict[tuple[int, int], Array] = {}
    for (k, m), e in entries:
        (i, r), (j, t) = shift(tall, k), shift(broad, m)
        e = jax.lax.pad(e, jnp.zeros((), e.dtype), [(0, 0, 0), i, j, (0, 0, 0)])
        sums[r, t] = sums[r, t] + e if (r, t) in sums else e
    zero = jnp.zeros_like(next(iter(sums.values())))
    rows = [[sums.get((r, t), zero) for t in range(broad.stride)] for r in range(tall.stride)]
    x = jnp.stack([jnp.stack(row, 3) for row in rows], 2)  # [B, cells, s, cells, s, C]
    x = x.reshape(len(x), cells(tall) * tall.stride, cells(broad) * broad.stride, -1)
    return x[:, : tall.n_in, : broad.n_in]


def cells(a: Window) -> int:
    """How many cells an axis of x has."""
    return -(-a.n_in // a.stride)


def shift(a: Window, k: int) -> tuple[tuple[int, int, int], int]:
    """The padding that moves place k of every window to its cell, and r."""
    q, r = divmod(k - a.low, a.stride)
    return (q, cells(a) - a.n_out - q, 0), r
