"""Three models that are linear in x, and one that is not, trained alike.

All rows in every step, by Adam; many sets and repetitions at once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles

LINEAR, LOGISTIC, SOFTMAX, MLP = MODELS = (
    "linear regression", "logistic regression", "softmax classifier", "multilayer perceptron",
)  # fmt: skip
LOSSES = {
    LINEAR: fnn.SquaredError(0.5), LOGISTIC: fnn.SigmoidBinaryCrossEntropy(),
    SOFTMAX: fnn.SoftmaxCrossEntropy(), MLP: fnn.SoftmaxCrossEntropy(),
}  # fmt: skip
HIDDEN = [32, 32]


class Rows(NamedTuple):
    """Rows to learn from and fresh ones, for every set and repetition."""

    x: Any  # [..., N, n]
    target: Any  # [..., N, K]: numbers, or one-hot classes
    test_x: Any
    test_target: Any


def made(key: Any, repetitions: int, n: int, sets: Any, numbers: bool) -> Rows:
    """The made-up sets, [sets, repetitions, ...]."""
    keys = jax.random.split(key, (2, repetitions))

    def draw(make, key):
        x, target = make(key, n)
        return x, target if numbers else jax.nn.one_hot(target, 2)

    drawn = jax.jit(lambda part: [jax.vmap(lambda k, m=m: draw(m, k))(part) for m in sets])
    parts = [drawn(part) for part in keys]
    stacked = [[jnp.stack(a) for a in zip(*part, strict=True)] for part in parts]
    return Rows(*stacked[0], *stacked[1])


def digits() -> Rows:
    """The digits, [1, 1, ...]: pixels between 0 and 1."""
    data = bundles.digits()
    parts = [
        a for rows in (data.train, data.test) for a in (rows.x / 16, jax.nn.one_hot(rows.label, 10))
    ]
    return Rows(*(jnp.asarray(a)[None, None] for a in parts))


def net(model: str, rows: Rows) -> fnn.Serial:
    """The model for these rows."""
    n, k = rows.x.shape[-1], rows.target.shape[-1]
    return fnn.mlp([n, *(HIDDEN if model == MLP else []), k], activation=fnn.Tanh())


def taught(key: Any, steps: int, model: str, rows: Rows, loss: Any, points: Any) -> tuple[Any, Any]:
    """y for the fresh rows and for `points`, for every set and repetition."""
    f, keys = net(model, rows), jax.random.split(key, rows.x.shape[:2])
    plan = fnn.Plan(f, loss, fnn.optim.Adam(0.01))

    def one(key, x, target, test_x):
        start = fnn.start(plan, None, f.init(key))
        done, _ = fnn.fit(plan, start, (x, target), epochs=steps, batch_size=x.shape[0])
        return f.forward(done.params, test_x)[0], f.forward(done.params, points)[0]

    return jax.jit(jax.vmap(jax.vmap(one)))(keys, rows.x, rows.target, rows.test_x)


def scores(y: Any, t: Any, numbers: bool) -> np.ndarray:
    """R² or the share of right classes, [sets, repetitions]."""
    y, t = np.asarray(y), np.asarray(t)
    if not numbers:
        return (y.argmax(-1) == t.argmax(-1)).mean(-1)
    spread = ((t - t.mean(-2, keepdims=True)) ** 2).sum((-1, -2))
    return 1 - ((t - y) ** 2).sum((-1, -2)) / spread
