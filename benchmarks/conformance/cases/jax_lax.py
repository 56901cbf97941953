"""Rules of jax.lax: loops, windows, convolutions, gathers, reductions, implicit functions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.conformance.case import Case, normal, positive

X = normal(1, 3, 4)
SPD, V = positive(2, 4), normal(3, 4)


def cases() -> list[Case]:
    """By kind."""
    return [*cumulative(), *windows(), *indexing(), *implicit(), *loops(), *rounded()]


def cumulative() -> list[Case]:
    """Cumulative and plain reductions."""
    return [
        Case("jax.lax.cumsum", lambda x: lax.cumsum(x, 1), (X,)),
        Case("jax.lax.cumprod", lambda x: lax.cumprod(x, 1), (X,)),
        Case("jax.lax.cummax", lambda x: lax.cummax(x, 1), (X,)),
        Case("jax.lax.cummin, reverse", lambda x: lax.cummin(x, 1, reverse=True), (X,)),
        Case("jax.lax.cumlogsumexp", lambda x: lax.cumlogsumexp(x, 1), (X,)),
        Case("jax.lax.cumlogsumexp, reverse", lambda x: lax.cumlogsumexp(x, 1, reverse=True), (X,)),
        Case("jax.lax.reduce_max", lambda x: x.max(1), (X,)),
        Case("jax.lax.reduce_max, ties", lambda x: x.max(), (np.array([1.0, 2.0, 2.0]),)),
        Case("jax.lax.reduce_prod, two zeros", jnp.prod, (np.array([0.0, 0.0, 3.0]),)),
        Case("jax.lax.reduce, product", lambda x: lax.reduce(x, 1.0, lax.mul, (1,)), (X,)),
        Case("jax.lax.associative_scan, multiply",
             lambda x: lax.associative_scan(jnp.multiply, x, axis=1), (X,)),
        Case("jax.lax.top_k, values", lambda x: lax.top_k(x, 2)[0], (X,)),
        Case("jax.lax.top_k", lambda x: lax.top_k(x, 2), (X,)),
        Case("jax.lax.approx_max_k", lambda x: lax.approx_max_k(x, 2)[0], (X,)),
    ]  # fmt: skip


def windows() -> list[Case]:
    """Windows and convolutions."""
    image, kernel = normal(4, 2, 5, 6, 4), normal(5, 3, 2, 2, 6)
    names = ("NHWC", "HWIO", "NHWC")

    def conv(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_general_dilated(
            x, w, (2, 1), ((1, 0), (0, 2)), (1, 2), (2, 1), names, feature_group_count=2
        )

    def pool(x: jax.Array) -> jax.Array:
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 2, 1), (1, 2, 2, 1), "SAME")

    def transposed(x: jax.Array, w: jax.Array) -> jax.Array:
        return lax.conv_transpose(x, w, (2, 2), "SAME", dimension_numbers=names)

    return [
        Case("jax.lax.conv_general_dilated", conv, (image, kernel)),
        Case("jax.lax.conv_transpose", transposed, (image, normal(6, 3, 2, 4, 2))),
        Case("jax.lax.reduce_window, max", pool, (image,)),
        Case("jax.lax.reduce_window, sum", lambda x: lax.reduce_window(
            x, 0.0, lax.add, (2, 2), (1, 2), "VALID"), (X,)),
        Case("jax.numpy.convolve", jnp.convolve, (V, normal(7, 3))),
        Case("jax.image.resize, cubic", lambda x: jax.image.resize(x, (5, 3), "cubic"), (X,)),
        Case("jax.scipy.ndimage.map_coordinates", coordinates, (X, normal(8, 2, 3) * 0.3 + 1.3)),
    ]  # fmt: skip


def coordinates(x: jax.Array, at: jax.Array) -> jax.Array:
    """Linear interpolation in an image."""
    return jax.scipy.ndimage.map_coordinates(x, [at[0], at[1]], order=1)


def indexing() -> list[Case]:
    """Gathers and scatters."""
    i, s = np.array([2, 0, 2, 1]), np.array([0, 0, 2, 1])
    updates = normal(9, 4)
    return [
        Case("jax.numpy.take, repeated", lambda x: jnp.take(x, i, axis=0), (X,)),
        Case("jax.numpy.take, out of bounds", lambda x: jnp.take(x, np.array([1, 9]), mode="clip"),
             (V,)),
        Case("indices.at.set", lambda x, u: x.at[np.array([3, 1])].set(u), (V, normal(10, 2))),
        Case("indices.at.set, repeated", lambda x, u: x.at[i].set(u), (V, updates)),
        Case("indices.at.add, repeated", lambda x, u: x.at[i].add(u), (V, updates)),
        Case("indices.at.multiply",
             lambda x, u: x.at[np.array([3, 1])].multiply(u, unique_indices=True),
             (V, normal(10, 2))),
        Case("indices.at.max", lambda x, u: x.at[i].max(u), (V, updates)),
        Case("indices.at.min, ties", lambda x, u: x.at[np.array([0])].min(u), (V, V[:1])),
        Case("indices.at.divide",
             lambda x, u: x.at[np.array([3, 1])].divide(u, unique_indices=True),
             (V, normal(10, 2))),
        Case("indices.at.power", lambda x: x.at[np.array([3, 1])].power(3), (V,)),
        Case("jax.ops.segment_sum", lambda x: jax.ops.segment_sum(x, s, 3), (V,)),
        Case("jax.ops.segment_max", lambda x: jax.ops.segment_max(x, s, 3)[jnp.array([0, 2])],
             (V,)),
        Case("jax.lax.dynamic_slice", lambda x, k: lax.dynamic_slice(x, (k, k), (2, 2)), (X, 1)),
        Case("jax.lax.dynamic_update_slice", lambda x, u: lax.dynamic_update_slice(x, u, (2, 1)),
             (X, normal(11, 2, 2))),
    ]  # fmt: skip


def implicit() -> list[Case]:
    """Functions that are differentiated at their solution."""

    def root(a: jax.Array) -> jax.Array:
        def solve(g, x):
            return lax.fori_loop(0, 60, lambda _, x: x - g(x) / (3 * x**2 + 1), x)

        return lax.custom_root(lambda x: x**3 + x - a, jnp.ones_like(a), solve,
                               lambda g, y: y / g(1.0))  # fmt: skip

    def linear(a: jax.Array, b: jax.Array) -> jax.Array:
        return lax.custom_linear_solve(
            lambda x: a @ x, b, lambda _, b: jnp.linalg.solve(a, b),
            lambda _, b: jnp.linalg.solve(a.T, b))  # fmt: skip

    sparse = jax.scipy.sparse.linalg
    stops = "an iteration that stops at a tolerance"
    return [
        Case("jax.lax.custom_root", root, (np.array(1.7),)),
        Case("jax.lax.custom_linear_solve", linear, (SPD, V)),
        Case("jax.scipy.sparse.linalg.cg", lambda a, b: sparse.cg(
            lambda x: (a + a.T) @ x / 2, b, tol=1e-12)[0], (SPD, V), inexact=stops),
        Case("jax.scipy.sparse.linalg.bicgstab", lambda a, b: sparse.bicgstab(
            lambda x: a @ x, b, tol=1e-12)[0], (SPD, V), inexact=stops),
        Case("jax.scipy.sparse.linalg.gmres", lambda a, b: sparse.gmres(
            lambda x: a @ x, b, tol=1e-12)[0], (SPD, V), inexact=stops),
        Case("jax.experimental.ode.odeint", ode, (np.array([1.0, 0.5]), np.array(0.7)),
             inexact=stops),
    ]  # fmt: skip


def ode(y: jax.Array, k: jax.Array) -> jax.Array:
    """A pendulum with friction k."""
    from jax.experimental.ode import odeint

    def f(y, t, k):
        return jnp.stack([y[1], -jnp.sin(y[0]) - k * y[1]])

    return odeint(f, y, jnp.array([0.0, 0.5, 1.0]), k, rtol=1e-9, atol=1e-9)


def loops() -> list[Case]:
    """Loops and branches."""

    def scanned(h: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lax.scan(lambda h, x: (jnp.tanh(h + x), h * x), h, x)

    def counted(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jnp.sin(x), jnp.sum(x > 0)

    return [
        Case("jax.lax.scan", scanned, (V, X)),
        Case("jax.lax.fori_loop", lambda x: lax.fori_loop(0, 3, lambda i, x: jnp.sin(x) + i, x),
             (V,)),
        Case("jax.lax.cond", lambda x: lax.cond(x[0] > 9, jnp.sin, jnp.cos, x), (V,)),
        Case("jax.lax.map", lambda x: lax.map(lambda r: r @ r, x), (X,)),
        Case("jax.checkpoint", jax.checkpoint(lambda x: jnp.sin(jnp.sin(x))), (V,)),
        Case("a count beside values", counted, (V,)),
    ]  # fmt: skip


def rounded() -> list[Case]:
    """Functions with jumps, and gradients that are cut on purpose."""
    clip = jax.custom_vjp(lambda x: x)
    clip.defvjp(lambda x: (x, None), lambda _, dy: (jnp.clip(dy, -0.1, 0.1),))
    cut = "stop_gradient"
    return [
        Case("jax.numpy.clip", lambda x: jnp.clip(x, -0.5, 0.5), (V,)),
        Case("jax.numpy.floor", jnp.floor, (V,)),
        Case("jax.numpy.abs at 0", jnp.abs, (np.array([0.0, 1.0, -2.0]),)),
        Case("jax.numpy.sqrt at 0", jnp.sqrt, (np.array([0.0, 1.0, 4.0]),)),
        Case("jax.lax.stop_gradient", lambda x: x * lax.stop_gradient(jnp.sin(x)), (V,),
             intended=cut),
        Case("straight-through rounding", lambda x: x + lax.stop_gradient(jnp.round(x) - x), (V,),
             intended="straight-through"),
        Case("jax.numpy.where, NaN in the other branch",
             lambda x: jnp.where(x > 0, jnp.log(jnp.where(x > 0, x, 1.0)), 0.0), (V,)),
        Case("gradient clipping", clip, (V,), intended="the cotangent is clipped"),
    ]  # fmt: skip
