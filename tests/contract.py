"""What must hold for every layer and every loss.

Each block's test file calls check_layer or check_loss. `fnn.check` judges the derivative,
as it does for everybody: there is one oracle. What else the contracts of fnn.layer and
fnn.loss promise stands here: static records, one trace, dtypes, caches with the batch
first, a backward that can itself be differentiated, rows that are left out. A layer that
takes Sequences calls check_sequence, too. Choose sizes that differ pairwise, so that a
transposed or a wrong axis cannot fit.
"""

import functools
import pickle
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.composite import Composite
from fnn.layer import Layer
from fnn.loss import present
from fnn.mean import mean
from fnn.numerics import cast, is_floating, wide
from fnn.ruling import backprop
from fnn.sequence import Sequence, add, lift, mask_of, renewed, select, state_of, value

EXACT = {"rtol": 1e-10, "atol": 1e-12}
QUICK = {"xla_backend_optimization_level": 0}  # to compile
ROUGH = ("float32", "bfloat16")
MASK = jnp.array([[True, True, False, True, False], [False, True, True, False, True]])


def some(cases, nth):
    """Every nth case for CI, all of them before a release."""
    return [
        pytest.param(c, marks=pytest.mark.long if i % nth else pytest.mark.slow)
        for i, c in enumerate(cases)
    ]


def every(program):
    """The equations of a program, those inside of others too."""
    for e in program.eqns:
        yield e
        for inside in jax.tree.leaves(e.params, is_leaf=lambda p: hasattr(p, "eqns")):
            if hasattr(inside, "eqns"):
                yield from every(inside)


def once(f, *args):
    """f(*args), in one program: compiling every operation by itself costs far more."""
    return jax.jit(f, compiler_options=QUICK)(*args)


def by_two_ways(layer, params, x, forward=None):
    """y, grads and dx, by the layer and by jax of `forward`, by default the layer's own."""

    def f(params, x):
        return layer.forward(params, x)[0]

    y, vjp = jax.vjp(forward or f, params, x)
    dy = noise(*y.shape, seed=2)
    own, cache = layer.forward(params, x)
    return (own, *layer.backward(params, cache, dy)), (y, *vjp(dy))


def noise(*shape, seed=1):
    """Normal numbers of this shape, in float64."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


def states(*sizes, seed=3):
    """A state of these sizes for the two sequences of MASK."""
    return tuple(noise(2, n, seed=seed + i) for i, n in enumerate(sizes))


def check_layer(layer, x, *, key=None, keeps_dtype=True):
    """Check the contract of fnn.layer for `layer` at the float64 input `x` [B, ...]."""
    params = layer.init(jax.random.key(0))
    report = fnn.check(layer, x, params=params, key=key)
    report.raise_if_wrong()
    assert {*ROUGH, "vmap"} <= {*report.cases}
    y, cache = layer.forward(params, x, key=key)
    dy = jax.tree.map(lambda a: noise(*a.shape), y)
    grads, dx = backprop(layer, params, cache, dy)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, x))

    facts = traced_once(layer, layer_facts, (params, x, dy, key))
    chex.assert_trees_all_close(*facts["second"], **EXACT)
    for dtype in ROUGH:
        assert all(a.dtype == dtype for a in jax.tree.leaves(facts[dtype])) or not keeps_dtype
    if facts["caches"] and not isinstance(layer, Composite):
        stacked = jax.tree.map(joined, *facts["caches"])
        chex.assert_trees_all_close(stacked, cache, **EXACT)


def joined(first, rest):
    """Two parts of a batch as one; the batch is the first axis."""
    assert first.shape[1:] == rest.shape[1:]
    return np.concatenate([first, rest])


def check_net(net, x):
    """Check that a whole net's gradient is that of jax; its layers are checked each by itself."""
    params = moved(net.init(jax.random.key(0)))

    def both(params, x):
        y, cache = net.forward(params, x)
        dy = noise(*y.shape)
        want = jax.vjp(lambda params, x: net.forward(params, x)[0], params, x)[1](dy)
        return backprop(net, params, cache, dy), want

    found, want = jax.jit(both, compiler_options=QUICK)(params, x)
    chex.assert_trees_all_close(found, want, rtol=1e-9, atol=1e-11)


