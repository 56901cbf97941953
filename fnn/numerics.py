"""Arithmetic that every block shares: the words that formulas are written in.

    product(x, w)      x w of every vector x along the last axis
    outer(a, b)        Σ aᵀ b over all leading axes (batch, time, ...)
    total(a)           Σ a over the same
    plus(a, b)         a + b, b an offset of the last axis or None: there is none
    plus_gradient      db = Σ dy of the same, None where there is none
    widened(a, …)      the arrays in the dtype to compute in, at least float32
    like(a, b)         a in the dtypes of b
    narrowed(a, b, …)  a in the dtype that the others have in common
    unit(a, axes)      a/‖a‖ and ‖a‖, over the axes
    unit_gradient      da = (d − (Σ d û) û)/‖a‖ of the same, û = a/‖a‖
    moved(p, u)        p + u, in the dtype of p
    global_norm(tree)  √Σ a² over all leaves

Sums run in at least float32, whatever the dtypes are.
"""

import functools
import math
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from fnn.records import Array, PyTree

PART = 8  # rows at a time that a matrix is turned by


def wide(dtype: Any) -> Any:
    """The dtype to compute in: `dtype` itself from 32 bits up, else float32."""
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype(jnp.float32)


def concrete(a: Any) -> np.ndarray | None:
    """`a` as a numpy array, or None where its value is not known yet, or not in this process.

    Checks of values are numpy on this result: under somebody else's jit even a jnp
    operation on a constant is traced.
    """
    if isinstance(a, jax.core.Tracer | jax.ShapeDtypeStruct):
        return None
    if isinstance(a, jax.Array) and not a.is_fully_addressable:
        return np.asarray(a.addressable_data(0)) if a.is_fully_replicated else None
    return np.asarray(a)


def owned(a: Any) -> Array:
    """`a` as a JAX array with memory of its own.

    JAX may share the memory of a numpy array, or read it later, jnp.array too: the caller may
    have changed it by then. numpy copies at once.
    """
    return jnp.asarray(np.array(a) if isinstance(a, np.ndarray) else a)


def is_floating(a: Any) -> bool:
    """Whether `a` has a real floating-point dtype, bfloat16 included."""
    return jnp.issubdtype(a.dtype, jnp.floating)


def cast(tree: PyTree, dtype: Any) -> PyTree:
    """`tree` with its floating-point arrays in `dtype`."""
    return jax.tree.map(lambda a: jnp.astype(a, dtype) if is_floating(a) else a, tree)


def product(x: Array, w: Array) -> Array:
    """x w of every vector x: [..., n], [n, m] → [..., m], summed in at least float32.

    Rounded once: asked for sums in bfloat16, XLA on CPU takes several times as long.
    """
    return jnp.dot(x, w, preferred_element_type=wide(x.dtype)).astype(x.dtype)


def outer(a: Array, b: Array) -> Array:
    """Σ aᵀ b over all leading axes: [..., n], [..., m] → [n, m], in at least float32."""
    sums = wide(b.dtype)
    a, b = (c.reshape(math.prod(c.shape[:-1]), c.shape[-1]) for c in (a, b))
    plain = functools.partial(jnp.tensordot, axes=((0,), (0,)), preferred_element_type=sums)
    if b.dtype == sums:
        return plain(a, b)
    return jax.lax.platform_dependent(a, b, cpu=_outer_of_halves, default=plain)


def _outer_of_halves(a: Array, b: Array) -> Array:
    """aᵀ b with the smaller of the two turned beforehand, as XLA on CPU is fast in bfloat16."""
    n, m, sums = a.shape[-1], b.shape[-1], wide(b.dtype)
    if n > m > PART and m % PART == 0:
        return _turned(jnp.dot(_turned(b), a, preferred_element_type=sums))
    return jnp.dot(_turned(a), b, preferred_element_type=sums)


