"""A network of ten hidden units under all 1024 masks of its dropout.

    y = (relu(x w₁ + b₁) ⊙ m c) w₂ + b₂        c = 1/(1 − p) inverted, 1 standard

Nothing is drawn at random: every mask counts with its probability.
"""

import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn

HIDDEN = 10
BEFORE = fnn.Serial(fnn.Dense(64, HIDDEN, fnn.initializers.he_normal), fnn.ReLU())
AFTER = fnn.Dense(HIDDEN, 10)
LOSS = fnn.SquaredError()


def masks(n: int) -> np.ndarray:
    """Every mask of n units, [2ⁿ, n]."""
    return np.array(list(itertools.product((False, True), repeat=n)))


def chances(kept: np.ndarray, rate: float) -> np.ndarray:
    """The probability of every mask."""
    n_kept = kept.sum(-1)
    return (1 - rate) ** n_kept * rate ** (kept.shape[-1] - n_kept)


def masked(drop: fnn.Dropout, params: Any, x: Any, target: Any, kept: Any) -> tuple[Any, Any, Any]:
    """y, the mean loss and its hand-written gradient, with the mask given."""
    first, last = params
    a, c_before = BEFORE.forward(first, x)
    _, c_drop = drop.forward((), a, key=jax.random.key(0))
    y, c_after = AFTER.forward(last, drop.masked(kept, a))
    losses, dy = LOSS.value_and_backward(y, target, jnp.full(len(x), 1 / len(x)))
    d_last, dz = AFTER.backward(last, c_after, dy)
    _, da = drop.backward((), c_drop._replace(kept=jnp.broadcast_to(kept, a.shape)), dz)
    d_first, _ = BEFORE.backward(first, c_before, da)
    return y, losses.mean(), (d_first, d_last)


def mean_loss(drop: fnn.Dropout, params: Any, x: Any, target: Any) -> Any:
    """The loss that all masks have on average, in closed form and without fnn's layers."""
    ((w1, b1), _), (w2, b2) = params
    keep = 1 - drop.rate
    a = jnp.maximum(x @ w1 + b1, 0)
    mean, spread = (1, drop.rate / keep) if drop.inverted else (keep, drop.rate * keep)
    off = (mean * a @ w2 + b2 - target) ** 2
    return (off.sum(-1) + spread * (a**2 @ w2**2).sum(-1)).mean()


@functools.partial(jax.jit, static_argnames="drop")
def exact(drop: fnn.Dropout, params: Any, x: Any, target: Any) -> dict[str, Any]:
    """How far the means over all masks are from the test-time network and the mean loss."""
    kept = masks(HIDDEN)
    p = jnp.asarray(chances(kept, drop.rate))
    every = jax.vmap(lambda m: masked(drop, params, x, target, m))
    y, losses, grads = every(jnp.asarray(kept))
    gradient = ravel_pytree(jax.tree.map(lambda g: jnp.tensordot(p, g, 1), grads))[0]
    test, test_params = fnn.inference(fnn.Serial(BEFORE, drop, AFTER), (params[0], (), params[1]))
    y_test, _ = test.forward(test_params, x)
    loss, truth = jax.value_and_grad(lambda w: mean_loss(drop, w, x, target))(params)
    _, at_test = fnn.value_and_grad(test, LOSS, test_params, x, target)
    truth, at_test = ravel_pytree(truth)[0], ravel_pytree(at_test)[0]
    mean = jnp.tensordot(p, jax.nn.softmax(y), 1)
    return {
        "output": abs(jnp.tensordot(p, y, 1) - y_test).max(),
        "loss": abs(p @ losses / loss - 1),
        "gradient": jnp.linalg.norm(gradient - truth) / jnp.linalg.norm(truth),
        "test gradient": jnp.linalg.norm(gradient - at_test) / jnp.linalg.norm(at_test),
        "probability": abs(mean - jax.nn.softmax(y_test)).max(-1).mean(),
        "same class": (mean.argmax(-1) == y_test.argmax(-1)).mean(),
    }
