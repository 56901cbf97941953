"""Tests of fnn.rules.fisher."""

import pickle
from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.kronecker import Bases, Blocks, is_blocks
from fnn.rules import kfac

KEY = jax.random.key(0)
LOSS = fnn.SoftmaxCrossEntropy()
TOKENS = jax.random.randint(KEY, (5, 6), 0, 7)
LABELS = jax.random.randint(jax.random.key(1), (5, 6), 0, 7)
LEARNING = replace(kfac(), companion=True, learns=True)
fold = jax.jit(fnn.fold)


def mlp(params, probes, x):
    """A perceptron whose δ are the derivatives of the probes, and what its weights multiply."""
    h = jnp.tanh(x @ params[0].w + params[0].b + probes[0])
    return h @ params[2].w + params[2].b + probes[1], (x, h)


def definition(params, x, target, s):
    """A and G of both layers, by jax.vmap of jax.grad."""

    def value(probes, x, target):
        y, inputs = mlp(params, probes, x)
        return -jax.nn.log_softmax(y)[target], inputs

    def deltas(x, target):
        zeros = [jnp.zeros_like(params[i].b) for i in (0, 2)]
        return jax.grad(value, has_aux=True)(zeros, x, target)

    ds, inputs = jax.vmap(deltas)(x, target)
    ones = jnp.ones((len(x), 1))
    tops = [jnp.concatenate([a, ones], 1) for a in inputs]
    return [(jnp.einsum("b,bn,bm->nm", s, a, a), jnp.einsum("b,bn,bm->nm", s, d, d))
            for a, d in zip(tops, ds, strict=True)]  # fmt: skip


def test_factors_are_those_of_the_definition_whatever_rules_are_beside():
    net = fnn.mlp([3, 4, 7], fnn.Tanh())
    params, x, target = net.init(KEY), noise(5, 3), LABELS[:, 0]
    weights = jnp.array([1.0, 0.5, 0.0, 2.0, 1.0])
    want = definition(params, x, target, weights / weights.sum())
    x = x.at[2].set(jnp.nan)  # left out, whatever it holds
    rules = kfac(), (fnn.rules.backprop, kfac("reduce")), LEARNING.given(())
    done = [fold(net, LOSS, params, x, target, rule=rule, weights=weights) for rule in rules]
    for found in (done[0].result, done[1].result[1], done[2].companion):
        assert found[1] == ()
        for blocks, (rows, columns) in zip(found[::2], want, strict=True):
            np.testing.assert_allclose(blocks.kronecker[0].rows, rows, **EXACT)
            np.testing.assert_allclose(blocks.kronecker[0].columns, columns, **EXACT)
    chex.assert_trees_all_close(done[2].result, done[1].result[0], **EXACT)


def lstm_alone():
    return fnn.Serial(fnn.LSTM(3, 4), fnn.Dense(4, 7))


