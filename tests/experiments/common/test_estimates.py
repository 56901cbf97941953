import numpy as np
import pytest

from experiments.common.estimates import power


def test_power_is_the_slope_on_logarithmic_axes():
    x = np.array([1.0, 2, 4, 8])
    assert power(x, 3 * x**-0.5) == pytest.approx(-0.5)
    noisy = 3 * x**2 * np.array([1.1, 1 / 1.1, 1 / 1.1, 1.1])
    assert power(x, noisy) == pytest.approx(2)
