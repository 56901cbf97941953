"""A few digits to learn from, some of their labels wrong, and what is learned of them.

Half of the digits judge, a tenth decides when to stop, `rows` of the others are learned,
drawn anew for every key. With probability `noise` a label to learn or to stop by is drawn
anew from all ten classes. Pixels are divided by 16.

    risk on the data  the mean loss over the rows that were learned, labels as they were given
    risk              the mean loss over the half that judges, in expectation over the same noise
    gap               the difference of the two
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles
from experiments.common.data import Rows, split
from experiments.common.settings import EVERY

LOSS = fnn.SoftmaxCrossEntropy()
CLASSES = 10


class Few(NamedTuple):
    """What one network learns from, stops by and is judged by."""

    x: Any  # [rows, 64]
    label: Any  # [rows]
    x_stop: Any
    label_stop: Any
    x_judge: Any
    label_judge: Any  # right ones
    expected: Any  # [N, 10] the distribution of a label under the noise


@functools.cache
def parts() -> list[Rows]:
    """Rows to draw from, to stop by and to judge by."""
    digits = bundles.digits()
    every = [np.concatenate(part) for part in zip(*digits.parts().values(), strict=True)]
    return split(Rows((every[0] / 16).astype(np.float32), every[1]), (0.4, 0.1, 0.5), seed=0)


def drawn(key: Any, rows: int, noise: Any) -> Few:
    """`rows` digits of the first part, and the labels that they are given."""
    pool, stop, judge = parts()
    k_rows, k_label, k_stop = jax.random.split(key, 3)
    chosen = jax.random.permutation(k_rows, len(pool.x))[:rows]
    expected = (1 - noise) * jnp.eye(CLASSES)[judge.label] + noise / CLASSES
    return Few(
        jnp.asarray(pool.x)[chosen],
        given(k_label, jnp.asarray(pool.label)[chosen], noise),
        jnp.asarray(stop.x),
        given(k_stop, jnp.asarray(stop.label), noise),
        jnp.asarray(judge.x),
        jnp.asarray(judge.label),
        expected,
    )


@functools.partial(jax.jit, static_argnames="rows")
def drawn_for(keys: Any, rows: int, noise: Any) -> Few:
    """`drawn` for every key, stacked."""
    return jax.vmap(lambda key: drawn(key, rows, noise))(keys)


def given(key: Any, label: Any, noise: Any) -> Any:
    """The labels, each drawn anew with probability `noise`."""
    k_which, k_what = jax.random.split(key)
    other = jax.random.randint(k_what, label.shape, 0, CLASSES, label.dtype)
    return jnp.where(jax.random.bernoulli(k_which, noise, label.shape), other, label)


def trained(
    net: fnn.Layer[Any, Any], data: Few, key: Any, epochs: int, strengths: Any = (0.0,)
) -> dict[str, np.ndarray]:
    """The scores, name → [λ, seeds, periods], of nets that learn stacked data with L2."""
    keys = jax.random.split(key, len(data.x))
    found = _trained(net, data, keys, jnp.asarray(strengths), epochs // EVERY)
    return {name: np.asarray(values) for name, values in found.items()}


@functools.partial(jax.jit, static_argnames="periods")
def _trained(net: Any, data: Few, keys: Any, strengths: Any, periods: int) -> dict[str, Any]:
    """`learned` for every λ and every seed."""

    def one(strength, data, key):
        return learned(net, data, key, fnn.L2(strength), periods)

    return jax.vmap(jax.vmap(one, (None, 0, 0)), (0, None, None))(strengths, data, keys)


def learned(net: Any, few: Few, key: Any, penalty: Any, periods: int) -> dict[str, Any]:
    """The scores after every period of epochs, name → [periods]."""
    k_init, k_fit = jax.random.split(key)
    rows = few.x, few.label
    plan = fnn.Plan(net, LOSS, fnn.optim.Momentum(0.05), penalty=penalty)

    def period(state, _):
        state, _ = fnn.fit(plan, state, rows, epochs=EVERY, batch_size=50)
        return state, scores(net, state.params, few)

    start = fnn.start(plan, k_fit, net.init(k_init))
    return jax.lax.scan(period, start, length=periods)[1]


def scores(net: fnn.Layer[Any, Any], params: Any, few: Few) -> dict[str, Any]:
    """Risks of the evaluation network, their gap, and the accuracy on right labels."""
    net, params = fnn.inference(net, params)
    y, _ = net.forward(params, few.x_judge)
    risk = LOSS.forward(y, few.expected)[0].mean()
    on_data = LOSS.forward(net.forward(params, few.x)[0], few.label)[0].mean()
    stop = LOSS.forward(net.forward(params, few.x_stop)[0], few.label_stop)[0].mean()
    right = fnn.accuracy(y, few.label_judge).mean()
    return {
        "on data": on_data, "risk": risk, "gap": risk - on_data, "stop": stop, "accuracy": right
    }  # fmt: skip


def stopped(history: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The scores [...] in the period [..., periods] with the least loss on the rows to stop by."""
    best = history["stop"].argmin(-1)[..., None]
    return {k: np.take_along_axis(values, best, -1)[..., 0] for k, values in history.items()}
