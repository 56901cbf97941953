"""What is left out reaches no number, whatever it holds: in every layer, loss and rule.

Rows of weight 0 and masked steps hold NaN, ∞ or −∞, in x and in the target, or labels that
cannot be; everything else is bit for bit what it is where they hold zeros.
"""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, noise

import fnn
from benchmarks.mutations.subjects import BLOCKS, LAYERS, LOSSES, NETS, point
from fnn.numerics import is_floating
from fnn.sequence import Sequence, value

JUNK = jnp.array([0.0, jnp.nan, jnp.inf, -jnp.inf])
KEY = jax.random.key(0)
HEAD = "Unembed, LinearSoftmaxCrossEntropy"  # a layer made of a loss: its own test is below
SUBJECTS = {s.name: s for s in (*LAYERS, *BLOCKS, *NETS) if s.name != HEAD}
RULES = (fnn.rules.backprop, fnn.rules.deltas, fnn.rules.example_norms)


def holding(a, out, junk):
    """`a` with junk where `out` is True: in whole numbers, one that no table has."""
    out = out.reshape(out.shape + (1,) * (a.ndim - out.ndim))
    if is_floating(a):
        return jnp.where(out, junk.astype(a.dtype), a)
    return jnp.where(out, jnp.where(junk == 0, 0, 10**6).astype(a.dtype), a)


SLOW, LONG = pytest.mark.slow, pytest.mark.long
WAYS = pytest.mark.parametrize("way", ["jit", pytest.param("eager", marks=LONG)])
LATER = pytest.mark.parametrize(
    "way", [pytest.param("jit", marks=SLOW), pytest.param("eager", marks=LONG)]
)


def check(run, way):
    """run(junk) has the same bits whatever is left out: jitted and vmapped, or eager."""
    found = (
        jax.jit(jax.vmap(run))(JUNK)
        if way == "jit"
        else jax.tree.map(lambda *a: jnp.stack(a), *[run(junk) for junk in JUNK[:2]])
    )
    same = jax.tree.map(lambda a: jnp.broadcast_to(a[:1], a.shape), found)
    chex.assert_trees_all_equal(found, same)
    for a in jax.tree.leaves(found):
        assert np.isfinite(a).all()


def rules(net, loss):
    """Those that the net and the loss take."""
    return RULES[:2] if net.mixes_examples or loss.mixes_examples else RULES


def folded(net, loss, params, x, target, **options):
    """All numbers of a fold."""
    done = fnn.fold(net, loss, params, x, target, rule=rules(net, loss), **options)
    moves = all(is_floating(a) for a in jax.tree.leaves(value(x)))  # tokens have no dx
    return done.loss, done.result, done.losses, value(done.dx) if moves else None


@LATER
@pytest.mark.parametrize("name", SUBJECTS)
def test_rows_of_weight_0(name, way):
    net, params, x, _, key = point(SUBJECTS[name], 1)
    x = jnp.concatenate([x, x[::-1]])
    y = jax.eval_shape(lambda p, x: net.forward(p, x, key=key)[0], params, x)
    target, out = noise(*y.shape), jnp.arange(len(x)) == 1

    def run(junk):
        given = holding(x, out, junk), holding(target, out, junk)
        return folded(
            net, fnn.SquaredError(), params, *given, key=key, weights=(~out).astype(float)
        )

    check(run, way)


OVER_TIME = [n for n, s in SUBJECTS.items() if getattr(s.build(1), "sequences", "") != "refused"]


@LATER
@pytest.mark.parametrize("name", OVER_TIME)
def test_masked_steps(name, way):
    net, params, x, _, key = point(SUBJECTS[name], 1)
    x = jnp.resize(x, (2, 5, *(x.shape[2:] or x.shape[1:]))) if is_floating(x) else x[:2]
    mask = MASK[:, : x.shape[1]]
    y = jax.eval_shape(lambda p, x: net.forward(p, x, key=key)[0], params, Sequence(x, mask))
    target = noise(*value(y).shape)

    def run(junk):
        steps = Sequence(holding(x, ~mask, junk), mask)
        goal = holding(target, ~mask, junk) if isinstance(y, Sequence) else target
        return folded(net, fnn.SquaredError(), params, steps, goal, key=key)

    check(run, way)


@WAYS
@pytest.mark.parametrize("subject", LOSSES, ids=lambda s: s.name)
def test_losses(subject, way):
    loss, _, y, target, _ = point(subject, 1)
    out = jnp.arange(len(y)) == 1

    def run(junk):
        given = holding(y, out, junk), holding(target, out, junk)
        return folded(fnn.Identity(), loss, (), *given, weights=(~out).astype(float))

    check(run, way)
