"""Tests of loops in bfloat16: the numbers of the plain loop, and no stack converted as a whole."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fnn import loops
from fnn.loops import put, scan, stacked

DTYPES = pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
KEY = jax.random.key(0)


def walk(loop, w, x, key, **how):
    """A recurrence with a key for every step, and stacks of several dtypes."""

    def f(c, inputs):
        x, k = inputs
        c = jnp.tanh(c @ w + x + jax.random.normal(k, c.shape, c.dtype) / 100)
        return c, (2 * c, {"wide": c.astype(jnp.float32), "i": jnp.arange(3), "none": None})

    return loop(f, x[0], (x, jax.random.split(key, len(x))), **how)


def energy(loop):
    def value(w, x, key=KEY):
        found = jax.tree.leaves(walk(loop, w, x, key))
        return sum((a.astype(jnp.float32) ** 2).sum() for a in found)

    return value


@pytest.fixture(params=["bfloat16", "float32"])
def given(request):
    w, x = (jax.random.normal(KEY, s, request.param) / 2 for s in ((4, 4), (5, 3, 4)))
    return w, x


WAYS = {
    "forward": lambda loop, w, x: walk(loop, w, x, KEY),
    "reverse": lambda loop, w, x: walk(loop, w, x, KEY, reverse=True),
    "grad": lambda loop, w, x: jax.grad(energy(loop), (0, 1))(w, x),
    "jvp": lambda loop, w, x: jax.jvp(lambda w: energy(loop)(w, x), (w,), (w,)),
    "of what it closes over": lambda loop, w, x: jax.jvp(
        lambda s: loop(lambda c, x: (c, s * x), x[0], x)[1], (w[0, 0],), (w[0, 1],)
    ),
    "curvature": lambda loop, w, x: jax.jvp(lambda w: jax.grad(energy(loop))(w, x), (w,), (w,)),
    "vmap": lambda loop, w, x: jax.vmap(
        lambda x, k: jax.grad(energy(loop))(w, x, k)
    )(jnp.stack([x, 2 * x]), jax.random.split(KEY)),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_plain_loop(way, given):
    run = jax.jit(WAYS[way], static_argnums=0)
    chex.assert_trees_all_equal(run(scan, *given), run(jax.lax.scan, *given))


@DTYPES
def test_a_map_is_the_plain_map(dtype):
    x = jnp.arange(12, dtype=dtype).reshape(3, 4)
    chex.assert_trees_all_equal(
        stacked(lambda a: (a * a, a[0]), x), jax.lax.map(lambda a: (a * a, a[0]), x)
    )


def test_no_turns_leave_the_carry_and_empty_stacks():
    one, none = jnp.ones((), jnp.bfloat16), jnp.ones((0, 2), jnp.bfloat16)
    carry, ys = scan(lambda c, x: (c + x.sum(), x), one, none)
    assert (carry, ys.shape) == (1, (0, 2))


@DTYPES
def test_a_block_is_put_where_it_belongs_and_has_derivatives(dtype):
    a, b = jnp.zeros((2, 5), dtype), jnp.ones((2, 2), dtype)

    def value(a, b):
        return (put(a, b, 3, 1).astype(jnp.float32) * jnp.arange(5, dtype="float32")).sum()

    assert put(a, b, 3, 1).tolist() == [[0, 0, 0, 1, 1]] * 2
    da, db = jax.grad(value, (0, 1))(a, b)
    assert (da.tolist(), db.tolist()) == ([[0, 1, 2, 0, 0]] * 2, [[3, 4]] * 2)


def test_no_stack_is_converted_as_a_whole_in_a_turn():
    def converted(loop):
        def run(x):
            return loop(lambda c, x: (c, 2 * x), jnp.zeros((), x.dtype), x)[1]

        compiled = jax.jit(run).lower(jnp.ones((64, 8, 8), "bfloat16")).compile()
        return "f32[64,8,8]" in compiled.as_text()

    assert not converted(scan)
    if jax.default_backend() == "cpu":
        assert converted(jax.lax.scan) == loops.NEEDED


def test_bits_of_numbers_that_are_none_come_back():
    bits = np.arange(2**16, dtype=np.uint16).reshape(16, -1)
    x = jax.lax.bitcast_convert_type(bits, jnp.bfloat16)
    found = jax.jit(lambda x: stacked(lambda a: a, x))(x)
    np.testing.assert_array_equal(jax.lax.bitcast_convert_type(found, jnp.uint16), bits)
