"""Rules of kfac-jax: a bounded square root, registered losses, matrix functions."""

import jax
import jax.numpy as jnp
import kfac_jax  # pyright: ignore[reportMissingImports]
import numpy as np
from kfac_jax._src.utils import math  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal, positive

X = np.array([0.3, 1.2, 4.0])


def cases() -> list[Case]:
    """Roots and losses."""
    return [
        Case("kfac_jax.utils.stable_sqrt", math.stable_sqrt, (X,), only_here=True),
        Case("kfac_jax.utils.stable_sqrt, slopes above 1000", math.stable_sqrt,
             (np.array([1e-8, 1.0]),), only_here=True, intended="the slope is bounded"),
        Case("kfac_jax.utils.norm", lambda x: math.norm(x), (X,)),
        Case("kfac_jax.utils.cosine_similarity", math.cosine_similarity, (X, X[::-1].copy())),
        Case("kfac_jax.utils.psd_inv", lambda a: math.psd_inv((a + a.T) / 2), (positive(1, 3),),
             only_here=True),
        Case("kfac_jax.utils.kronecker_product_mul_v", kronecker, (normal(2, 6), positive(3, 2),
             positive(4, 3)), only_here=True),
        Case("kfac_jax.register_squared_error_loss", squared, (normal(5, 3, 2),)),
        Case("kfac_jax.register_softmax_cross_entropy_loss", cross, (normal(6, 3, 4),)),
        Case("kfac_jax.register_dense", dense, (normal(7, 3, 4), normal(8, 4, 2), normal(9, 2))),
    ]  # fmt: skip


def kronecker(v: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """A product with a Kronecker product."""
    return math.kronecker_product_axis_mul_v([a, b], v.reshape(2, 3))


def squared(y: jax.Array) -> jax.Array:
    """A registered loss, then the loss itself."""
    t = jnp.asarray(normal(10, 3, 2))
    kfac_jax.register_squared_error_loss(y, t)
    return jnp.sum((y - t) ** 2)


def cross(y: jax.Array) -> jax.Array:
    """The same for cross-entropy."""
    t = jnp.array([0, 3, 1])
    kfac_jax.register_softmax_cross_entropy_loss(y, t)
    return -jnp.sum(jax.nn.log_softmax(y)[jnp.arange(3), t])


def dense(x: jax.Array, w: jax.Array, b: jax.Array) -> jax.Array:
    """A registered layer."""
    y = x @ w + b
    return kfac_jax.register_dense(y, x, w, b)
