import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from experiments import gates
from experiments.common import cli


def test_factor_knows_its_derivative():
    layer, key = gates.Factor(), jax.random.key(0)
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
@pytest.mark.parametrize("system", gates.SYSTEMS, ids=lambda system: system.name)
def test_quotient_is_off_by_a_multiple_of_epsilon(system):
    params = system.net.init(jax.random.key(0))
    exact = ravel_pytree(gates.hand_written(system)(params)[1])[0]

    def error(epsilon):
        c, g = gates.quotient(system, epsilon)(params)
        assert c == pytest.approx(float(gates.hand_written(system)(params)[0]))
        return float(abs(ravel_pytree(g)[0] - exact).max())

    assert error(1e-4) / error(1e-3) == pytest.approx(0.1, rel=0.02)


def test_both_gradients_learn_all_but_xor_with_a_linear_net(tmp_path, capsys):
    assert cli.run(gates.main, gates.Config, ["--out", str(tmp_path / "run")]) == 0
    assert {p.name for p in (tmp_path / "run").iterdir()} == {
        "config.json", "summary.json", "gates.png",
    }  # fmt: skip
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    summary.pop("seconds")
    learned = {
        name: [both[method]["learned"] for method in gates.METHODS]
        for name, both in summary.items()
    }
    assert learned == {
        "twice": [True, True], "AND": [True, True], "OR": [True, True],
        "XOR, linear": [False, False], "XOR, two layers": [True, True],
    }  # fmt: skip
    # the best that a linear net can say is 1/2, everywhere
    np.testing.assert_allclose(summary["XOR, linear"]["hand-written"]["y"], 0.5, atol=1e-3)
    assert "quotient" in capsys.readouterr().out
