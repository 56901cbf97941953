import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments import gates
from experiments.parts import systems


def test_factor_knows_its_derivative():
    layer, key = systems.Factor(), jax.random.key(0)
    params, x = layer.init(key), jnp.arange(6.0).reshape(3, 2)
    y, cache = layer.forward(params, x)
    ours = layer.backward(params, cache, jnp.cos(y))
    _, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(jnp.cos(y))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.fixture
def double_precision(single_precision):
    with jax.enable_x64(True):
        yield


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


@pytest.fixture(scope="module")
def outcome():
    with jax.enable_x64(False):
        return gates.measure(gates.Config(starts=2))


def test_both_gradients_learn_all_but_xor_with_a_linear_net(outcome):
    learned = {
        system.name: [
            outcome.measured[system.name][method]["learned"] for method in systems.METHODS
        ]
        for system in systems.SYSTEMS
    }
    assert learned == {
        "twice": [True, True], "AND": [True, True], "OR": [True, True],
        "XOR, linear": [False, False], "XOR, two layers": [True, True],
    }  # fmt: skip
    # the best that a linear net can say is 1/2, everywhere
    for method, tolerance in zip(systems.METHODS, (1e-3, 2e-3), strict=True):
        linear = outcome.measured["XOR, linear"][method]
        np.testing.assert_allclose(linear["y"], 0.5, atol=tolerance)
        assert linear["cost"] == pytest.approx(0.25, abs=1e-5)


def test_the_table_of_points_holds_every_output_beside_its_target(outcome):
    assert len(outcome.rows) == 5 * 2 * 4
    xor = [row for row in outcome.rows if row["system"] == "XOR, two layers"]
    assert [row["x"] for row in xor[:4]] == ["0 0", "0 1", "1 0", "1 1"]
    assert all(round(row["y"]) == row["target"] for row in xor)


def test_without_a_bend_no_start_learns_xor():
    starts = systems.count_starts(range(3), 3000)
    assert starts["3 linear"] == 0
    assert starts["3 sigmoid"] == 3
