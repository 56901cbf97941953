import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments.minima import critical


@pytest.mark.long
def test_the_copies_are_different_points_of_the_same_function():
    params = critical.NET.init(jax.random.key(0))
    params = (params[0]._replace(b=jnp.array([0.1, 0.2, 0.3])), *params[1:])
    x = jax.random.normal(jax.random.key(1), (5, 2))
    found = critical.copies(params)
    y = jax.vmap(lambda p: critical.NET.forward(p, x)[0])(found)
    np.testing.assert_allclose(
        y, np.broadcast_to(critical.NET.forward(params, x)[0], y.shape), atol=1e-6
    )
    flat = jax.vmap(lambda p: ravel_pytree(p)[0])(found)
    assert len(np.unique(flat, axis=0)) == 48


@pytest.mark.long
def test_curvatures_are_those_of_autodiff():
    with jax.enable_x64(True):
        x, t = critical.data(jax.random.key(0), 7)
        params = critical.NET.init(jax.random.key(1))
        flat, unflatten = ravel_pytree(params)

        def objective(flat):
            (u, c), _, (v, b) = unflatten(flat)
            y = jnp.tanh(x @ u + c) @ v + b
            return ((y - t) ** 2).mean() + critical.LAMBDA / 2 * ((u**2).sum() + (v**2).sum())

        found = jax.jit(critical.critical)(params, x, t)
        np.testing.assert_allclose(found.loss, objective(flat))
        np.testing.assert_allclose(found.slope, jnp.linalg.norm(jax.grad(objective)(flat)))
        truth = jnp.linalg.eigvalsh(jax.jit(jax.hessian(objective))(flat))
        np.testing.assert_allclose(found.curvatures, truth, atol=1e-12)
