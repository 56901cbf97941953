"""Odd or even digits: a small ReLU net without biases, trained on some rows, and judged.

    f(x) = relu(x w_1) w_2       x = (64 pixels / 16, 1)       odd where f(x) > 0

The weights are one vector w; fnn's biases stay 0. Rows are a window [low, low + n) of a
shuffled table, so that runs with different N are one vmap. Nothing about the inputs or the
net is chosen by the rows, as the bounds demand.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles

HIDDEN, INPUTS = 16, 65
WEIGHTS = (INPUTS * HIDDEN, HIDDEN)  # of both layers
NET = fnn.mlp([INPUTS, HIDDEN, 1])
LOSS = fnn.SigmoidBinaryCrossEntropy()
BATCH = 128


class Table(NamedTuple):
    """Rows and whether they are odd."""

    x: Any  # [rows, 65]
    odd: Any  # [rows, 1], 0 or 1


class Window(NamedTuple):
    """The rows low ... low + n − 1 of a table."""

    low: Any
    n: Any


def table() -> Table:
    """All 1,797 digits of scikit-learn."""
    rows = bundles.table("digits.csv.gz", tuple("0123456789")).rows
    x = np.concatenate([rows.x / 16, np.ones((len(rows.x), 1))], axis=1)
    return Table(jnp.asarray(x, jnp.float32), jnp.asarray(rows.label % 2, jnp.float32)[:, None])


def matrices(w: Any) -> tuple[Any, Any]:
    """w_1 [65, 16] and w_2 [16, 1]."""
    return w[: WEIGHTS[0]].reshape(INPUTS, HIDDEN), w[WEIGHTS[0] :].reshape(HIDDEN, 1)


def flat(params: Any) -> Any:
    """w, of params or of gradients like them."""
    return jnp.concatenate([params[0].w.ravel(), params[2].w.ravel()])


def params_of(w: Any) -> Any:
    """The params of NET, with biases of 0."""
    first, second = matrices(w)
    return (
        fnn.DenseParams(first, jnp.zeros(HIDDEN)), (), fnn.DenseParams(second, jnp.zeros(1)),
    )  # fmt: skip


def scores(w: Any, x: Any) -> Any:
    """f(x), [rows]."""
    return NET.forward(params_of(w), x)[0][:, 0]


def margins(w: Any, rows: Table) -> Any:
    """f(x) for odd rows, −f(x) for even ones, [rows]: what is not above 0 is wrong."""
    return (2 * rows.odd[:, 0] - 1) * scores(w, rows.x)


def error(w: Any, rows: Table, window: Window) -> Any:
    """The share of the window's rows that are read wrong."""
    index = jnp.arange(len(rows.x))
    inside = (index >= window.low) & (index < window.low + window.n)
    return ((margins(w, rows) <= 0) & inside).sum() / window.n


def loss_and_gradient(key: Any, w: Any, rows: Table, window: Window) -> tuple[Any, Any]:
    """The cross-entropy in bits of a random batch of the window, and ∂/∂w."""
    chosen = window.low + jax.random.randint(key, (BATCH,), 0, window.n)
    value, grads = fnn.value_and_grad(NET, LOSS, params_of(w), rows.x[chosen], rows.odd[chosen])
    return value / math.log(2), flat(grads) / math.log(2)


def train(key: Any, start: Any, rows: Table, window: Window, steps: int) -> Any:
    """w after this many steps of Adam."""
    optimizer = fnn.optim.Adam(3e-3)

    def step(carry, key):
        w, state = carry
        _, g = loss_and_gradient(key, w, rows, window)
        updates, state = optimizer.update(g, state, w)
        return (w + updates, state), None

    (w, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), jax.random.split(key, steps))
    return w


def quantized(w: Any, bits: int, largest: float = 2.0) -> Any:
    """Every weight at the nearest of 2^bits evenly spaced values of [−largest, largest]."""
    gap = 2 * largest / (2**bits - 1)
    return jnp.round((jnp.clip(w, -largest, largest) + largest) / gap) * gap - largest