def layer_facts(layer, params, x, dy, key):
    """The backward's own derivative by two ways, caches of parts, y in lower precision."""

    def f(params, x):
        return layer.forward(params, x, key=key)[0]

    def gradient(params, x):
        return layer.backward(params, layer.forward(params, x, key=key)[1], dy)

    def vjp(params, x):
        return jax.vjp(f, params, x)[1](dy)

    parts = (x[:1], x[1:]) if key is None and not layer.mixes_examples else ()
    return {
        "second": second(gradient, vjp, (params, x)),
        "caches": [layer.forward(params, part)[1] for part in parts],
    } | {dtype: f(*cast((params, x), dtype)) for dtype in ROUGH}


def check_sequence(layer, x, *, key=None, steps=True):
    """Check what `layer` makes of the Sequence `x`, which has a mask and the state to begin with.

    Gradients are those of jax, with cotangents of the first and of the last state among them;
    what the mask leaves out may be NaN; and where time only goes forward (`steps`), a layer
    that is called step by step, each time with the state that came out, says the same.
    """
    params = moved(layer.init(jax.random.key(0)))
    y = jax.eval_shape(lambda x: layer.forward(params, x, key=key)[0], x)
    dy = moved(jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), y))
    dy = renewed(dy, mask=x.mask, state=floating(state_of(dy)))
    run = jax.jit(sequence_facts, static_argnames="steps", compiler_options=QUICK)
    run = functools.partial(run, layer, params, key=key, steps=steps)
    facts = run(x, dy)
    (y, grads, dx), (want, want_x, want_state) = facts["found"], facts["jax"]

    assert type(dx) is Sequence
    for form in (dx, y) if isinstance(y, Sequence) else (dx,):
        chex.assert_trees_all_equal(mask_of(form), x.mask)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx.state), (params, floating(x.state)))
    chex.assert_trees_all_close((grads, dx.state), (want, floating(want_state)), **EXACT)
    if dx.x is not None:
        chex.assert_trees_all_close(dx.x, want_x, **EXACT)
    if steps:
        chex.assert_trees_all_close((value(y), state_of(y)), facts["steps"], **EXACT)
    check_skipped(run, x, dy, facts["found"], around=isinstance(layer, Composite))


def check_skipped(run, x, dy, found, *, around):
    """Steps that are left out: whatever stands there changes nothing, and their dx is 0.

    A composite may have a way around its layers, as Residual has; it hands on what stands
    there, and its cotangent, which is 0 where a loss gave it.
    """
    mask = np.asarray(x.mask)
    nothing = jnp.nan if is_floating(x.x) else -7
    counts = mask.reshape(*mask.shape, *(1,) * (x.x.ndim - 2))
    broken = x.with_fields(x=jnp.where(counts, x.x, jnp.asarray(nothing, x.x.dtype)))

    def counted(y):
        return lift(lambda a: select(x.mask, a), y) if around and isinstance(y, Sequence) else y

    (y, *rest), (same, *others) = found, run(broken, dy)["found"]
    chex.assert_trees_all_equal((counted(y), *rest), (counted(same), *others))
    _, _, dx = run(broken, counted(dy))["found"]
    assert dx.x is None or not np.any(np.asarray(dx.x)[~mask])


def moved(tree):
    """`tree` with its floating-point arrays moved by noise: no bias stays 0."""
    leaves, form = jax.tree.flatten(tree)
    return form.unflatten(
        a + 0.5 * noise(*a.shape, seed=i + 2) if is_floating(a) else a for i, a in enumerate(leaves)
    )


def floating(tree):
    """What of `tree` has derivatives, None if nothing has."""
    found = jax.tree.map(lambda a: a if is_floating(a) else None, tree)
    return found if jax.tree.leaves(found) else None


def sequence_facts(layer, params, x, dy, *, key, steps):
    """y, the gradients by two ways, and y and the last state step by step."""

    def f(params, a, state):
        y, _ = layer.forward(params, x.with_fields(x=a, state=state), key=key)
        return value(y), floating(state_of(y))

    def step(state, inputs):
        a, counts = (i[:, None] for i in inputs)
        y, _ = layer.forward(params, x.with_fields(x=a, mask=counts, state=state), key=key)
        return y.state, y.x[:, 0]

    y, cache = layer.forward(params, x, key=key)
    facts = {
        "found": (y, *layer.backward(params, cache, dy)),
        "jax": jax.vjp(f, params, x.x, x.state)[1]((value(dy), state_of(dy))),
    }
    if steps:
        inputs = x.x.swapaxes(0, 1), x.mask.T
        last, rows = jax.lax.scan(step, x.state, inputs)
        facts["steps"] = rows.swapaxes(0, 1), last
    return facts


