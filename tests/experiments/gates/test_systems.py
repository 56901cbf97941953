import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments.gates import systems


def test_factor_knows_its_derivative():
    layer, key = systems.Factor(), jax.random.key(0)
    params, x = layer.init(key), jnp.arange(6.0).reshape(3, 2)
    y, cache = layer.forward(params, x)
    ours = layer.backward(params, cache, jnp.cos(y))
    _, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(jnp.cos(y))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.long
@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("system", systems.SYSTEMS, ids=lambda system: system.name)
def test_quotient_is_off_by_a_multiple_of_epsilon(system):
    params = system.net.init(jax.random.key(0))
    exact = ravel_pytree(systems.hand_written(system)(params)[1])[0]

    def error(epsilon):
        c, g = systems.quotient(system, epsilon)(params)
        assert c == pytest.approx(float(systems.hand_written(system)(params)[0]))
        return float(abs(ravel_pytree(g)[0] - exact).max())

    assert error(1e-4) / error(1e-3) == pytest.approx(0.1, rel=0.02)


@pytest.mark.long
def test_without_a_bend_no_start_learns_xor():
    starts = systems.count_starts(range(3), 3000)
    assert starts["3 linear"] == 0
    assert starts["3 sigmoid"] == 3
