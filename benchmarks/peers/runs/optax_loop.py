"""jax.value_and_grad and optax: a jitted step in a Python loop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.peers.runs import BATCH, HIDDEN, RATE, main

OPTIMIZER = optax.adam(RATE)


def initial(key, n_in):
    """He-normal weights, zero biases."""
    sizes, keys = [n_in, HIDDEN, 10], jax.random.split(key)
    return [
        (jax.random.normal(k, (m, n)) * (2 / m) ** 0.5, jnp.zeros(n))
        for k, m, n in zip(keys, sizes[:-1], sizes[1:], strict=True)
    ]


def logits(params, x):
    """The net."""
    (w1, b1), (w2, b2) = params
    return jax.nn.relu(x @ w1 + b1) @ w2 + b2


@jax.jit
def step(params, state, x, target):
    """One update."""

    def value(params):
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(params, x), target)
        return losses.mean()

    loss, grads = jax.value_and_grad(value)(params)
    updates, state = OPTIMIZER.update(grads, state, params)
    return optax.apply_updates(params, updates), state, loss


def run(x, target, epochs, seed):
    """Batches are cut by numpy, the fastest way for arrays of this size."""
    rng, params = np.random.default_rng(seed), initial(jax.random.key(seed), x.shape[1])
    state = OPTIMIZER.init(params)
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for i in range(0, len(x), BATCH):
            rows = order[i : i + BATCH]
            params, state, _ = step(params, state, x[rows], target[rows])
    jax.block_until_ready(params)
    return lambda: float((logits(params, x).argmax(-1) == target).mean())


if __name__ == "__main__":
    main([run])
