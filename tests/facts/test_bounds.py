"""Facts about generalization bounds, with exact probabilities in the place of samples."""

import itertools
import math

import jax
import numpy as np
import pytest
from contract import noise

import fnn


def uniform_bound(n, hypotheses, delta):
    """√(ln(2 |H| / δ) / (2 N))."""
    return math.sqrt(math.log(2 * hypotheses / delta) / (2 * n))


def tail(n, p, t):
    """P(|K/n − p| > t) for a binomial K."""
    pmf = [math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n + 1)]
    return sum(pmf[k] for k in range(n + 1) if abs(k / n - p) > t)


@pytest.mark.parametrize("hypotheses", [1, 5])
def test_the_bound_of_a_finite_class_holds_as_often_as_it_says(hypotheses):
    n, delta, risks = 100, 0.05, np.linspace(0.5, 0.1, hypotheses)
    t = uniform_bound(n, hypotheses, delta)
    assert 2 * hypotheses * math.exp(-2 * n * t**2) == pytest.approx(delta)  # Hoeffding
    assert sum(tail(n, p, t) for p in risks) <= delta
    smaller = t / math.sqrt(2)  # with 4 N in the place of 2 N it can fail more often
    assert hypotheses * tail(n, 0.5, smaller) > delta


def test_sample_sizes_of_pac_learning_suffice():
    wrong, epsilon, delta = 8, 0.1, 0.05  # 8 hypotheses, each wrong on ε of its own, and the truth
    n = math.ceil((math.log(wrong + 1) + math.log(1 / delta)) / epsilon)

    def failure(n):
        """That n samples leave one of the regions out, by inclusion and exclusion."""
        sizes = range(1, wrong + 1)
        return sum((-1) ** (j + 1) * math.comb(wrong, j) * (1 - j * epsilon) ** n for j in sizes)

    assert failure(n) <= delta < failure(n // 2)
    agnostic = math.ceil(math.log(2 * 5 / delta) / (2 * epsilon**2))
    assert uniform_bound(agnostic, 5, delta) <= epsilon < uniform_bound(agnostic - 1, 5, delta)
    assert 5 * tail(agnostic, 0.5, epsilon) <= delta


def cuts(n, d):
    """How many labellings of n points in general position half-spaces of R^d realise."""
    return 2 * sum(math.comb(n - 1, i) for i in range(d + 1))


@pytest.mark.parametrize("d", [1, 2, 3])
def test_half_spaces_shatter_d_plus_1_points_and_no_more(d):
    points = np.asarray(noise(d + 2, d))
    forward = jax.jit(fnn.Dense(d, 1).forward)
    simplex = np.concatenate([points[:-1], np.ones((d + 1, 1))], 1)
    for labels in itertools.product((-1.0, 1), repeat=d + 1):  # each has its half-space
        w = np.linalg.solve(simplex, np.array(labels))
        z, _ = forward(fnn.DenseParams(w[:d, None], w[d:]), points[:-1])
        np.testing.assert_array_equal(np.sign(np.asarray(z)[:, 0]), labels)
    # Any d + 2 points have c with Σ c_i = 0 and Σ c_i p_i = 0, so that Σ c_i (p_i w + b) = 0:
    # no half-space is positive exactly where c is.
    c = np.linalg.svd(np.concatenate([points, np.ones((d + 2, 1))], 1).T)[2][-1]
    assert abs(c).min() > 1e-3
    for w in np.asarray(noise(50, d + 1, seed=2)):
        z = points @ w[:d] + w[d]
        assert c @ z == pytest.approx(0, abs=1e-12)
        assert (np.sign(z) != np.sign(c)).any()
    assert [cuts(n, d) for n in (d + 1, d + 2)] == [2 ** (d + 1), 2 ** (d + 2) - 2]


def test_the_vc_bound_is_the_growth_of_the_class_in_an_exponential_tail():
    delta = 0.05
    for d, n in ((1, 50), (2, 50), (3, 400)):
        vc = d + 1
        t = math.sqrt(8 / n * (vc * math.log(2 * math.e * n / vc) + math.log(4 / delta)))
        growth = (2 * math.e * n / vc) ** vc
        assert cuts(2 * n, d) <= growth  # Sauer's bound covers what half-spaces can do
        assert 4 * growth * math.exp(-n * t**2 / 8) == pytest.approx(delta)
