import jax
import numpy as np
import pytest

from experiments import momentum
from experiments.momentum import METHODS, Config


@pytest.mark.parametrize("method", METHODS)
def test_the_tunings_shrink_every_direction_alike_fast(method):
    # The slowest root of z² − (μ + 1 − ηλ) z + μ (or Nesterov's) is the published factor.
    kappa = 100.0
    best = momentum.tuned(method, kappa)
    rate, mu = best.learning_rate, getattr(best, "momentum", 0.0)
    nesterov = getattr(best, "nesterov", False)
    published = {
        "plain descent": (kappa - 1) / (kappa + 1),
        "heavy ball": (kappa**0.5 - 1) / (kappa**0.5 + 1),
        "Nesterov": 1 - 2 / (3 * kappa + 1) ** 0.5,
    }
    slowest = 0.0
    for curvature in np.linspace(1, kappa, 50):
        step = 1 - rate * curvature
        middle = (1 + mu) * step if nesterov else step + mu
        roots = np.roots([1, -middle, mu * step if nesterov else mu])
        slowest = max(slowest, abs(roots).max())
    assert slowest == pytest.approx(published[method], abs=1e-6)


def test_steps_of_plain_descent_by_hand():
    # κ = 9: every step leaves 0.8 of the ends of the spectrum; 0.8⁶² is just below 10⁻⁶.
    with jax.enable_x64(True):
        steps = momentum.steps_needed(Config(starts=1), "plain descent", np.array([9.0]))
    assert 58 <= steps[0, 0] <= 62


def test_the_first_steps_under_a_constant_gradient():
    np.testing.assert_allclose(momentum.push(0.5, False, 0.1, 3), [0.1, 0.15, 0.175], rtol=1e-6)
    np.testing.assert_allclose(momentum.push(0.5, True, 0.1, 3), [0.05, 0.075, 0.0875], rtol=1e-6)


def test_plain_descent_in_noise_by_hand():
    # γ = 0: θ ← (1 − ηλ) θ − η ξ has the variance η² σ²/(1 − (1 − ηλ)²).
    a = momentum.ETA_LAMBDA
    assert momentum.wander_predicted().position[0] == pytest.approx(2 * a / (1 - (1 - a) ** 2))
    assert momentum.wander_predicted().step[2] == pytest.approx(1 / 3)
