"""Tests of fnn.kronecker."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

from benchmarks.mutations.subjects import BLOCKS, LAYERS, point
from fnn.factors import Alone, Outer, Rows, Sum
from fnn.kronecker import (
    Bases,
    Blocks,
    How,
    Kronecker,
    Weights,
    blocks_of,
    blockwise,
    grouped,
    term,
)
from fnn.layer import Layer
from fnn.layers.dense import DenseParams
from fnn.layers.embedding import EmbeddingParams
from fnn.together import Together

SAYING = [s for s in (*LAYERS, *BLOCKS) if type(s.build(1)).factors is not Layer.factors]
S, C = jnp.array([0.5, 0.2, 0.3]), jnp.array([2.0, 0.0, 1.0])
X, D = noise(3, 4, 5), noise(3, 4, 2, seed=2).at[0, 1].set(0).at[2, 3].set(0)
PARAMS = DenseParams(noise(5, 2), noise(2))
FOUND = {"w": Outer(X, D), "b": Sum(D)}


def how(sharing="expand", widest=100):
    return How(sharing, widest, Weights(S, C))


def blocks(found=FOUND, params=PARAMS, bases=None, **options):
    return blocks_of(params, found, how(**options), bases, classes=False)


def by_loops(x, d, sharing):
    """A and G as the docstring defines them, [x, 1] step by step."""
    a = np.concatenate([x, np.ones((*x.shape[:2], 1))], 2)
    rows, columns = np.zeros((a.shape[2],) * 2), np.zeros((d.shape[2],) * 2)
    for b in range(len(a)):
        steps = [t for t in range(a.shape[1]) if np.any(d[b, t] != 0)]
        if sharing == "reduce":
            mean, total = a[b, steps].mean(0), d[b].sum(0)
            rows += S[b] * np.outer(mean, mean)
            columns += C[b] * np.outer(total, total)
            continue
        for t in steps:
            rows += S[b] / len(steps) * np.outer(a[b, t], a[b, t])
            columns += C[b] * np.outer(d[b, t], d[b, t])
    return rows, columns


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_it_is_the_definition_step_by_step(sharing):
    (block,) = blocks(sharing=sharing).kronecker
    rows, columns = by_loops(np.asarray(X), np.asarray(D), sharing)
    np.testing.assert_allclose(block.rows, rows, **EXACT)
    np.testing.assert_allclose(block.columns, columns, **EXACT)
    assert [p.name for p in block.parts] == ["w", "b"]
    (wide,) = blocks(sharing=sharing, widest=3).kronecker  # 5 + 1 is wider, 2 is not
    assert wide.diagonal == (True, False)
    np.testing.assert_allclose(wide.rows, rows.diagonal(), **EXACT)
    np.testing.assert_allclose(wide.columns, columns, **EXACT)


def test_of_one_step_all_examples_count_and_sharing_decides_nothing():
    one = {"w": Outer(X[:, 0], D[:, 1]), "b": Sum(D[:, 1])}  # δ of example 0 is 0
    one["b"] = Sum(one["w"].d)
    for sharing in ("expand", "reduce"):
        (block,) = blocks(one, sharing=sharing).kronecker
        a = np.concatenate([X[:, 0], np.ones((3, 1))], 1)
        np.testing.assert_allclose(block.rows, (a.T * S) @ a, **EXACT)
        np.testing.assert_allclose(block.columns, (D[:, 1].T * C) @ D[:, 1], **EXACT)


def test_rows_of_a_table_are_counted():
    i = jnp.array([[1, 3, 1, 9], [0, 0, 0, 0], [2, 2, -1, 3]])  # 9 and −1 are outside
    d = noise(3, 4, 2, seed=5)
    table = EmbeddingParams(noise(4, 2))
    (block,) = blocks({"table": Rows(i, d, 4)}, table).kronecker
    assert block.diagonal == (True, False)
    want = np.array([0.2, 0.5 * 2 / 3, 0.3 * 2 / 3, 0.5 / 3 + 0.3 / 3])
    np.testing.assert_allclose(block.rows, want, **EXACT)
    inside = np.where(np.asarray((i >= 0) & (i < 4))[..., None], d, 0)
    np.testing.assert_allclose(
        block.columns, np.einsum("b,btn,btm->nm", C, inside, inside), **EXACT
    )


def test_the_steps_of_all_uses_are_steps_of_one():
    x, d = noise(3, 2, 5, seed=6), noise(3, 2, 2, seed=7)
    (block,) = blocks(
        {"w": Together((Outer(X, D), Outer(x, d))), "b": Together((Sum(D), Sum(d)))}
    ).kronecker
    rows, columns = by_loops(np.concatenate([X, x], 1), np.concatenate([D, d], 1), "expand")
    np.testing.assert_allclose(block.rows, rows, **EXACT)
    np.testing.assert_allclose(block.columns, columns, **EXACT)


def test_uses_of_other_units_are_brought_to_one_size_and_keep_the_trace():
    i, e, h, z = jnp.array([[1], [0], [2]]), noise(3, 1, 2), noise(3, 1, 2, seed=3), noise(3, 1, 4)
    first, second = Rows(i, e, 4), Outer(h, z).mT  # a head turned round
    table = EmbeddingParams(noise(4, 2))
    parts = [blocks({"table": f}, table).kronecker[0] for f in (first, second)]
    assert parts[1].diagonal == (False, False)
    np.testing.assert_allclose(parts[1].rows, jnp.einsum("b,btn,btm->nm", C, z, z), **EXACT)
    (both,) = blocks({"table": Together((first, second))}, table).kronecker
    want = sum(float(jnp.trace(p.whole())) for p in parts)
    np.testing.assert_allclose(jnp.trace(both.whole()), want, **EXACT)
    scaled = Together((first, Outer(1e3 * h, z / 1e3).mT))
    (same,) = blocks({"table": scaled}, table).kronecker
    np.testing.assert_allclose(same.whole(), both.whole(), **EXACT)
    doubled = Together((first, first.scaled(jnp.ones(3)), second))
    assert blocks({"table": doubled}, table).kronecker[0].rows.shape == (4,)


def test_what_is_no_sum_of_products_has_the_diagonal():
    found = {"w": Outer(X, D), "b": Alone(noise(3, 2))}
    both = blocks(found)
    assert [p.name for p in both.kronecker[0].parts] == ["w"]
    np.testing.assert_allclose(both.squares["b"], (C[:, None] * noise(3, 2) ** 2).sum(0), **EXACT)


def test_a_matrix_of_gradients_goes_into_its_arrays_again():
    (block,) = blocks().kronecker
    m = block.matrix(PARAMS)
    np.testing.assert_array_equal(m, jnp.concatenate([PARAMS.w, PARAMS.b[None]]))
    back = block.arrays(m)
    np.testing.assert_array_equal(back["w"], PARAMS.w)
    np.testing.assert_array_equal(back["b"], PARAMS.b)
    q = m.reshape(-1)
    want = jnp.trace(m.T @ block.rows @ m @ block.columns)
    np.testing.assert_allclose(q @ block.whole() @ q, want, **EXACT)


def test_the_tree_is_walked_as_params_nest():
    block = Blocks((), {})
    tree = {"a": block, "c": (block, ())}
    params = {"a": 1, "b": jnp.ones(2), "c": (3, jnp.ones(4))}
    found = blockwise(lambda _, p: -p, tree, params)
    assert (found["a"], found["c"][0]) == (-1, -3)
    assert not np.any(found["b"])
    assert not np.any(found["c"][1])


@pytest.mark.parametrize(
    "subject",
    [s if s.name in ("Dense", "LSTM") else pytest.param(s, marks=pytest.mark.slow) for s in SAYING],
    ids=lambda s: s.name,
)
def test_of_every_layer_rows_and_columns_make_the_gradients_of_examples(subject):
    f, params, x, _, _ = point(subject, 1)

    @jax.jit
    def facts(params, x):
        y, cache = f.forward(params, x)
        found, _ = f.factors(params, cache, noise(*y.shape, seed=3))
        n = len(jax.tree.leaves(found)[0])
        c = jnp.arange(1.0, n + 1)
        weights = Weights(jnp.ones(n) / n, c)
        plain = blocks_of(params, found, How("expand", 1000, weights), None, classes=False)
        bases = Bases(tuple(
            tuple(None if d else jnp.linalg.eigh(a)[1]
                  for a, d in zip((k.rows, k.columns), k.diagonal, strict=True))
            for k in plain.kronecker
        ))  # fmt: skip
        turned = blocks_of(params, found, How("expand", 1000, weights), bases, classes=False)
        groups, alone = grouped(found)
        each = {name: e.each() for name, e in found.items()}
        made = [
            sum(jnp.einsum("btn,btm->bnm", *pair)
                for pair in ((vectors(t), t.columns.vectors())
                             for t in map(term, zip(*g.values(), strict=True))))
            for g in groups
        ]  # fmt: skip
        return plain, turned, bases, made, each, alone, c

    plain, turned, bases, made, each, alone, c = facts(params, x)
    assert {p.name for k in plain.kronecker for p in k.parts} | set(alone) == set(each)
    for k, t, m, (q, r) in zip(plain.kronecker, turned.kronecker, made, bases.each, strict=True):
        shaped = {p.name: each[p.name].reshape(-1, *getattr(params, p.name).shape) for p in k.parts}
        rows = [k.matrix(as_params({n: a[b] for n, a in shaped.items()})) for b in range(len(m))]
        np.testing.assert_allclose(m, jnp.stack(rows), **EXACT)
        g = m if q is None else jnp.einsum("nk,bnm->bkm", q, m)
        g = g if r is None else g @ r
        np.testing.assert_allclose(
            t.moments, jnp.einsum("b,bnm->nm", c, g**2), rtol=1e-9, atol=1e-9
        )


def vectors(t):
    ones = jnp.ones((*t.columns.shape[:2], 1))
    parts = ([] if t.rows is None else [t.rows.vectors()]) + [ones] * t.ones
    return jnp.concatenate(parts, 2)


class as_params:  # noqa: N801, a record of arrays by name
    def __init__(self, arrays):
        vars(self).update(arrays)


def test_a_block_is_a_tree_of_its_arrays():
    block = Kronecker(jnp.ones((3, 4, 4)), jnp.ones((3, 2, 2)))
    assert block.copies == 1
    assert len(jax.tree.leaves(block)) == 2
