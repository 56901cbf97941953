"""Rectifiers at work: which outputs are zero, before, in and after training.

look       zeros, neurons that are never positive, without gradient or both, ‖δ_1‖ / ‖δ_L‖
history    many networks before training, some of them after every epoch
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common.data import Rows

LOSS = fnn.SoftmaxCrossEntropy()
LEAK = 0.1
ACTIVATIONS = {"ReLU": fnn.ReLU(), "leaky ReLU": fnn.LeakyReLU(LEAK)}
WIDTH = 32


class Seen(NamedTuple):
    """What one look at networks shows, [rates, seeds, layers] but for the last."""

    zeros: Any  # share of z ≤ 0
    dead: Any  # share of neurons with z ≤ 0 for every digit
    stuck: Any  # share of neurons whose weights get no gradient
    reached: Any  # share of neurons that are dead and yet get a gradient
    kept: Any  # ‖δ_1‖ / ‖δ_L‖, [rates, seeds]


def look(net: fnn.Serial, params: Any, x: Any, target: Any) -> Seen:
    """One network at all digits; NaN where training has diverged."""
    positive, hidden = [], x
    for layer, p in zip(net.layers[:-1], params, strict=False):
        hidden, _ = layer.forward(p, hidden)
        positive.append(hidden > 0)
    on = jnp.stack(positive[1::2])  # [layers, rows, neurons]
    both = fnn.rules.backprop, fnn.rules.deltas
    grads, deltas = fnn.fold(net, LOSS, params, x, target, rule=both).result
    none = jnp.stack([(g.w == 0).all(0) & (g.b == 0) for g in grads[:-1:2]])
    first, last = (jnp.linalg.norm(deltas[i]) for i in (0, -3))
    dead = ~on.any(1)
    shares = (~on).mean((1, 2)), dead.mean(1), none.mean(1), (dead & ~none).mean(1)
    finite = jnp.isfinite(hidden).all()
    return Seen(*(jnp.where(finite, share, jnp.nan) for share in (*shares, first / last)))


class History(NamedTuple):
    """What one activation shows."""

    before: Seen  # [draws, ...], networks that are not trained
    seen: list[Seen]  # [rates, seeds, ...], after every epoch
    accuracy: np.ndarray  # of the last epoch, [rates, seeds]


def history(
    name: str, layers: int, rates: Sequence[float], epochs: int, rows: Rows, keys: Any, seeds: int
) -> History:
    """Look at a network for every key; train the first `seeds` of them at every rate."""
    sizes = [rows.x.shape[1], *[WIDTH] * layers, 10]
    net = fnn.mlp(sizes, activation=ACTIVATIONS[name])
    x, target = jnp.asarray(rows.x), jnp.asarray(rows.label)

    def plan(rate):
        return fnn.Plan(net, LOSS, fnn.optim.SGD(rate), metrics={"accuracy": fnn.accuracy})

    def begin(rate, key):
        return fnn.start(plan(rate), key, net.init(key))

    def learn(rate, state):
        state, row = fnn.epoch(plan(rate), state, (x, target), batch_size=32)
        return state, row["accuracy"], look(net, state.params, x, target)

    def every(f, axis):
        return jax.jit(jax.vmap(jax.vmap(f, (None, 0)), (0, axis)))

    drawn = jax.jit(jax.vmap(lambda key: look(net, net.init(key), x, target)))
    steps = jnp.asarray(rates, jnp.float32)
    state = every(begin, None)(steps, keys[:seeds])
    looks, accuracy, learns = [], None, every(learn, 0)
    for _ in range(epochs):
        state, accuracy, seen = learns(steps, state)
        looks.append(Seen(*map(np.asarray, seen)))
    before = Seen(*map(np.asarray, drawn(keys)))
    return History(before, looks, np.asarray(accuracy))


def exact(x: Any) -> bool:
    """Whether the backward passes multiply by 1 where x > 0, elsewhere by 0 or the leak."""
    for activation, slope in zip(ACTIVATIONS.values(), (0.0, LEAK), strict=True):
        _, cache = activation.forward((), x)
        _, dx = activation.backward((), cache, jnp.ones_like(x))
        if not (np.asarray(dx) == np.where(x > 0, np.float32(1), np.float32(slope))).all():
            return False
    return True
