"""What the optimizer tests share: a problem, a descent, and every optimizer."""

import jax
import jax.numpy as jnp

import fnn
from benchmarks.blocks import optimizers

PARAMS = fnn.DenseParams(w=jnp.array([[1.0, -2.0], [0.5, 3.0]]), b=jnp.array([0.1, -0.1]))

EVERY = {  # name → optimizer of a learning rate
    **{name: lambda rate, n=name: optimizers(rate, eps=1e-2)[n] for name in optimizers()},
    "Proximal": lambda rate: fnn.optim.Proximal(fnn.optim.SGD(rate), fnn.L1(0.01)),
    "Chain": lambda rate: fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.Adam(rate)),
    "Scheduled": lambda rate: fnn.optim.Scheduled(fnn.optim.Adam(), fnn.optim.Constant(rate)),
}


def weights(*w, dtype="float64"):
    """Params that are weights alone."""
    return fnn.UnembedParams(jnp.array(w, dtype))


def gradient(params):
    """Of Σ (p² − cos 3p · ⅔) / 2: smooth, with a minimum at 0."""
    return jax.tree.map(lambda p: jnp.sin(3 * p) + p, params)


def descend(optimizer, params, n_steps=25):
    """Params after n_steps, in a scan."""

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradient(params), state, params)
        return (fnn.optim.apply_updates(params, updates), state), None

    (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), None, n_steps)
    return params


def descend_like_optax(optimizer, params, n_steps=25):
    """Params after n_steps of an optax transformation, which promotes dtypes freely."""
    import optax

    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(n_steps):
            updates, state = optimizer.update(gradient(params), state, params)
            params = optax.apply_updates(params, updates)
    return params


def first_update(optimizer, g):
    """The first update, of a gradient g at w = 1."""
    p = weights(1.0)
    updates, _ = optimizer.update(weights(g), optimizer.init(p), p)
    return float(updates.w[0])
