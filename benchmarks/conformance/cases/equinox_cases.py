"""Rules of equinox: filtered custom derivatives, checkpointed loops, checks inside."""

from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.conformance.case import Case, normal

X = normal(1, 4)


@eqx.filter_custom_vjp
def squared(x, twice):
    """X², or with a second argument 2 x²."""
    return x**2 * (2.0 if twice else 1.0)


@squared.def_fwd
def squared_forward(perturbed, x, twice):
    """The forward pass."""
    return x**2 * (2.0 if twice else 1.0), x


@squared.def_bwd
def squared_backward(x, dy, perturbed, _, twice):
    """The backward pass."""
    return 2 * x * dy * (2.0 if twice else 1.0)


@eqx.filter_custom_jvp
def cubed(x, scale):
    """Scale x³."""
    return scale * x**3


@cubed.def_jvp
def cubed_forward(primals, tangents):
    """Its derivative along a direction."""
    (x, scale), (dx, dscale) = primals, tangents
    dy = 0.0 * x if dx is None else 3 * scale * x**2 * dx
    return scale * x**3, dy if dscale is None else dy + x**3 * dscale


def cases() -> list[Case]:
    """Loops, then small ones."""
    return [
        Case("equinox.internal.while_loop, checkpointed", loop("checkpointed"), (X,)),
        Case("equinox.internal.while_loop, bounded", loop("bounded"), (X,)),
        Case("equinox.internal.scan, checkpointed", scan, (X, normal(2, 5, 4))),
        Case("equinox.filter_custom_vjp", lambda x: squared(x, False), (X,), plain=lambda x: x**2),
        Case("equinox.filter_custom_vjp, a flag", lambda x: squared(x, True), (X,)),
        Case("equinox.filter_custom_jvp", cubed, (X, np.array(0.7)), plain=lambda x, s: s * x**3),
        Case("equinox.filter_checkpoint", eqx.filter_checkpoint(lambda x: jnp.sin(x) ** 2), (X,)),
        Case("equinox.error_if", lambda x: eqx.error_if(x, jnp.any(x > 1e9), "too large") ** 2,
             (X,)),
        Case("equinox.error_if, x < 0 is an error",
             lambda x: jnp.sqrt(eqx.error_if(x, jnp.any(x <= 0), "must be positive")),
             (np.abs(X) + 1.0,), only_here=True),
        Case("equinox.debug.backward_nan", lambda x: eqx.debug.backward_nan(
            x, name="x", terminate=False) ** 2, (X,)),
        Case("equinox.internal.nextafter", lambda x: eqxi.nextafter(x) ** 2, (X,)),
        Case("equinox.internal.prevbefore", lambda x: eqxi.prevbefore(x) ** 2, (X,)),
        Case("equinox.nn.LayerNorm", jax.vmap(eqx.nn.LayerNorm(4)), (normal(3, 3, 4),)),
        Case("equinox.nn.RMSNorm", jax.vmap(eqx.nn.RMSNorm(4)), (normal(3, 3, 4),)),
    ]  # fmt: skip


def loop(kind: Any):
    """Five steps of a loop that could take sixteen."""

    def f(x: jax.Array) -> jax.Array:
        return eqxi.while_loop(
            lambda c: c[0] < 5, lambda c: (c[0] + 1, jnp.sin(c[1]) + 0.1 * c[1]), (0, x),
            max_steps=16, kind=kind)[1]  # fmt: skip

    return f


def scan(h: jax.Array, x: jax.Array) -> jax.Array:
    """A loop over rows."""
    return eqxi.scan(
        lambda h, x: (jnp.tanh(h + x), h * x), h, x, kind="checkpointed", checkpoints=2
    )[1]
