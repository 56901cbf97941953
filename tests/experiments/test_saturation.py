import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import saturation
from experiments.common import bundles


def test_bounds_are_those_of_the_page():
    np.testing.assert_allclose(saturation.bound("sigmoid", np.array([-2.0, 3.0])), np.exp([-2, -3]))
    np.testing.assert_allclose(saturation.bound("tanh", np.array([-2.0])), 4 * np.exp(-4.0))


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_a_steeper_derivative_breaks_a_bound(name, monkeypatch):
    assert saturation.flatness(name).over < 1e-14
    honest = saturation.derivative
    monkeypatch.setattr(saturation, "derivative", lambda name, z: 1.01 * honest(name, z))
    wrong = saturation.flatness(name)
    assert wrong.highest > saturation.STEEPEST[name]
    assert wrong.over > 1e-6


def test_hidden_outputs_are_those_after_the_activations():
    net = fnn.mlp([2, 32, 32, 1], fnn.Tanh())
    params = [
        p._replace(w=jnp.ones_like(p.w)) if isinstance(p, fnn.DenseParams) else p
        for p in net.init(jax.random.key(0))
    ]
    found = saturation.outputs(net, params, jnp.full((3, 2), 0.1))
    assert found.shape == (2, 3, 32)
    np.testing.assert_allclose(found[0], np.tanh(0.2), rtol=1e-6)
    np.testing.assert_allclose(found[1], np.tanh(32 * np.tanh(0.2)), rtol=1e-6)


def test_more_saturated_outputs_leave_a_smaller_gradient():
    config = dataclasses.replace(saturation.QUICK, steps=3, seeds=2)
    found = saturation.train("tanh", config, bundles.first_digits(32))
    assert found.saturated.shape == (2, 2)
    assert (found.saturated[0] < 0.1).all()
    assert (found.saturated[1] > 0.8).all()
    assert (found.gradient[1] < found.gradient[0]).all()