@pytest.mark.slow
def test_steps_and_their_sharing_by_jax_grad_at_every_step():
    net = lstm_alone()
    params, x = net.init(KEY), noise(5, 6, 3)
    p, head = params

    def value(probes, x, target):
        def step(carry, inputs):
            h, c = carry
            x, e = inputs
            i, f, g, o = jnp.split(x @ p.wx + h @ p.wh + p.b + e, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            made = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (made, c), (h, made)

        none = jnp.zeros(4)
        _, (h, y) = jax.lax.scan(step, (none, none), (x, probes))
        z = jax.nn.log_softmax(y @ head.w + head.b)
        return -z[jnp.arange(6), target].mean(), jnp.concatenate([h, x, jnp.ones((6, 1))], 1)

    @jax.jit
    def definition(x, target):
        grad = jax.vmap(jax.grad(value, has_aux=True), (None, 0, 0))
        d, a = grad(jnp.zeros((6, 16)), x, target)
        expand = jnp.einsum("btn,btm->nm", a, a) / 30, jnp.einsum("btn,btm->nm", d, d) / 5
        a, d = a.mean(1), d.sum(1)
        return expand, (a.T @ a / 5, d.T @ d / 5)

    for sharing, (rows, columns) in zip(("expand", "reduce"), definition(x, LABELS), strict=True):
        found = fold(net, LOSS, params, x, LABELS, rule=kfac(sharing)).result
        (block,) = found[0].kronecker  # wh, wx and b multiply the same δ
        assert [part.name for part in block.parts] == ["wh", "wx", "b"]
        np.testing.assert_allclose(block.rows, rows, **EXACT)
        np.testing.assert_allclose(block.columns, columns, **EXACT)


NETS = {
    "mlp": (fnn.mlp([3, 4, 7]), noise(5, 3), LABELS[:, 0]),
    "cnn": (
        fnn.Serial(fnn.Conv2d(2, 3, (2, 3)), fnn.Tanh(), fnn.Flatten(), fnn.Dense(36, 7)),
        noise(5, 4, 6, 2),
        LABELS[:, 0],
    ),
    "norm": (fnn.Serial(fnn.LayerNorm(3), fnn.Dense(3, 7)), noise(5, 3), LABELS[:, 0]),
    "gpt": (fnn.gpt(7, 4, 2, 2, 6, recompute=True), TOKENS, LABELS),
    "tied": (fnn.gpt(7, 4, 2, 1, 6, tied=True), TOKENS, LABELS),
    "both ways": (
        fnn.Serial(fnn.Bidirectional.of(fnn.GRU(3, 4)), fnn.Last(), fnn.Dense(8, 7)),
        noise(5, 6, 3),
        LABELS[:, 0],
    ),
}


def each_block(f, blocks):
    """Bases by f of every side, nested as blocks."""

    def layer(b):
        return Bases(tuple(
            tuple(None if d else f(a)
                  for a, d in zip((k.rows, k.columns), k.diagonal, strict=True))
            for k in b.kronecker
        ))  # fmt: skip

    return jax.tree.map(layer, blocks, is_leaf=is_blocks)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [n if n in ("mlp", "norm") else pytest.param(n, marks=pytest.mark.slow) for n in NETS]
)
def test_moments_and_diagonals_are_those_of_the_gradients_of_all_examples(name):
    net, x, target = NETS[name]
    params = net.init(KEY)
    weights = jnp.array([1.0, 0.5, 0.0, 2.0, 1.0])

    @jax.jit
    def facts(params):
        blocks = fnn.fold(net, LOSS, params, x, target, rule=kfac(), weights=weights).result
        bases = each_block(lambda a: jnp.linalg.eigh(a)[1], blocks)
        rule = LEARNING.given(bases)
        done = fnn.fold(net, LOSS, params, x, target, rule=rule, weights=weights)
        single = [fnn.value_and_grad(net, LOSS, params, x[b : b + 1], target[b : b + 1])[1]
                  for b in range(5)]  # fmt: skip
        return done.companion, bases, done.result, single

    blocks, bases, gradient, single = facts(params)
    s = weights / weights.sum()
    want = jax.tree.map(lambda *g: sum(x * y for x, y in zip(s, g, strict=True)), *single)
    chex.assert_trees_all_close(gradient, want, rtol=1e-9, atol=1e-10)
    layers = jax.tree.leaves(blocks, is_leaf=is_blocks)
    held = jax.tree.structure(blocks, is_leaf=is_blocks)
    each = [held.flatten_up_to(g) for g in single]
    sides = held.flatten_up_to(bases)
    for i, found in enumerate(layers):
        check_layer(found, sides[i], [g[i] for g in each], s)


