"""Linear regression by gradient descent, and the rows of diabetes that it is asked about.

    J = 1/(2N) Σ (x w + b − t)² + penalty(w)

Standardised columns make XᵀX/N the correlations; the bias takes the mean of t.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.common import bundles

LOSS = fnn.SquaredError(0.5)


def diabetes(rows: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """x [N, 10] and t [N, 1] of the first `rows`, standardised, in float64."""
    x, t = (np.asarray(a[:rows], np.float64) for a in bundles.diabetes())
    return (x - x.mean(0)) / x.std(0), ((t - t.mean()) / t.std())[:, None]


def descended(x: Any, target: Any, penalty: Any, optimizer: Any, steps: int) -> fnn.DenseParams:
    """w [n, m] and b [m] after `steps` of full-batch descent from 0, for target [N, m]."""
    net = fnn.Dense(x.shape[1], target.shape[1], fnn.initializers.zeros)
    plan = fnn.Plan(net, LOSS, optimizer, penalty=penalty)
    start = fnn.start(plan, None, net.init(jax.random.key(0)))
    data = (jnp.asarray(x), jnp.asarray(target))
    return fnn.fit(plan, start, data, epochs=steps, batch_size=len(x))[0].params


def ridge(x: Any, target: Any, strengths: Any, steps: int) -> fnn.DenseParams:
    """w [k, n, m] and b [k, m] for every strength λ of an L2 penalty.

    The step is one over the largest curvature, which λ adds to.
    """
    largest = float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])

    @jax.jit
    @jax.vmap
    def trained(strength):
        rate = 1 / (largest + strength)
        return descended(x, target, fnn.L2(strength), fnn.optim.SGD(rate), steps)

    return trained(jnp.asarray(strengths))


def lasso(x: Any, target: Any, strengths: Any, steps: int) -> fnn.DenseParams:
    """w [k, n, m] and b [k, m] for every strength λ of an L1 penalty, by proximal steps."""
    rate = 1 / float(np.linalg.eigvalsh(x.T @ x / len(x))[-1])

    @jax.jit
    @jax.vmap
    def trained(strength):
        optimizer = fnn.optim.Proximal(fnn.optim.SGD(rate), fnn.L1(strength))
        return descended(x, target, None, optimizer, steps)

    return trained(jnp.asarray(strengths))


def freedom(x: Any, strengths: Any, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Effective degrees of freedom for every λ: the trace of ∂ŷ/∂t as trained, and in theory.

    ŷ is linear in t: with every column of the identity as a target, ŷ is ∂ŷ/∂t. The bias
    is not shrunk and counts one.
    """
    w, b = ridge(x, np.eye(len(x)), strengths, steps)
    hats = x @ np.asarray(w) + np.asarray(b)[:, None]
    s2 = np.linalg.eigvalsh(x.T @ x / len(x))
    return hats.trace(axis1=1, axis2=2), 1 + (s2 / (s2 + np.asarray(strengths)[:, None])).sum(1)
