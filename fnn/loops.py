"""Loops whose stacks of bfloat16 are read and written row by row.

XLA on CPU could not replace a slice of a bfloat16 array before jax 0.11: in every turn of a loop it
made float32 of the whole stack and bfloat16 of it again, so that a loop took the square of the
number of its turns. It could where the array was one of 16-bit integers, so there a stack is one of
bits within the loop. Derivatives are those of the plain loop. Behind the last jax that needs it,
scan is `jax.lax.scan`, and put `jax.lax.dynamic_update_slice_in_dim`.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from fnn.records import Array, PyTree

NEEDED = jax.__version_info__ < (0, 11)


def scan(
    f: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any = None, *,
    length: int | None = None, reverse: bool = False, like: Any = (),
) -> tuple[Any, Any]:  # fmt: skip
    """`jax.lax.scan`: f(carry, row of xs) → (carry, row of the stacks), for all rows in turn.

    `like`: arrays of the dtypes that stacks have, where neither carry nor xs have them.
    """
    loop = functools.partial(jax.lax.scan, length=length, reverse=reverse)
    n = next((len(a) for a in jax.tree.leaves(xs)), length)
    dtypes = [a.dtype for a in jax.tree.leaves((carry, xs, like))]
    if not (NEEDED and n and jnp.bfloat16 in dtypes):
        return loop(f, carry, xs)
    row = jax.eval_shape(lambda xs: jax.tree.map(lambda a: a[0], xs), xs)
    made: Any = jax.make_jaxpr(f, return_shape=True)(carry, row)
    form = jax.tree.structure(made[1])

    def turn(consts, carry, x):
        found = jax.core.eval_jaxpr(made[0].jaxpr, consts, *jax.tree.leaves((carry, x)))
        return form.unflatten(found)

    return in_bits(turn, loop, made[0].consts, carry, xs)


def stacked(f: Callable[[Any], Any], xs: Any) -> Any:
    """`jax.lax.map`: f of every row, stacked."""
    return scan(lambda _, x: (None, f(x)), None, xs)[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(3,))
def put(a: Array, block: Array, start: Any, axis: int) -> Array:
    """`a` with the block in the place of what begins at `start` along the axis."""
    bits = jax.lax.dynamic_update_slice_in_dim(packed(a), packed(block), start, axis)
    return unpacked(bits, a.dtype)


@put.defjvp
def _(axis, primals, tangents):
    def plain(a, block, start):
        return jax.lax.dynamic_update_slice_in_dim(a, block, start, axis)

    return jax.jvp(plain, primals, tangents)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def in_bits(turn, loop, consts, carry, xs):
    """loop of turn(consts, carry, row), its stacks as bits."""
    kinds: list[Any] = []

    def f(carry, x):
        carry, y = turn(consts, carry, unpacked(x, dtypes))
        kinds.append(dtypes_of(y))
        return carry, packed(y)

    dtypes = dtypes_of(xs)
    carry, ys = loop(f, carry, packed(xs))
    return carry, unpacked(ys, kinds[-1])


@in_bits.defjvp
def _(turn, loop, primals, tangents):
    def plain(consts, carry, xs):
        return loop(functools.partial(turn, consts), carry, xs)

    return jax.jvp(plain, primals, tangents)


def packed(tree: PyTree) -> PyTree:
    """The bits of its arrays of bfloat16 where they are needed, all else as it is."""
    bits = functools.partial(jax.lax.bitcast_convert_type, new_dtype=jnp.uint16)
    return jax.tree.map(lambda a: bits(a) if NEEDED and a.dtype == jnp.bfloat16 else a, tree)


def unpacked(tree: PyTree, dtypes: PyTree) -> PyTree:
    """The arrays of these bits."""
    array = jax.lax.bitcast_convert_type
    return jax.tree.map(lambda a, d: a if a.dtype == d else array(a, d), tree, dtypes)


def dtypes_of(tree: PyTree) -> PyTree:
    """The dtype of every array."""
    return jax.tree.map(lambda a: a.dtype, tree)
