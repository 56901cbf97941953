import jax
import numpy as np
import pytest

from experiments import gates
from experiments.gates import systems


@pytest.fixture(scope="module")
def outcome():
    with jax.enable_x64(False):
        return gates.measure(gates.Config(starts=2))


@pytest.mark.long
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
