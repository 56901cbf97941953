"""jax_privacy.clipped_grad of the plain net: the whole batch at once, and in four parts."""

import functools

import jax.numpy as jnp
from jax_privacy import clipped_grad  # pyright: ignore[reportMissingImports]

from benchmarks.peers.examples import main
from benchmarks.peers.examples.hand_written import LOSS, built, runner
from benchmarks.plain import best, plain, plain_losses


def start(parts, quantity, net, params, x, target, max_norm):
    """The sum, or of what it returns besides the norms alone, so that XLA leaves the rest out."""
    net, params, names = built(net, params)

    def loss(params, x, target):
        return plain_losses(LOSS, plain(best(net), params, x, None), target).mean()

    of = clipped_grad(
        loss, l2_clip_norm=max_norm, batch_argnums=(1, 2), return_grad_norms=True,
        microbatch_size=None if parts == 1 else max(len(x) // parts, 1),
    )  # fmt: skip

    def f(params, x, target):
        grads, aux = of(params, x, target)
        return grads if quantity == "clipped" else aux.grad_norms

    return runner(f, names, params, jnp.array(x), jnp.array(target))


if __name__ == "__main__":
    main(*(functools.partial(start, parts) for parts in (1, 4)))
