import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import optimizers


@pytest.mark.long
def test_all_at_once_is_what_fit_does_one_by_one():
    k_x, k_init = jax.random.split(jax.random.key(0))
    x, label = jax.random.normal(k_x, (64, 64)), jnp.arange(64) % 10
    start = optimizers.NET.init(k_init)
    order = jnp.arange(64).reshape(1, 2, 1, 32)
    grids = jnp.full((len(optimizers.OPTIMIZERS), 1), 0.01)
    starts = jax.tree.map(lambda a: a[None], start)
    losses, params = optimizers.trained(grids, starts, x, label, order)
    for k, (make, _) in enumerate(optimizers.OPTIMIZERS.values()):
        plan = fnn.Plan(optimizers.NET, optimizers.LOSS, make(0.01))
        state, row = fnn.epoch(plan, fnn.start(plan, None, start), (x, label), batch_size=32)
        assert losses[0, k, 0, 0] == pytest.approx(float(row["loss"]), rel=1e-5)
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(a[k, 0, 0], b, atol=2e-5)
