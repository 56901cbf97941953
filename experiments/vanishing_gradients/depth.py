"""The error signals of deep networks, the sigmoid's bound on them, and the theory of wide ones."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common.data import Rows

LOSS = fnn.SoftmaxCrossEntropy()


class Kind(NamedTuple):
    """An activation and the weights that suit it."""

    activation: fnn.Layer[Any, Any]
    w_init: Any
    variance: float  # v, width · Var(w)


KINDS = {
    "sigmoid": Kind(fnn.Sigmoid(), fnn.glorot_uniform, 1.0),
    "tanh": Kind(fnn.Tanh(), fnn.glorot_uniform, 1.0),
    "ReLU": Kind(fnn.ReLU(), fnn.he_normal, 2.0),
}


class Signals(NamedTuple):
    """What one depth shows, for all seeds."""

    deltas: np.ndarray  # ‖δ_l‖, [seeds, L]
    gradients: np.ndarray  # ‖∂L/∂w_1‖, [seeds]
    slack: float  # the smallest bound / ‖δ_l‖, over all seeds, layers and digits
    bounds: np.ndarray  # 4^−(L−l) s(w_{l+1}) ... s(w_L), [seeds, L]


def network(kind: Kind, width: int, depth: int) -> fnn.Serial:
    """`depth` hidden layers, and the output."""
    hidden = fnn.Serial(fnn.Dense(width, width, kind.w_init), kind.activation)
    return fnn.Serial(fnn.Repeat(depth, hidden), fnn.Dense(width, 10))


def signals(kind: Kind, depths: list[int], rows: Rows, keys: Any) -> list[Signals]:
    """Norms of δ and of the first gradient for every depth, and the sigmoid's bound.

    A network of d hidden layers is the deepest one without its others.
    """
    x, width = jnp.asarray(rows.x, float), rows.x.shape[1]
    params = jax.jit(jax.vmap(network(kind, width, depths[-1]).init))(keys)
    found = []
    for depth in depths:
        (hidden,), output = params
        first = jax.tree.map(lambda a, d=depth: a[:, :d], hidden)
        norms, gradients = seen(network(kind, width, depth), ((first,), output), x, rows.label)
        bounds = lowest_rates(np.linalg.norm(np.asarray(first[0].w), 2, axis=(-2, -1)))
        below = norms[:, :-1]  # at the last layer the bound is δ itself
        slack = (bounds[:, :-1, None] * norms[:, -1:] / below).min() if below.all() else np.inf
        found.append(Signals(np.linalg.norm(norms, axis=-1), gradients, float(slack), bounds))
    return found


def seen(net: fnn.Serial, params: Any, x: Any, target: Any) -> tuple[np.ndarray, np.ndarray]:
    """Norms of every δ [seeds, L, rows], and of the first gradient [seeds]."""

    @jax.jit
    @jax.vmap
    def run(params):
        _, deltas = fnn.value_and_grad(net, LOSS, params, x, target, rule=fnn.deltas)
        ((dense, _),), _ = deltas
        return jnp.linalg.norm(dense, axis=-1), jnp.linalg.norm(x.T @ dense[0])

    norms, gradients = run(params)
    return np.asarray(norms), np.asarray(gradients)


def lowest_rates(s: np.ndarray) -> np.ndarray:
    """4^−(L−l) s_{l+1} ... s_L for every l, of largest singular values [..., L]."""
    factors = np.concatenate([s[..., 1:] / 4, np.ones_like(s[..., :1])], -1)
    return np.cumprod(factors[..., ::-1], -1)[..., ::-1]


def theory(kind: Kind, depth: int, square: float) -> np.ndarray:
    """‖δ_l‖ / ‖δ_L‖ [L] of infinitely wide layers; `square` is the mean of x²."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)  # none at a kink in 0
    weights = weights / weights.sum()
    q, rates = kind.variance * square, []
    for _ in range(depth):
        z = jnp.asarray(np.sqrt(q) * nodes)
        f, cache = kind.activation.forward((), z)
        _, slope = kind.activation.backward((), cache, jnp.ones_like(z))
        rates.append(kind.variance * float(weights @ np.asarray(slope) ** 2))
        q = kind.variance * float(weights @ np.asarray(f) ** 2)
    steps = np.sqrt([*rates[:-1], 1.0])
    return np.cumprod(steps[::-1])[::-1]