def check_loss(loss, y, target):
    """Check the contract of fnn.loss for `loss` at the float64 predictions `y`."""
    fnn.check(loss, y, target).raise_if_wrong()
    losses, cache = loss.forward(y, target)
    h = jax.tree.leaves(y)[0]  # of factored logits (h, w) the factor with the batch
    axes = 1 if loss.whole_sequences or loss.mixes_examples else max(h.ndim - 1, 1)
    assert losses.shape == loss.shape(y) == h.shape[:axes]
    dl = noise(*losses.shape)
    dy = loss.backward(cache, dl)
    chex.assert_trees_all_equal_shapes_and_dtypes(dy, y)

    facts = traced_once(loss, loss_facts, (y, target, dl))
    chex.assert_trees_all_close(facts["at once"], (losses, dy), **EXACT)
    chex.assert_trees_all_close(*facts["second"], **EXACT)
    for dtype in ROUGH:
        assert facts[dtype].dtype == wide(jnp.dtype(dtype))
    check_left_out(loss, y, target, dl, (losses, dy))


def loss_facts(loss, y, target, dl):
    """Losses and dy in one pass, dy's own derivative by two ways, losses in lower precision."""

    def f(y):
        return loss.forward(y, target)[0]

    return {
        "at once": loss.value_and_backward(y, target, dl),
        "second": second(
            lambda y: loss.backward(loss.forward(y, target)[1], dl),
            lambda y: jax.vjp(f, y)[1](dl)[0],
            (y,),
        ),
    } | {dtype: loss.forward(*cast((y, target), dtype))[0] for dtype in ROUGH}


def second(gradient, vjp, args):
    """jax.jvp of the hand-written gradient, and of jax.vjp's."""
    tangents = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size * 1.0)).reshape(a.shape), args)
    return [jax.jvp(g, args, tangents)[1] for g in (gradient, vjp)]


def traced_once(block, facts_of, args):
    """The facts, with the block as argument of jit: rebuilt from bytes, no new trace."""
    traced = []

    def run(block, args):
        traced.append(block)
        return facts_of(block, *args)

    run = jax.jit(run, compiler_options=QUICK)
    rebuilt = pickle.loads(pickle.dumps(block))
    assert rebuilt is not block
    assert (rebuilt, hash(rebuilt), repr(rebuilt)) == (block, hash(block), repr(block))
    facts, same = run(block, args), run(rebuilt, args)
    assert len(traced) == 1
    assert not jax.tree.leaves(block)
    chex.assert_trees_all_equal(facts, same)
    return facts


def check_left_out(loss, y, target, dl, whole):
    """NaN predictions: with dl = 0 their dy is 0, else NaN, and other rows stay.

    Where a loss mixes examples, the others are as if there were no such row.
    """
    run = jax.jit(loss.value_and_backward, compiler_options=QUICK)
    (h, *shared), tree = jax.tree.flatten(y)
    broken, without = tree.unflatten([h.at[0].set(jnp.nan), *shared]), dl.at[0].set(0)
    there = present(loss, target, without, without)
    if loss.mixes_examples:
        rest = loss.value_and_backward(jax.tree.map(lambda a: a[1:], y), target[1:], dl[1:])
        whole = jax.tree.map(lambda a: jnp.concatenate([0 * a[:1], a]), rest)
    losses, dy = run(broken, there, without)
    dh, whole_dh = (jax.tree.leaves(d)[0] for d in (dy, whole[1]))
    assert loss.mixes_examples or np.isnan(losses[0]).all()
    assert (np.asarray(dh[0]) == 0).all()
    assert all(np.isfinite(d).all() for d in jax.tree.leaves(dy))
    chex.assert_trees_all_close((losses[1:], dh[1:]), (whole[0][1:], whole_dh[1:]), **EXACT)
    np.testing.assert_allclose(mean(losses, without), (whole[0] * without).sum())
    assert np.isnan(jax.tree.leaves(run(broken, target, dl)[1])[0][0]).all()


@dataclass(frozen=True)
class Look(Layer):
    """y_t = x_t m, m the memory: a row that every step looks at."""

    sequences = "own"

    def forward(self, params, x, *, key=None):
        return lift(lambda a: a * x.memory[:, None], x), (x.x, x.memory)

    def backward(self, params, cache, dy) -> Any:
        (x, memory), d = cache, dy.x
        own = (x * d).sum(1)
        return (), dy.with_fields(x=d * memory[:, None], memory=add(dy.memory, own))
