import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.common.narrow import narrowed
from experiments.common.stages import fit_in_stages

LOSS = fnn.SquaredError()


@pytest.mark.long
def test_stages_are_one_run_with_looks_in_between():
    net, key = fnn.mlp([2, 3, 1]), jax.random.key(1)
    params, x = net.init(jax.random.key(0)), jax.random.normal(key, (8, 2))
    data = x, x[:, :1]
    plan = fnn.Plan(net, LOSS, fnn.optim.Adam(0.1), penalty=fnn.L2(0.1))
    how = {"stages": 3, "epochs": 2, "key": key, "batch_size": 4}
    end, seen = fit_in_stages(plan, params, data, lambda p: p[0].w, **how)
    for i in range(3):
        start = fnn.start(plan, key, params)
        whole, _ = fnn.fit(plan, start, data, epochs=2 * i + 2, batch_size=4)
        np.testing.assert_allclose(seen[i], whole.params[0].w, rtol=1e-5)
    np.testing.assert_array_equal(end[0].w, seen[-1])


@pytest.mark.long
def test_narrowed_params_are_of_the_size_that_glorot_would_draw():
    wide, net = (fnn.mlp([64, n, n, 10], activation=fnn.Tanh()) for n in (200, 20))
    params = jax.tree.map(lambda p: p[None], wide.init(jax.random.key(0)))
    found = narrowed(net, wide, params)
    drawn = net.init(jax.random.key(1))
    assert jax.tree.map(lambda p: p.shape[1:], found) == jax.tree.map(jnp.shape, drawn)
    for ours, glorot in ((found[i].w, drawn[i].w) for i in (0, 2, 4)):
        np.testing.assert_allclose(ours.std(), glorot.std(), rtol=0.15)
    assert narrowed(wide, wide, params)[0].w.std() == params[0].w.std()
