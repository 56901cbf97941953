import numpy as np
import pytest

from experiments import noise_scale
from experiments.noise_scale import Law, Noise


def test_the_law_is_found_in_numbers_that_follow_it():
    batches, law = [2, 8, 32, 128], Law(12.0, 20.0)
    found = noise_scale.fitted(batches, law.steps(batches))
    assert found.least == pytest.approx(12, rel=1e-2)
    assert found.critical == pytest.approx(20, rel=1e-2)
    steps, batch = law.steps(20.0), 20.0  # steps and examples are both twice their least
    assert (steps / 12, steps * batch / (12 * 20)) == (2, 2)


def test_steps_to_a_level_lie_between_the_records_around_it():
    losses = np.array([[4.0, 1.0, 0.25], [0.5, 0.4, 0.3], [3.0, 2.0, 2.0]])
    found = noise_scale.reached(losses, 0.5, 10)
    np.testing.assert_allclose(found, [25.0, 10.0, np.inf])


def test_averages_come_before_the_ratio():
    told = Noise(np.array([[1.0, 3.0], [2.0, 2.0]]), np.array([[1.0, -0.5], [0.5, 1.0]]))
    assert noise_scale.scale(told, slice(None)) == pytest.approx(2 / 0.5)