def check_layer(found, bases, grads, s):
    """Against the gradients of single examples."""
    names = {p.name for k in found.kronecker for p in k.parts}
    if not names and not isinstance(found.squares, dict):
        rest = found.squares, grads
    else:
        rest = found.squares, [{n: getattr(g, n) for n in found.squares} for g in grads]
    squares = jax.tree.map(lambda *g: sum(w * a**2 for w, a in zip(s, g, strict=True)), *rest[1])
    chex.assert_trees_all_close(rest[0], squares, rtol=1e-9, atol=1e-12)
    for k, (q, r) in zip(found.kronecker, bases.each, strict=True):

        def turned(g, q=q, r=r, k=k):
            def one(g, q, r, k):
                m = k.matrix(g)
                m = m if q is None else q.T @ m
                return m if r is None else m @ r

            for _ in range(k.copies):
                one = jax.vmap(one)
            return one(g, q, r, k)

        want = sum(w * turned(g) ** 2 for w, g in zip(s, grads, strict=True))
        np.testing.assert_allclose(k.moments, want, rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_what_is_masked_or_ignored_changes_nothing():
    net = fnn.Serial(fnn.Embedding(7, 3), fnn.LSTM(3, 4), fnn.Dense(4, 7))
    params = net.init(KEY)
    want = fold(net, LOSS, params, TOKENS[:, :4], LABELS[:, :4], rule=kfac()).result
    mask = jnp.broadcast_to(jnp.arange(6) < 4, (5, 6))
    masked = fold(net, LOSS, params, fnn.Sequence(TOKENS, mask), LABELS, rule=kfac()).result
    chex.assert_trees_all_close(masked, want, **EXACT)
    weights = mask.astype(float)
    ignored = fold(net, LOSS, params, TOKENS, LABELS, rule=kfac(), weights=weights).result
    chex.assert_trees_all_close(ignored, want, **EXACT)


@dataclass(frozen=True)
class Gate(fnn.Composite):
    """y = a(x) + b(x), a user's."""

    a: fnn.Layer
    b: fnn.Layer

    def forward(self, params, x, *, key=None):
        f = fnn.Forth(self, params, x, key)
        (a, ca), (b, cb) = f("a", x), f("b", x)
        return f.end(a + b), (ca, cb)

    def backward_with(self, rule, params, cache, dy):
        f = fnn.Back(self, rule, params, dy)
        return f.end(f("a", cache[0], dy) + f("b", cache[1], dy))


def test_every_container_gives_the_factors_of_its_layers():
    dense = fnn.Dense(3, 3)
    flat = fnn.Serial(dense, fnn.Tanh(), dense, fnn.Tanh(), fnn.Dense(3, 7))
    first, _, second, _, head = flat.init(KEY)
    x, target = noise(5, 3), LABELS[:, 0]
    want = fold(flat, LOSS, (first, (), second, (), head), x, target, rule=LEARNING.given(()))
    block = fnn.Serial(dense, fnn.Tanh())
    inner = fnn.Recompute(fnn.Cast(block, "float64"))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), (first, ()), (second, ()))
    net = fnn.Serial(fnn.Repeat(2, inner), Gate(fnn.Dense(3, 7), fnn.Frozen(fnn.Dense(3, 7))))
    nothing = jax.tree.map(jnp.zeros_like, head)
    params = stacked, {"a": head, "b": fnn.FrozenParams(nothing)}
    found = fold(net, LOSS, params, x, target, rule=LEARNING.given(()))
    old, new = want.companion, found.companion
    chex.assert_trees_all_close(
        new[0][0], jax.tree.map(lambda *a: jnp.stack(a), old[0], old[2]), **EXACT
    )
    chex.assert_trees_all_close(new[1]["a"], old[4], **EXACT)
    assert "b" not in new[1]
    chex.assert_trees_all_close(found.result[1]["a"], want.result[4], **EXACT)
    assert not np.any(found.result[1]["b"].inner.w)


def test_a_head_of_classes_has_a_diagonal_side():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Unembed(4, 7))
    plain = fnn.Serial(fnn.Dense(3, 4), fnn.Dense(4, 7, bias=False))
    params, target = net.init(KEY), LABELS[:, 0]
    x = noise(5, 3)
    loss = fnn.LinearSoftmaxCrossEntropy()
    found = fold(net, loss, params, x, target, rule=kfac()).result[1].kronecker[0]
    same = params[0], fnn.DenseParams(params[1].w, None)
    want = fold(plain, LOSS, same, x, target, rule=kfac()).result[1].kronecker[0]
    assert found.diagonal == (False, True)
    np.testing.assert_allclose(found.rows, want.rows, **EXACT)
    np.testing.assert_allclose(found.columns, want.columns.diagonal(), **EXACT)


def test_it_is_static_and_pickles():
    assert kfac("reduce", 7) == kfac("reduce", 7) != kfac()
    assert pickle.loads(pickle.dumps(kfac("reduce", 7))) == kfac("reduce", 7)
    assert isinstance(fnn.rules.kfac()(fnn.Dense(3, 2), *alone())[0], Blocks)


def alone():
    params = fnn.Dense(3, 2).init(KEY)
    return params, fnn.Dense(3, 2).forward(params, noise(5, 3))[1], noise(5, 2)


def test_errors():
    with pytest.raises(ValueError, match='kfac: sharing must be "expand" or "reduce", got'):
        kfac("sum")
    with pytest.raises(ValueError, match="kfac: widest must be at least 1, got 0"):
        kfac(widest=0)
    mixing = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 7))
    with pytest.raises(NotImplementedError, match=r"layer 0, BatchNorm.*: nothing per example"):
        fold(mixing, LOSS, mixing.init(KEY), noise(5, 3), LABELS[:, 0], rule=kfac())
    pairs = fnn.InfoNCE()
    params, x = fnn.Dense(3, 2).init(KEY), noise(4, 2, 3)
    with pytest.raises(NotImplementedError, match=r"InfoNCE.*: nothing per example"):
        fold(fnn.Dense(3, 2), pairs, params, x, jnp.zeros(4), rule=kfac())
