"""Facts of probability that the texts build on."""

import functools
import itertools
import math

import jax
import numpy as np
import pytest

import fnn

KEY = jax.random.key(0)
UNIFORM = np.asarray(jax.random.uniform(KEY, (20_000,)))
forward = jax.jit(lambda loss, y, target: loss.forward(y, target))


def within_4_standard_errors(sample, mean, axis=None):
    """Whether the mean of independent numbers is the true one, as far as they can tell."""
    sample = np.asarray(sample, float)
    n = sample.size if axis is None else sample.shape[axis]
    return bool((np.abs(sample.mean(axis) - mean) <= 4 * sample.std(axis) / n**0.5).all())


def binomial(k, n, p):
    """P(K = k) = C(n, k) pᵏ (1 − p)ⁿ⁻ᵏ."""
    return math.comb(n, k) * p**k * (1 - p) ** (n - k)


@functools.cache
def masks(p, n):
    """20,000 rows of n independent entries, 1 with probability p, else 0."""
    drop = fnn.Dropout(1 - p, inverted=False)
    return np.asarray(jax.jit(drop.forward)((), np.ones((20_000, n)), key=KEY)[0])


def test_an_expectation_is_a_sum_or_an_integral_and_the_mean_of_a_sample():
    faces, chances = np.arange(1, 7), np.array([1, 1, 1, 1, 1, 5]) / 10
    assert sum(x * p for x, p in zip(faces, chances, strict=True)) == pytest.approx(4.5)
    drawn = faces[np.searchsorted(np.cumsum(chances), UNIFORM)]
    assert within_4_standard_errors(drawn, 4.5)
    assert not within_4_standard_errors(drawn, 3.5)  # the mean of a fair die
    x = np.linspace(0, 60, 200_001)
    mean = np.trapezoid(x * 0.5 * np.exp(-0.5 * x), x)  # an exponential law of rate ½
    assert mean == pytest.approx(2, rel=1e-6)
    assert within_4_standard_errors(-np.log(1 - UNIFORM) / 0.5, 2)


def test_both_forms_of_the_variance_agree():
    x, p = np.array([-1.0, 0, 2, 7]), np.array([0.4, 0.3, 0.2, 0.1])

    def mean(values):
        return float(values @ p)

    def variance(values):
        return mean((values - mean(values)) ** 2)

    assert mean(x) == pytest.approx(0.7)
    assert variance(x) == pytest.approx(6.1 - 0.7**2)  # E X² = 0.4 + 0.8 + 4.9
    assert variance(x) == pytest.approx(mean(x**2) - mean(x) ** 2)
    assert variance(-3 * x + 5) == pytest.approx(9 * variance(x))


def test_a_bernoulli_variable_and_its_sampled_frequency():
    p = 0.3
    chance = {k: p**k * (1 - p) ** (1 - k) for k in (0, 1)}
    assert chance == {0: 1 - p, 1: p}
    assert sum(chance.values()) == 1
    mean = sum(k * chance[k] for k in (0, 1))
    assert mean == p
    assert sum((k - mean) ** 2 * chance[k] for k in (0, 1)) == pytest.approx(p * (1 - p))
    kept = masks(p, 4)  # those of dropout are such variables
    assert set(np.unique(kept)) == {0.0, 1.0}
    assert within_4_standard_errors(kept, p)
    assert kept.var() == pytest.approx(p * (1 - p), rel=0.02)


def test_the_binomial_counts_every_outcome():
    n, p = 5, 0.3
    counted = np.zeros(n + 1)
    for outcome in itertools.product((0, 1), repeat=n):  # all 32, independent trials
        counted[sum(outcome)] += math.prod(p if b else 1 - p for b in outcome)
    pmf = np.array([binomial(k, n, p) for k in range(n + 1)])
    np.testing.assert_allclose(pmf, counted, rtol=1e-12)
    k = np.arange(n + 1)
    assert pmf.sum() == pytest.approx(1)
    assert k @ pmf == pytest.approx(n * p)
    assert (k - n * p) ** 2 @ pmf == pytest.approx(n * p * (1 - p))
    assert [binomial(k, 1, p) for k in (0, 1)] == [1 - p, p]


def test_trials_succeed_as_the_binomial_says():
    n, p = 6, 0.7
    successes = masks(p, n).sum(1)
    for k in range(n + 1):
        assert within_4_standard_errors(successes == k, binomial(k, n, p))


def test_the_gaussian_integrates_to_one_and_its_logarithm_is_a_square():
    mu, s = 1.3, 0.6
    x = np.linspace(mu - 12 * s, mu + 12 * s, 20_001)
    p = np.exp(-((x - mu) ** 2) / (2 * s**2)) / math.sqrt(2 * math.pi * s**2)
    assert np.trapezoid(p, x) == pytest.approx(1, rel=1e-10)
    assert np.trapezoid(x * p, x) == pytest.approx(mu, rel=1e-10)
    assert np.trapezoid((x - mu) ** 2 * p, x) == pytest.approx(s**2, rel=1e-10)
    drawn = mu + s * jax.random.normal(KEY, (20_000,))
    assert within_4_standard_errors(drawn < mu + s, np.trapezoid(p[x <= mu + s], x[x <= mu + s]))
    constant = -np.log(p) - (x - mu) ** 2 / (2 * s**2)
    np.testing.assert_allclose(constant, math.log(2 * math.pi * s**2) / 2, rtol=1e-10)


def test_negative_log_likelihoods_are_the_losses():
    rng = np.random.default_rng(0)
    p, y = rng.uniform(0.1, 0.9, 7), rng.integers(0, 2, 7)
    chances = [p[i] ** y[i] * (1 - p[i]) ** (1 - y[i]) for i in range(7)]
    losses, _ = forward(fnn.BinaryCrossEntropy(), p, y)
    assert np.asarray(losses).mean() == pytest.approx(-math.log(math.prod(chances)) / 7, rel=1e-12)
    rows, k = rng.dirichlet(np.ones(4), 7), rng.integers(0, 4, 7)
    losses, _ = forward(fnn.CrossEntropy(), rows, k)
    chance = math.prod(rows[i, k[i]] for i in range(7))
    assert np.asarray(losses).mean() == pytest.approx(-math.log(chance) / 7, rel=1e-12)
    a, t = rng.normal(size=7), rng.normal(size=7)
    chance = math.prod(np.exp(-((t - a) ** 2) / 2) / math.sqrt(2 * math.pi))
    losses, _ = forward(fnn.SquaredError(0.5), a, t)
    constant = math.log(2 * math.pi) / 2
    assert np.asarray(losses).mean() == pytest.approx(-math.log(chance) / 7 - constant, rel=1e-12)


def test_sample_means_close_in_like_one_over_root_n():
    repetitions, sizes = 4000, (16, 64, 256)
    drawn = np.asarray(jax.random.uniform(KEY, (repetitions, max(sizes))))  # variance 1/12
    for n in sizes:
        means = drawn[:, :n].mean(1)
        assert within_4_standard_errors(means, 0.5)
        # the relative standard error of a standard deviation is 1/√(2 repetitions)
        tolerance = 4 / math.sqrt(2 * repetitions)
        assert means.std() == pytest.approx(math.sqrt(1 / 12 / n), rel=tolerance)
