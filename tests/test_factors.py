"""Tests of fnn.factors."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

from benchmarks.mutations.subjects import BLOCKS, LAYERS, point
from fnn.factors import Alone, Outer, Rows, Sum, summed
from fnn.layer import Layer
from fnn.rules.per_example import one_by_one
from fnn.together import Together

C = jnp.array([2.0, 0.0, -1.0])
I = jnp.array([[1, 4, 1, 0], [2, 2, 2, 2], [9, 3, 4, -1]])  # 9 and −1 are outside
KINDS = {
    "outer, Gram": Outer(noise(3, 2, 5), noise(3, 2, 7, seed=2)),
    "outer, formed": Outer(noise(3, 4, 2), noise(3, 4, 5, seed=2)),
    "outer, one step": Outer(noise(3, 5), noise(3, 7, seed=2)),
    "outer, places": Outer(noise(3, 2, 2, 5), noise(3, 2, 2, 7, seed=2)),
    "sum": Sum(noise(3, 4, 5)),
    "rows": Rows(I, noise(3, 4, 5), 6),
    "alone": Alone(noise(3, 4, 5)),
    "together": Together(
        (Rows(I, noise(3, 4, 5), 6), Outer(noise(3, 2, 6), noise(3, 2, 5, seed=4)))
    ),
    "together, of a kind": Together(
        (Outer(noise(3, 2, 6), noise(3, 2, 5)), Outer(noise(3, 4, 6), noise(3, 4, 5, seed=4)))
    ),
}


@pytest.mark.parametrize("name", KINDS)
def test_all_is_said_of_the_gradients_of_examples(name):
    f = KINDS[name]
    g = f.each()
    np.testing.assert_allclose(f.gradient(), g.sum(0), **EXACT)
    np.testing.assert_allclose(f.square_norms(), (g**2).reshape(3, -1).sum(1), **EXACT)
    flat = g.reshape(3, -1)
    np.testing.assert_allclose(f.products(), flat @ flat.T, **EXACT)
    c = C.reshape(3, *(1,) * (g.ndim - 1))
    np.testing.assert_allclose(f.squares(C), (c * g**2).sum(0), **EXACT)
    v = noise(*g.shape[1:], seed=5)
    np.testing.assert_allclose(f.slopes(v), (g * v).reshape(3, -1).sum(1), **EXACT)
    if g.ndim > 2:
        np.testing.assert_allclose(f.mT.each(), g.mT, **EXACT)
    scaled = c * g
    np.testing.assert_allclose(f.scaled(C).each(), scaled, **EXACT)
    norms = jnp.sqrt(f.square_norms())
    assert (f.size() > norms * (1 - 1e-12)).all()
    if name in ("outer, one step", "alone"):
        np.testing.assert_allclose(f.size(), norms, **EXACT)
    for h in (f, f.formed()):
        np.testing.assert_allclose(h.each(), g, **EXACT)
        for finite in (True, False):
            np.testing.assert_allclose(h.weighed(C, jnp.array(finite)), scaled.sum(0), **EXACT)


@pytest.mark.parametrize("name", [n for n in KINDS if n not in ("rows", "together")])
def test_what_has_the_factor_0_is_left_out_whatever_stands_there(name):
    broken = jax.tree.map(lambda a: a.at[1].set(jnp.nan), KINDS[name])
    got, want = broken.scaled(C), KINDS[name].scaled(C)
    np.testing.assert_array_equal(got.gradient(), want.gradient())
    np.testing.assert_array_equal(broken.squares(C), KINDS[name].squares(C))
    for f in (broken, broken.formed()):
        np.testing.assert_allclose(f.weighed(C, jnp.array(False)), want.gradient(), **EXACT)


def test_what_is_formed_takes_at_most_twice_the_memory_of_its_factors():
    for n, kind in ((1, Outer), (3, Outer), (4, Alone)):  # 10 · 18 ≤ 2 n (10 + 18) from n = 4
        f = Outer(noise(3, n, 10), noise(3, n, 18, seed=2))
        assert type(f.formed()) is kind


def test_what_is_turned_knows_which_side_the_cotangents_are():
    f = KINDS["outer, Gram"]
    for turned, flipped in ((f, False), (f.mT, True), (f.mT.mT, False)):
        sides = turned.sides()
        assert sides.flipped == flipped
        of_cotangents = sides.rows if flipped else sides.columns
        np.testing.assert_array_equal(of_cotangents.vectors(), f.d)


def test_by_hand():
    a, d = jnp.array([[[1.0, 2.0], [3.0, 4.0]]]), jnp.array([[[5.0], [6.0]]])
    np.testing.assert_array_equal(Outer(a, d).each(), [[[5 + 18], [10 + 24]]])
    np.testing.assert_array_equal(Outer(a, d).square_norms(), [23**2 + 34**2])
    np.testing.assert_array_equal(Sum(d).square_norms(), [121])
    i = jnp.array([[2, 2]])
    np.testing.assert_array_equal(Rows(i, d, 3).each(), [[[0], [0], [11]]])


SAYING = [s for s in (*LAYERS, *BLOCKS) if type(s.build(1)).factors is not Layer.factors]


@pytest.mark.parametrize("subject", SAYING, ids=lambda s: s.name)
def test_factors_are_the_gradients_of_examples_and_their_sum_is_the_gradient(subject):
    f, params, x, _, _ = point(subject, 1)

    @jax.jit
    def facts(params, x):
        y, cache = f.forward(params, x)
        dy = noise(*y.shape, seed=3)
        found, dx = f.factors(params, cache, dy)
        backward = f.backward(params, cache, dy)
        alone = one_by_one(f, params, cache, dy)
        told = {}
        for name, e in found.items():
            v = jnp.cos(getattr(params, name))
            told[name] = e.each(), e.square_norms(), e.slopes(v), e.products()
        return (summed(found, params), dx), backward, told, alone

    found, backward, told, alone = facts(params, x)
    chex.assert_trees_all_close(found, backward, **EXACT)
    for name, (each, squares, slopes, products) in told.items():
        g = getattr(alone, name).g
        np.testing.assert_allclose(each.reshape(g.shape), g, **EXACT)
        flat, v = g.reshape(len(g), -1), jnp.cos(getattr(params, name)).reshape(-1)
        np.testing.assert_allclose(squares, (flat**2).sum(1), **EXACT)
        np.testing.assert_allclose(slopes, flat @ v, **EXACT)
        np.testing.assert_allclose(products, flat @ flat.T, **EXACT)