def _turned(a: Array) -> Array:
    """aᵀ of a matrix, by way of three axes, which XLA does not fold into a product."""
    rows, n = a.shape
    part = math.gcd(rows, PART)
    return a.reshape(rows // part, part, n).transpose(2, 0, 1).reshape(n, rows)


def total(a: Array) -> Array:
    """Σ a over all axes but the last, in at least float32."""
    return a.sum(tuple(range(a.ndim - 1)), dtype=wide(a.dtype))


def plus(a: Array, b: Array | None) -> Array:
    """a + b; a where there is no b."""
    return a if b is None else a + b


def plus_gradient(b: Array | None, dy: Array) -> Array | None:
    """db = Σ dy of y = plus(a, b); None where there is no b."""
    return None if b is None else total(dy)


def widened(*arrays: Array) -> tuple[Array, ...]:
    """The arrays in the dtype to compute in: the one they have in common, at least float32."""
    dtype = wide(common(*arrays))
    return tuple(a.astype(dtype) for a in arrays)


def like(tree: PyTree, reference: PyTree) -> PyTree:
    """`tree` in the dtypes of `reference`, which has the same form."""
    return jax.tree.map(lambda a, r: a.astype(r.dtype), tree, reference)


def narrowed(a: Array, *others: Array) -> Array:
    """`a` in the dtype that the others have in common."""
    return a.astype(common(*others))


def is_like(tree: PyTree, reference: PyTree) -> bool:
    """Whether `tree` has the form of `reference` and the shapes of its arrays."""
    if jax.tree.structure(tree) != jax.tree.structure(reference):
        return False
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(reference), strict=True)
    return all(jnp.shape(a) == jnp.shape(b) for a, b in pairs)


def common(*arrays: Array) -> Any:
    """The dtype that the arrays have in common."""
    return functools.reduce(jnp.promote_types, (a.dtype for a in arrays))


def ratio(a: Array, b: Array) -> Array:
    """a / b, and 0 where b = 0."""
    zero = b == 0
    return jnp.where(zero, 0, a / jnp.where(zero, 1, b))


def times(p: Array, q: Array) -> Array:
    """p q, and 0 where p = 0, whatever q is: 0 · log 0 = 0 and 0 · NaN = 0."""
    return jnp.where(p == 0, 0, p * q)


def unit(a: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """a/‖a‖ and ‖a‖, over the axes, which stay with length 1; where ‖a‖ is 0 it counts as 1.

    a is brought to about 1 first: no square leaves the range of the dtype.
    """
    largest = jax.lax.stop_gradient(abs(a).max(axes, keepdims=True, initial=0))
    root = 1 / jnp.sqrt(jnp.where(largest == 0, 1, largest))  # 1 / largest may be too small
    u = a * root * root
    squares = (u**2).sum(axes, keepdims=True)
    length = jnp.sqrt(jnp.where(squares == 0, 1, squares))
    return u / length, length / root / root


def unit_gradient(u: Array, length: Array, d: Array, axes: tuple[int, ...]) -> Array:
    """(d − (Σ d u) u)/‖a‖, what a gets of the cotangent d of u = a/‖a‖."""
    return (d - (d * u).sum(axes, keepdims=True) * u) / length


def moved(p: Array, u: Array) -> Array:
    """p + u, added in at least float32, in the dtype of p."""
    dtype = wide(p.dtype)
    return (p.astype(dtype) + u.astype(dtype)).astype(p.dtype)


def global_norm(tree: PyTree) -> Array:
    """√Σ a² over all leaves, in at least float32, scaled where squares would leave the range."""
    leaves = [a.astype(wide(a.dtype)) for a in jax.tree.leaves(tree) if a.size]
    if not leaves:
        return jnp.zeros(())
    dtype = jnp.result_type(*(a.dtype for a in leaves))

    def scaled():
        largest = jnp.stack([abs(a).max().astype(dtype) for a in leaves]).max()
        unit = jnp.where(largest > 0, largest, 1)
        total = sum((over(a, unit.astype(a.dtype)) ** 2).sum().astype(dtype) for a in leaves)
        return unit * jnp.sqrt(total)

    total = sum((a**2).sum().astype(dtype) for a in leaves)
    n, kind = sum(a.size for a in leaves), jnp.finfo(dtype)
    kept = (total > n * kind.tiny / kind.eps) & (total < jnp.inf)  # of squares below tiny, too
    return jax.lax.cond(kept, lambda: jnp.sqrt(total), scaled)


def over(a: Array, b: Array) -> Array:
    """a / b of one number b, as XLA multiplies by 1 / b, which may be too small for its dtype."""
    c = jnp.where(b > 1, 2.0 ** -(jnp.finfo(a.dtype).maxexp // 2), 1).astype(a.dtype)
    return (a * c) / (b * c)
