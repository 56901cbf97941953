import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.optimizers import planes
from experiments.optimizers.planes import PLANES


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_gradients_by_hand_are_those_of_jax(plane):
    with jax.enable_x64(True):
        for p in jax.random.normal(jax.random.key(0), (4, 2)):
            np.testing.assert_allclose(plane.gradient(p), jax.grad(plane.f)(p), atol=1e-10)
        at_rest = jnp.array(plane.minimum)
        assert plane.f(at_rest) == pytest.approx(0, abs=1e-20)
        np.testing.assert_allclose(plane.gradient(at_rest), 0, atol=1e-12)


def test_the_valley_by_hand():
    np.testing.assert_allclose(planes.valley(np.array([-1.2, 1.0])), 24.2)
    np.testing.assert_allclose(
        planes.valley_gradient(jnp.array([-1.2, 1.0])), [-215.6, -88.0], rtol=1e-5
    )


def test_the_bowl_is_kappa_times_as_steep_across():
    f = planes.bowl(30).f
    along, across = planes.rotation(30).T
    assert f(along + 1) == pytest.approx(0.5)
    assert f(across + 1) == pytest.approx(planes.KAPPA / 2)
