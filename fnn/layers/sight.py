"""Who sees whom in attention, tile by tile.

    visible[t,s] = s ≤ t if causal  and  |t − s| < window  and  keys[s]  and  pairs[t,s]

Rows t and keys s are cut into tiles of one size; what fills up the last of them neither sees nor is
seen. `Tiles.over_keys` runs over the tiles of some rows, and passes over those of which no row is
near enough to see any key.

Source: Vaswani et al. (2017), arXiv:1706.03762, section 3.2.3; Beltagy, Peters & Cohan (2020),
arXiv:2004.05150, section 3.1, for windows.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.layers.distances import diagonals
from fnn.loops import scan
from fnn.records import Array, PyTree


class Sight(NamedTuple):
    """What a position t may see of the positions s: all that is nowhere excluded."""

    causal: bool = False  # s ≤ t
    window: int | None = None  # |t − s| < window
    keys: Array | None = None  # [B, S]
    pairs: Array | None = None  # [B, T, S]
    a: Array | None = None  # added to scores by distance 1 − n ... n − 1, [H, G, 2 n − 1], n ≥ T, S
    ahead: Any = 0  # t − s of the first position and the first key
    rows: Array | None = None  # which positions there are, [T]

    @property
    def reach(self) -> tuple[int | None, int | None]:
        """How far a position sees back and ahead; None: as far as there is anything."""
        far = None if self.window is None else self.window - 1
        return far, 0 if self.causal else far

    def visible(self, n_rows: int, n_keys: int) -> Array | None:
        """Which keys of one sequence its rows may see, [n_rows or 1, n_keys]; None: all."""
        allowed = [] if self.keys is None else [self.keys[None]]
        allowed += [] if self.rows is None else [self.rows[:, None]]
        allowed += [] if self.pairs is None else [self.pairs]
        behind = self.ahead + jnp.arange(n_rows)[:, None] - jnp.arange(n_keys)  # t − s
        for reach, distance in zip(self.reach, (behind, -behind), strict=True):
            allowed += [] if reach is None else [distance <= reach]
        return functools.reduce(jnp.logical_and, allowed) if allowed else None

    def sees_one_of(self, bad: Array, n_rows: int) -> Array:
        """Which rows of one sequence may see one of the bad keys [S], [n_rows]."""
        if self.pairs is not None:
            seen: Any = self.visible(n_rows, len(bad))
            return (bad & seen).any(-1)
        bad = bad if self.keys is None else bad & self.keys
        t, (back, on), n = self.ahead + jnp.arange(n_rows), self.reach, len(bad)
        end = jnp.full(n_rows, n) if on is None else jnp.clip(t + on + 1, 0, n)  # of what it sees
        if back is None:
            return jnp.where(bad.any(), jnp.argmax(bad), n) < end
        before = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(bad)])  # bad ones before a key
        return before[end] > before[jnp.clip(t - back, 0, n)]


class Tiles(NamedTuple):
    """The sizes of rows and keys, and of a tile of them."""

    n_rows: int
    n_keys: int
    rows: int
    keys: int

    @staticmethod
    def of(n_rows: int, n_keys: int, chunk: int | None) -> "Tiles":
        """As few of at most `chunk` rows and keys as there can be, of about one size; None: one."""
        sizes = (n if chunk is None else -(-n // -(-n // chunk)) for n in (n_rows, n_keys))
        return Tiles(n_rows, n_keys, *sizes)

    @property
    def counts(self) -> tuple[int, int]:
        """How many tiles there are along rows and keys."""
        return -(-self.n_rows // self.rows), -(-self.n_keys // self.keys)

    def of_keys(self, a: Array) -> Array:
        """[S, ...] → [tiles, keys, ...]."""
        return split(a, 0, self.keys)

    def cut(self, sight: Sight) -> Sight:
        """Its masks in tiles, of what fills up one, too."""
        keys, rows, pairs = sight.keys, None, sight.pairs
        if self.n_keys % self.keys and keys is None:
            keys = jnp.ones(self.n_keys, bool)
        if self.n_rows % self.rows:
            rows = split(jnp.ones(self.n_rows, bool), 0, self.rows)
        if pairs is not None:
            pairs = jnp.moveaxis(split(split(pairs, 1, self.keys), 0, self.rows), 2, 1)
        return sight._replace(
            keys=None if keys is None else self.of_keys(keys), rows=rows, pairs=pairs
        )

    def at(self, cut: Sight, i: Any, j: Any) -> Sight:
        """That of tile (i, j); a of its diagonals, [G, rows + keys]."""
        keys, rows, pairs = (
            None if a is None else a[at]
            for a, at in ((cut.keys, j), (cut.rows, i), (cut.pairs, (i, j)))
        )
        a = None if cut.a is None else cut.a[:, self.diagonals(cut, i, j)]
        return cut._replace(keys=keys, rows=rows, pairs=pairs, a=a, ahead=self.ahead(cut, i, j))

    def ahead(self, sight: Sight, i: Any, j: Any) -> Any:
        """t − s of the corner of a tile."""
        return sight.ahead + i * self.rows - j * self.keys

    def diagonals(self, sight: Sight, i: Any, j: Any) -> Array:
        """The places of a tile's diagonals in a."""
        assert sight.a is not None
        length = (sight.a.shape[-1] + 1) // 2
        return diagonals(self.ahead(sight, i, j), self.rows, self.keys, length)

    def over_rows(self, f: Callable[..., Any], carry: PyTree, *arrays: Array) -> Any:
        """f(carry, (i, *parts)) → (carry, results) of all parts of rows; arrays [G, T, ...]."""
        if self.counts[0] == 1:
            return f(carry, (0, *arrays))
        parts = [jnp.moveaxis(split(a, 1, self.rows), 1, 0) for a in arrays]
        carry, found = scan(f, carry, (jnp.arange(self.counts[0]), *parts))
        return carry, jax.tree.map(self.whole, found)

    def whole(self, a: Array) -> Array:
        """[tiles, G, rows, ...] → [G, T, ...]."""
        a = jnp.moveaxis(a, 0, 1)
        return a.reshape(len(a), -1, *a.shape[3:])[:, : self.n_rows]

    def over_keys(
        self, tile: Callable[..., PyTree], add: Callable[..., PyTree], carry: PyTree,
        sight: Sight, i: Any,
    ) -> PyTree:  # fmt: skip
        """add(carry, tile(j), j) for the tiles j that rows i may see; tile is 0 where it is not."""
        n, (back, on) = self.counts[1], sight.reach
        if n == 1:
            return add(carry, tile(0), 0)
        first, reach = 0, n
        if back is not None and on is not None:
            first = jnp.maximum((sight.ahead + i * self.rows - back) // self.keys, 0)
            reach = min(n, (self.rows + back + on - 2) // self.keys + 2)
        nothing = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(tile, 0))

        def step(carry, j):
            if on is None:
                return add(carry, tile(j), j), None
            found = jax.lax.cond(self.near(sight, i, j), tile, lambda _: nothing, j)
            return add(carry, found, j), None

        return jax.lax.scan(step, carry, first + jnp.arange(reach))[0]

    def near(self, sight: Sight, i: Any, j: Any) -> Any:
        """Whether a row of tile (i, j) is near enough to one of its keys."""
        ahead, (back, on) = self.ahead(sight, i, j), sight.reach
        near = j < self.counts[1]
        near &= True if on is None else -(ahead + self.rows - 1) <= on
        return near & (True if back is None else ahead - (self.keys - 1) <= back)


def split(a: Array, axis: int, size: int) -> Array:
    """An axis in parts of this size, the last filled up with 0."""
    more = [(0, -n % size if i == axis else 0) for i, n in enumerate(a.shape)]
    a = jnp.pad(a, more)
    return a.reshape(*a.shape[:axis], -1, size, *a.shape[axis + 1 :])
