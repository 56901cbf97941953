"""Points where the gradient of a tiny network is 0, and what the Hessian says there.

    y = b + Σ_k v_k tanh(x·u_k + c_k)        J = mean (y − t)² + λ/2 (‖u‖² + ‖v‖²)

At u = v = c = 0, b = mean t the gradient is 0, and with g = mean 2 (b − t) x the Hessian has,
for each of the n hidden units, the eigenvalues λ + ‖g‖, λ − ‖g‖, 0 (of c_k) and n_0 − 1 times
λ, and 2 once (of b): a saddle with n directions down where ‖g‖ > λ. From a minimum, n! 2ⁿ
others come by the order of the units and the signs of u_k, c_k, v_k.

Source: Goodfellow, Bengio & Courville (2016), Deep Learning, sections 8.2.2 and 8.2.3.
"""

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn
from experiments.minima.matching import reordered

LOSS, LAMBDA = fnn.SquaredError(), 0.01
N_IN, N_HIDDEN = 2, 3
NET = fnn.mlp([N_IN, N_HIDDEN, 1], activation=fnn.Tanh())


class Critical(NamedTuple):
    """A point, or several with a first axis."""

    loss: Any
    slope: Any  # ‖∇J‖
    curvatures: Any  # eigenvalues of the Hessian, ascending


def data(key: Any, rows: int = 60) -> tuple[Any, Any]:
    """x [rows, 2] and a smooth function of it with noise, [rows, 1]."""
    k_x, k_e = jax.random.split(key)
    x = jax.random.normal(k_x, (rows, N_IN))
    noise = 0.1 * jax.random.normal(k_e, (rows, 1))
    return x, jnp.sin(x[:, :1]) + x[:, :1] * x[:, 1:] + noise


def critical(params: Any, x: Any, t: Any) -> Critical:
    """J, the hand-written gradient's norm, and the eigenvalues of that gradient's derivative."""
    flat, unflatten = ravel_pytree(params)

    def objective(flat):
        return fnn.value_and_grad(NET, LOSS, unflatten(flat), x, t, penalty=fnn.L2(LAMBDA))

    def gradient(flat):
        return ravel_pytree(objective(flat)[1])[0]

    hessian = jax.jacfwd(gradient)(flat)
    loss, slope = objective(flat)[0], jnp.linalg.norm(gradient(flat))
    return Critical(loss, slope, jnp.linalg.eigvalsh((hessian + hessian.T) / 2))


def zero_point(x: Any, t: Any) -> tuple[Any, np.ndarray]:
    """The critical point at 0, and the eigenvalues that it should have, ascending."""
    flat, unflatten = ravel_pytree(NET.init(jax.random.key(0)))
    params = unflatten(jnp.zeros_like(flat))
    params = (*params[:-1], params[-1]._replace(b=t.mean(0)))
    g = np.linalg.norm((2 * (t.mean() - t) * x).mean(0))
    each = [LAMBDA + g, LAMBDA - g, 0, *[LAMBDA] * (N_IN - 1)]
    return params, np.sort([*each * N_HIDDEN, 2.0])


def minima(keys: Any, x: Any, t: Any, steps: int) -> tuple[Any, Critical]:
    """Where descent with momentum ends from random starts, one for every key."""
    params = [NET.init(key) for key in keys]
    starts = jax.tree.map(lambda *p: 3 * jnp.stack(p), *params)
    plan = fnn.Plan(NET, LOSS, fnn.optim.Momentum(0.05, 0.95), penalty=fnn.L2(LAMBDA))

    def run(params):
        start = fnn.start(plan, None, params)
        end = fnn.fit(plan, start, (x, t), epochs=steps, batch_size=len(x))[0].params
        return end, critical(end, x, t)

    ends, found = jax.jit(jax.vmap(run))(starts)
    return jax.tree.map(np.asarray, ends), jax.tree.map(np.asarray, found)


def copies(params: Any) -> Any:
    """The n! 2ⁿ points that are the same function, with a first axis."""
    params = jax.tree.map(np.asarray, params)
    orders = itertools.permutations(range(N_HIDDEN))
    signs = itertools.product((1, -1), repeat=N_HIDDEN)
    found = []
    for order, sign in itertools.product(orders, signs):
        first, middle, last = reordered(params, [np.array(order)])
        turn = np.array(sign, first.w.dtype)
        turned = fnn.DenseParams(first.w * turn, first.b * turn)
        found.append((turned, middle, last._replace(w=last.w * turn[:, None])))
    return jax.tree.map(lambda *p: np.stack(p), *found)
