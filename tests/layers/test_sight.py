"""Tests of fnn.layers.sight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn.layers.sight import Sight, Tiles

N_ROWS, N_KEYS, CHUNK = 5, 7, 2
KEYS = jnp.array([1, 0, 1, 1, 1, 0, 1], bool)
PAIRS = jax.random.bernoulli(jax.random.key(0), shape=(N_ROWS, N_KEYS))
SIGHTS = {
    "all": Sight(),
    "causal": Sight(True, ahead=2),
    "window": Sight(window=2, ahead=1),
    "causal, window": Sight(True, 3, ahead=3),
    "nobody is near": Sight(True, 1, ahead=20),
    "keys": Sight(True, keys=KEYS, ahead=2),
    "pairs": Sight(window=4, keys=KEYS, pairs=PAIRS),
}


def seen(sight):
    """Who sees whom, by the definition, [T, S]."""
    found = np.ones((N_ROWS, N_KEYS), bool)
    for t, s in np.ndindex(*found.shape):
        d = sight.ahead + t - s
        found[t, s] = not (sight.causal and d < 0) and abs(d) < (sight.window or np.inf)
        found[t, s] &= sight.keys is None or bool(sight.keys[s])
        found[t, s] &= sight.pairs is None or bool(sight.pairs[t, s])
    return found


@pytest.mark.parametrize("name", SIGHTS)
def test_tiles_together_are_who_sees_whom_and_none_is_left_out(name):
    sight, tiles = SIGHTS[name], Tiles.of(N_ROWS, N_KEYS, CHUNK)
    cut, counts = tiles.cut(sight), tiles.counts

    @jax.jit
    def looked(i):
        def tile(j):
            visible = tiles.at(cut, i, j).visible(CHUNK, CHUNK)
            visible = jnp.ones((CHUNK, CHUNK), bool) if visible is None else visible
            return jnp.broadcast_to(visible, (CHUNK, CHUNK)), jnp.array(1)

        def add(found, more, j):
            here = found[0].at[:, j].set(more[0], mode="drop")
            return here, found[1].at[j].add(more[1], mode="drop")

        none = jnp.zeros((CHUNK, counts[1], CHUNK), bool), jnp.zeros(counts[1], int)
        return tiles.over_keys(tile, add, none, sight, i)

    found, times = map(np.stack, zip(*map(looked, range(counts[0])), strict=True))
    whole = found.reshape(counts[0] * CHUNK, -1)
    want = np.pad(seen(sight), ((0, 1), (0, 1)))
    np.testing.assert_array_equal(whole, want)
    near = seen(sight._replace(keys=None, pairs=None))
    near = np.pad(near, ((0, 1), (0, 1))).reshape(*counts[:1], CHUNK, counts[1], CHUNK)
    assert (times >= near.any((1, 3))).all()
    assert times.max() <= 1
    if name == "causal, window":
        assert times.sum() < times.size


@pytest.mark.parametrize("name", SIGHTS)
def test_rows_that_see_a_bad_key_are_found(name):
    sight = SIGHTS[name]
    for s in range(N_KEYS):
        bad = jnp.arange(N_KEYS) == s
        np.testing.assert_array_equal(sight.sees_one_of(bad, N_ROWS), seen(sight)[:, s])


def test_tiles_are_few_and_of_one_size():
    assert Tiles.of(129, 300, 128) == (129, 300, 65, 100)
    assert Tiles.of(128, 1, 128) == (128, 1, 128, 1)
    assert Tiles.of(5, 7, None) == (5, 7, 5, 7)
