"""Three convex costs of θ = (w, b) with a known bound on their curvature, and descent on them.

Source: Böhning (1992), Annals of the Institute of Statistical Mathematics 44, section 2, for
the bound.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.common import bundles
from experiments.common.data import Standardizer

PENALTY = fnn.L2(1e-3)
LOGISTIC, COINS, SQUARED = COSTS = (
    "logistic regression", "logistic regression, random labels", "squared errors"
)  # fmt: skip


class Problem(NamedTuple):
    """A convex cost of a vector θ = (w, b)."""

    loss: Any
    x: Any
    target: Any
    net: Any
    curvature: float  # β


def problem(name: str, key: Any) -> Problem:
    """One of COSTS, with β from the data."""
    loss, c = fnn.SigmoidBinaryCrossEntropy(), 0.25
    if name == SQUARED:
        loss, c = fnn.SquaredError(), 2.0
    rows = bundles.breast_cancer().rows
    x = Standardizer.of(rows.x)(rows.x).astype(np.float64)
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    hessian = c * ones.T @ ones / len(x) + PENALTY.strength * np.diag([1.0] * x.shape[1] + [0])
    coins = jax.random.bernoulli(key, 0.5, (len(x), 1))
    target = jnp.asarray(coins if name == COINS else rows.label[:, None], float)
    net = fnn.Dense(x.shape[1], 1)
    return Problem(loss, jnp.asarray(x), target, net, float(np.linalg.eigvalsh(hessian)[-1]))


def cost_and_gradient(p: Problem, theta: Any) -> tuple[Any, Any]:
    """J(θ) and ∇J(θ)."""
    params = fnn.DenseParams(theta[:-1, None], theta[-1:])
    value, grads = fnn.value_and_grad(p.net, p.loss, params, p.x, p.target, penalty=PENALTY)
    return value, ravel_pytree(grads)[0]


class Landmarks(NamedTuple):
    """What Newton's method and the Hessian say of a cost."""

    best: Any  # θ*
    lowest: float  # J*
    steepest: float  # the largest eigenvalue of the Hessian at 0 and at θ*


def landmarks(p: Problem) -> Landmarks:
    """The minimum and the curvature."""
    value_and_gradient = jax.jit(lambda theta: cost_and_gradient(p, theta))
    hessian = jax.jit(jax.jacfwd(lambda theta: cost_and_gradient(p, theta)[1]))
    theta = jnp.zeros(p.x.shape[1] + 1)
    steepest = [float(jnp.linalg.eigvalsh(hessian(theta))[-1])]
    for _ in range(30):
        theta = theta - jnp.linalg.solve(hessian(theta), value_and_gradient(theta)[1])
    steepest.append(float(jnp.linalg.eigvalsh(hessian(theta))[-1]))
    return Landmarks(theta, float(value_and_gradient(theta)[0]), max(steepest))


@partial(jax.jit, static_argnames="steps")
def descents(x: Any, target: Any, loss: Any, starts: Any, rates: Any, steps: int) -> Any:
    """J [rates, starts, steps + 1] and ‖∇J‖² along gradient descent."""
    p = Problem(loss, x, target, fnn.Dense(x.shape[1], 1), 0.0)

    def run(theta, rate):
        def step(theta, _):
            value, g = cost_and_gradient(p, theta)
            return theta - rate * g, (value, (g**2).sum())

        return jax.lax.scan(step, theta, None, length=steps + 1)[1]

    return jax.vmap(jax.vmap(run, (0, None)), (None, 0))(starts, rates)
