import numpy as np
import pytest

from experiments import bias_variance
from experiments.bias_variance import BETWEEN, SIGMA, X, f

TRUTH = f(BETWEEN[:, 0])


def test_terms_by_hand():
    fits = TRUTH + np.array([[1.0], [3], [0], [2]])  # bias 2, spread 1; judged: 0 and 2 above
    noise = np.array([[9.0], [9], [1], [1]]) * np.ones(len(TRUTH))
    found = bias_variance.terms(fits, noise)
    assert found[:4] == pytest.approx((3, 2, SIGMA**2, 1))  # (1 − 0)² and (1 − 2)²
    assert found.slack == pytest.approx(np.sqrt(np.var([1, 9]) / 2))
    assert found.total == pytest.approx(5 + SIGMA**2)


def test_the_finite_case_needs_the_spread_over_all_fits():
    fits = TRUTH + np.random.default_rng(0).normal(size=(7, len(TRUTH)))
    assert bias_variance.exactly(fits) < 1e-14


def test_the_smoother_is_the_least_squares_polynomial():
    target = np.random.default_rng(0).normal(size=len(X))
    expected = np.polyval(np.polyfit(X[:, 0], target, 4), BETWEEN[:, 0])
    np.testing.assert_allclose(bias_variance.smoother(4) @ target, expected, atol=1e-10)


def test_theory_rejects_half_the_variance():
    rng, degree, sets = np.random.default_rng(0), 5, 2000
    targets = f(X[:, 0]) + SIGMA * rng.normal(size=(2 * sets, len(X)))
    fits = targets @ bias_variance.smoother(degree).T
    found = bias_variance.terms(fits, np.zeros_like(fits))
    assert bias_variance.as_known(degree, found, sets)
    assert not bias_variance.as_known(degree, found._replace(variance=found.variance / 2), sets)
    assert not bias_variance.as_known(degree, found._replace(bias2=found.bias2 * 1.2), sets)
