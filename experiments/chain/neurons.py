"""A chain of L neurons, and its gradient in four ways.

The equations are those of the experiment, with one q for every sample. The parameters are
wb [L, 2], the w and b of every neuron; x and y are [n].

Source: S4, sections 1.4 to 1.7 as corrected.
"""

from typing import Any

import jax
import jax.numpy as jnp

import fnn

LOSS = fnn.SquaredError()


def chain(depth: int) -> fnn.Serial:
    """L neurons in a row."""
    return fnn.mlp([1] * (depth + 1), activation=fnn.Sigmoid(), output=fnn.Sigmoid())


def drawn(depth: int, key: Any) -> Any:
    """[L, 2]: w and b of every neuron; w with either sign, never small."""
    k_w, k_sign, k_b = jax.random.split(key, 3)
    w = jax.random.uniform(k_w, (depth,), minval=1.0, maxval=3.0)
    w *= jax.random.rademacher(k_sign, (depth,), w.dtype)
    return jnp.stack([w, -w / 2 + 0.1 * jax.random.normal(k_b, (depth,))], 1)


def as_params(wb: Any) -> Any:
    """The params of `chain` whose numbers these are."""
    return tuple(
        part for w, b in wb for part in (fnn.DenseParams(w.reshape(1, 1), b.reshape(1)), ())
    )


def by_fnn(wb: Any, x: Any, y: Any) -> Any:
    """The hand-written gradient, [L, 2]."""
    _, grads = fnn.value_and_grad(chain(len(wb)), LOSS, as_params(wb), x[:, None], y[:, None])
    return jnp.stack([jnp.concatenate([g.w[0], g.b]) for g in grads[::2]])


def forward(wb: Any, x: Any) -> list[Any]:
    """a(0), a(1), …, a(L), each [n]."""
    a = [x]
    for w, b in wb:
        a.append(jax.nn.sigmoid(a[-1] * w + b))
    return a


def by_recursion(wb: Any, x: Any, y: Any) -> Any:
    """The equations above, from the output to the input, [L, 2]."""
    a, rows = forward(wb, x), []
    q = 2 / len(x) * (a[-1] - y)
    for l in range(len(wb), 0, -1):
        ds = a[l] * (1 - a[l])
        rows.append(jnp.stack([(q * ds * a[l - 1]).sum(), (q * ds).sum()]))
        q = q * ds * wb[l - 1][0]
    return jnp.stack(rows[::-1])


def by_targets(wb: Any, x: Any, y: Any, nc: float) -> Any:
    """Every neuron's own regression C(l) = c Σ (a(l) − e)², c = nc/n, differentiated, [L, 2]."""
    a, n, rows = forward(wb, x), len(x), []

    def cost(wb, inputs, e, c):
        return c * ((jax.nn.sigmoid(inputs * wb[0] + wb[1]) - e) ** 2).sum()

    e, c = y, 1 / n  # the output's own cost has no ½
    for l in range(len(wb), 0, -1):
        row, d = jax.grad(cost, (0, 1))(wb[l - 1], a[l - 1], jax.lax.stop_gradient(e), c)
        rows.append(row)
        e, c = a[l - 1] - n * d, nc / n
    return jnp.stack(rows[::-1])


def by_free_target(wb: Any, x: Any, y: Any) -> Any:
    """Layer 1 of two with e a function of a(1), as it is where nothing holds it fast, [2]."""

    def cost(first):
        a = jax.nn.sigmoid(x * first[0] + first[1])
        above = lambda a: ((jax.nn.sigmoid(a * wb[1][0] + wb[1][1]) - y) ** 2).mean()  # noqa: E731
        e = a - len(x) * jax.grad(above)(a)
        return ((a - e) ** 2).sum() / (2 * len(x))

    return jax.grad(cost)(wb[0])
