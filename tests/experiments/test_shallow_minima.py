import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments import shallow_minima
from experiments.shallow_minima import LOSS, Parabola, Parameter


def test_the_parabola_passes_the_gradient_checker():
    fnn.check(Parabola(), jax.random.normal(jax.random.key(0), (5, 1))).raise_if_wrong()


def test_the_mean_over_the_sightings_is_the_double_well():
    target = jnp.asarray(shallow_minima.sightings(0))
    ones = jnp.ones((len(target), 1))
    for theta in (-1.0, 0.3, 2.0):
        _, grads = fnn.value_and_grad(Parabola(), LOSS, Parameter(jnp.array(theta)), ones, target)
        assert grads.w == pytest.approx(shallow_minima.slope(theta), abs=1e-4)
        numeric = shallow_minima.height(theta + 1e-4) - shallow_minima.height(theta - 1e-4)
        assert numeric / 2e-4 == pytest.approx(shallow_minima.slope(theta), abs=1e-6)


def test_the_slope_is_zero_where_it_rests():
    resting = np.array(shallow_minima.resting())
    np.testing.assert_allclose(shallow_minima.slope(resting), 0, atol=1e-12)
    assert (6 * resting**2 + 1 - 2 * shallow_minima.B > 0).tolist() == [True, False, True]


def test_the_time_of_passage_is_that_of_kramers_where_noise_is_small():
    # exp(ΔΦ) 2π / √(J″ |J″|), with the diffusion at the minimum and at the barrier.
    target, ratio = shallow_minima.sightings(0), 0.004
    low, top, _ = shallow_minima.resting()
    theta = np.linspace(low, top, 2001)
    each = theta[:, None] - target[:, 0] + 2 * theta[:, None] * (theta[:, None] ** 2 - target[:, 1])
    diffusion = ratio * each.var(1) / 2
    barrier = shallow_minima.integral(shallow_minima.slope(theta) / diffusion, theta)[-1]
    curvature = (6 * low**2 + 1 - 2 * shallow_minima.B) * -(6 * top**2 + 1 - 2 * shallow_minima.B)
    rate = curvature**0.5 / (2 * np.pi) * (diffusion[0] / diffusion[-1]) ** 0.5 * np.exp(-barrier)
    assert shallow_minima.predicted(target, ratio, 1e3) == pytest.approx(1e3 * rate, rel=0.1)
