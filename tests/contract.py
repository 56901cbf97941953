"""What must hold for every layer and every loss.

Each block's test file calls check_layer or check_loss. Two oracles judge a hand-written
backward: jax.vjp of the same forward, to rounding, and central differences, which know
nothing of JAX's derivatives. Choose sizes that differ pairwise, so that a transposed or
a wrong axis cannot fit, and inputs away from kinks.

Compiling costs far more than computing here: what JAX has to compute stands in one
jitted function per block (`layer_facts`, `loss_facts`), and numpy compares.
"""

import pickle
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from fnn.layer import Composite, backprop
from fnn.loss import mean
from fnn.numerics import cast, wide

EXACT = {"rtol": 1e-10, "atol": 1e-12}
DIFFERENCES = {"rtol": 1e-5, "atol": 1e-7}
ERRORS = {"float32": 2e-5, "bfloat16": 2e-2}  # of the norm of each array
HALF_STEP = 1e-6  # of central differences
QUICK = {"xla_backend_optimization_level": 0}  # to compile


def noise(*shape, seed=1):
    """Normal numbers of this shape, in float64."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape))


class Facts(NamedTuple):
    """What a block computes, along several ways."""

    values: Any  # y, or losses
    gradient: Any  # (grads, dx), or dy
    vjp: Any  # the same from jax.vjp
    slopes: Any  # directional derivatives by central differences, and by the gradient
    second: Any  # jax.jvp of the gradient, and of jax.vjp's
    rows: Any  # values (and gradient, and a leaf's cache) of rows taken one by one
    whole: Any  # the same of the whole batch
    vmapped: Any  # two problems at once
    looped: Any  # one after the other
    rough: Any  # dtype → values and gradient in dtype, and in float64 of the same numbers


def check_layer(layer, x, *, key=None, dtypes=("float32", "bfloat16"), keeps_dtype=True):
    """Check the contract of fnn.layer for `layer` at the float64 input `x` [B, ...]."""
    params = layer.init(jax.random.key(0))
    y, cache = layer.forward(params, x, key=key)
    dy = noise(*y.shape)
    grads, dx = backprop(layer, params, cache, dy)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, x))

    facts = traced_once(layer, layer_facts, (params, x, dy, key), dtypes)
    chex.assert_trees_all_close((facts.values, facts.gradient), (y, (grads, dx)), **EXACT)
    compare(facts)
    for dtype, ((rough_y, _), _) in facts.rough.items():
        assert rough_y.dtype == dtype or not keeps_dtype


def check_loss(loss, y, target, *, dtypes=("float32", "bfloat16")):
    """Check the contract of fnn.loss for `loss` at the float64 predictions `y`."""
    losses, cache = loss.forward(y, target)
    assert losses.shape == loss.shape(y) == (y.shape[:-1] or y.shape)
    dl = noise(*losses.shape)
    dy = loss.backward(cache, dl)
    chex.assert_trees_all_equal_shapes_and_dtypes(dy, y)

    facts = traced_once(loss, loss_facts, (y, target, dl), dtypes)
    chex.assert_trees_all_close((facts.values, facts.gradient), (losses, dy), **EXACT)
    compare(facts)
    for dtype, ((rough_losses, _), _) in facts.rough.items():
        assert rough_losses.dtype == wide(jnp.dtype(dtype))
    check_left_out(loss, y, target, dl, (losses, dy))


def traced_once(block, facts_of, args, dtypes):
    """The facts, with the block as argument of jit: rebuilt from bytes, no new trace."""
    traced = []

    def run(block, args):
        traced.append(block)
        return facts_of(block, *args, dtypes=dtypes)

    run = jax.jit(run, compiler_options=QUICK)
    rebuilt = pickle.loads(pickle.dumps(block))
    assert rebuilt is not block
    assert (rebuilt, hash(rebuilt), repr(rebuilt)) == (block, hash(block), repr(block))
    facts, same = run(block, args), run(rebuilt, args)
    assert len(traced) == 1
    assert not jax.tree.leaves(block)
    chex.assert_trees_all_equal(facts, same)
    return facts


def layer_facts(layer, params, x, dy, key, *, dtypes):
    """The Facts of a layer."""

    def f(params, x):
        return layer.forward(params, x, key=key)[0]

    def gradient(params, x, dy):
        _, cache = layer.forward(params, x, key=key)
        return layer.backward(params, cache, dy)

    def both(params, x, dy):
        y = f(params, x)
        return y, gradient(params, x, dy.astype(y.dtype))

    def row(part):
        y, cache = layer.forward(params, part)
        return y if isinstance(layer, Composite) else (y, cache)

    independent = key is None and not layer.mixes_examples
    return facts_of_a_block(
        lambda *a: (f(*a) * dy).sum(),
        lambda *a: gradient(*a, dy),
        lambda *a: jax.vjp(f, *a)[1](dy),
        both,
        (params, x),
        (dy,),
        rows=[row(x[i : i + 1]) for i in range(len(x))] if independent else [],
        whole=row(x) if independent else None,
        rough={dtype: in_dtype(both, cast((params, x, dy), dtype)) for dtype in dtypes},
    )


def loss_facts(loss, y, target, dl, *, dtypes):
    """The Facts of a loss."""

    def f(y):
        return loss.forward(y, target)[0]

    def both(y, dl, target=target):
        return loss.value_and_backward(y, target, dl)

    def row(i):
        part = slice(i, i + 1)
        return both(y[part], dl[part], target[part])

    def in_wide(dtype):
        return cast(y, dtype), cast(dl, wide(jnp.dtype(dtype))), cast(target, dtype)

    return facts_of_a_block(
        lambda y: (f(y) * dl).sum(),
        lambda y: (loss.backward(loss.forward(y, target)[1], dl),),
        lambda y: jax.vjp(f, y)[1](dl),
        both,
        (y,),
        (dl,),
        rows=[row(i) for i in range(len(y))],
        whole=both(y, dl),
        rough={dtype: in_dtype(both, in_wide(dtype)) for dtype in dtypes},
    )


def facts_of_a_block(scalar, gradient, vjp, both, args, seed, *, rows, whole, rough):
    """The Facts of what maps `args` to values and, with `seed`, to a gradient."""
    tangents = jax.tree.map(lambda a: jnp.cos(jnp.arange(a.size * 1.0)).reshape(a.shape), args)
    there = jax.tree.map(lambda a: jnp.flip(a), args)
    problems = jax.tree.map(lambda *a: jnp.stack(a), (args, seed), (there, seed))
    values, g = both(*args, *seed)
    return Facts(
        values=values,
        gradient=g,
        vjp=vjp(*args) if len(args) > 1 else vjp(*args)[0],
        slopes=slopes(scalar, args, gradient(*args)),
        second=[jax.jvp(h, args, tangents)[1] for h in (gradient, vjp)],
        rows=jax.tree.map(lambda *r: jnp.concatenate(r), *rows) if rows else None,
        whole=whole,
        vmapped=jax.vmap(lambda a, s: both(*a, *s))(*problems),
        looped=jax.tree.map(lambda *a: jnp.stack(a), (values, g), both(*there, *seed)),
        rough=rough,
    )


def slopes(f, args, gradient):
    """The slopes of the scalar f: central differences, and by the gradient.

    Along 3 random directions and, if they are few, along every coordinate.
    """
    flat, unravel = ravel_pytree(args)
    directions = noise(3, flat.size, seed=5)
    if flat.size <= 80:
        directions = jnp.concatenate([directions, jnp.eye(flat.size)])
    steps = HALF_STEP * directions
    above, below = (jax.vmap(lambda s: f(*unravel(flat + s)))(s) for s in (steps, -steps))
    return (above - below) / (2 * HALF_STEP), directions @ ravel_pytree(gradient)[0]


def check_differences_of(f, args, gradient):
    """`gradient` is that of the scalar f at args, by central differences."""
    run = jax.jit(lambda args, gradient: slopes(f, (args,), gradient), compiler_options=QUICK)
    ours, by_gradient = run(args, gradient)
    np.testing.assert_allclose(ours, by_gradient, **DIFFERENCES)


def in_dtype(f, args):
    """f of these numbers, in their dtype and in float64."""
    return f(*args), f(*cast(args, "float64"))


def compare(facts):
    """Every way to a fact leads to the same numbers."""
    chex.assert_trees_all_close(facts.gradient, facts.vjp, **EXACT)
    chex.assert_trees_all_close(*facts.slopes, **DIFFERENCES)
    chex.assert_trees_all_close(*facts.second, **EXACT)
    chex.assert_trees_all_close(facts.rows, facts.whole, **EXACT)
    chex.assert_trees_all_close(facts.vmapped, facts.looped, **EXACT)
    for dtype, (rough, exact) in facts.rough.items():
        chex.assert_trees_all_equal_shapes(rough, exact)
        assert {a.dtype.name for a in jax.tree.leaves(rough[1])} == {dtype}
        for a, b in zip(jax.tree.leaves(rough), jax.tree.leaves(exact), strict=True):
            a64, b64 = np.float64(a), np.float64(b)
            error = np.linalg.norm(a64 - b64)
            assert error <= ERRORS[dtype] * np.linalg.norm(b64) + 1e-30, (dtype, a, b)


def check_left_out(loss, y, target, dl, whole):
    """NaN predictions: with dl = 0 their dy is 0, else NaN, and other rows stay."""
    run = jax.jit(loss.value_and_backward, compiler_options=QUICK)
    broken, without = y.at[0].set(jnp.nan), dl.at[0].set(0)
    losses, dy = run(broken, target, without)
    assert np.isnan(losses[0]).all()
    assert (np.asarray(dy[0]) == 0).all()
    chex.assert_trees_all_close((losses[1:], dy[1:]), (whole[0][1:], whole[1][1:]), **EXACT)
    np.testing.assert_allclose(mean(losses, without), (whole[0] * without).sum())
    assert np.isnan(run(broken, target, dl)[1][0]).all()
