"""Rules of flax: lifted custom derivatives, 8-bit products, normalization."""

import functools
from typing import Any

import flax.linen as nn  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx  # pyright: ignore[reportMissingImports]
from flax.linen import fp8_ops  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal

X, W = normal(1, 3, 4), normal(2, 4, 2)


class Scaled(nn.Module):
    """A dense layer with a hand-written rule."""

    factor: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Forward and backward."""

        def f(module, x):
            return module(x)

        def forward(module, x):
            return nn.vjp(f, module, x)

        def backward(pull, dy):
            parameters, dx = pull(dy)
            return jax.tree.map(lambda g: g * self.factor, parameters), dx

        return nn.custom_vjp(f, forward, backward)(nn.Dense(2), x)


@functools.partial(nnx.custom_vjp, graph_updates=False)
def product(x: jax.Array, w: jax.Array) -> jax.Array:
    """x w through nnx."""
    return jnp.sin(x) @ w


def product_forward(x: jax.Array, w: jax.Array):
    """The forward pass."""
    return jnp.sin(x) @ w, (x, w)


def product_backward(kept, dy):
    """The backward pass."""
    x, w = kept
    return jnp.cos(x) * (dy @ w.T), jnp.sin(x).T @ dy


product.defvjp(product_forward, product_backward)  # pyright: ignore[reportFunctionMemberAccess]


def cases() -> list[Case]:
    """Lifted rules, normalization, 8 bits."""
    weights = {"kernel": W, "bias": normal(3, 2)}

    def scaled(factor: float):
        module = Scaled(factor)
        return lambda p, x: module.apply({"params": {"Dense_0": p}}, x)

    bits = "8-bit rounding, whose derivative is that of the unrounded product"
    return [
        Case("flax.linen.custom_vjp", scaled(1.0), (weights, X)),
        Case("flax.linen.custom_vjp, scaled on purpose", scaled(2.0), (weights, X),
             intended="the gradient is doubled here"),
        Case("flax.nnx.custom_vjp", product, (X, W), plain=lambda x, w: jnp.sin(x) @ w),
        Case("flax.linen.LayerNorm", lambda x: nn.LayerNorm().bind(
            {"params": {"scale": jnp.ones(4), "bias": jnp.zeros(4)}})(x), (X,)),
        Case("flax.linen.RMSNorm", lambda x, s: nn.RMSNorm().bind({"params": {"scale": s}})(x),
             (X, normal(4, 4))),
        Case("flax.linen.GroupNorm", lambda x: nn.GroupNorm(2, use_bias=False, use_scale=False
             ).bind({})(x), (X,)),
        Case("flax.linen.WeightNorm scale", lambda w: w / jnp.sqrt(jnp.sum(w**2, 0) + 1e-12), (W,)),
        Case("flax.linen.dot_product_attention", nn.dot_product_attention,
             (normal(5, 1, 3, 2, 4), normal(6, 1, 3, 2, 4), normal(7, 1, 3, 2, 4))),
        Case("flax.linen.fp8_ops.in_qdq", lambda x: fp8_ops.in_qdq(
            x.dtype, jnp.float8_e4m3fn, x, jnp.ones(1), jnp.zeros(4)), (X,), intended=bits),
        Case("flax.linen.fp8_ops.out_qdq", lambda x: fp8_ops.out_qdq(
            x.dtype, jnp.float8_e5m2, x, jnp.ones(1), jnp.zeros(4)), (X,), intended=bits),
        Case("flax.linen.remat", lambda p, x: nn.remat(nn.Dense)(2).apply({"params": p}, x),
             (weights, X)),
        Case("flax.linen.activation.PReLU", lambda x: nn.PReLU().bind(
            {"params": {"negative_slope": jnp.asarray(0.2, x.dtype)}})(x), (X,)),
        Case("flax.linen.OptimizedLSTMCell", lstm(), (X, normal(8, 3, 5))),
    ]  # fmt: skip


def lstm() -> Any:
    """A step of an LSTM; its parameters are drawn once."""
    cell = nn.OptimizedLSTMCell(5)
    state = jnp.ones((3, 5)), jnp.ones((3, 5))
    drawn = cell.init(jax.random.key(0), state, jnp.ones((3, 4)))
    fixed = jax.tree.map(np.asarray, drawn)

    def f(x: jax.Array, h: jax.Array) -> Any:
        double = jax.tree.map(lambda a: jnp.asarray(a, x.dtype), fixed)
        return cell.apply(double, (jnp.ones_like(h), h), x)[1]

    return f
