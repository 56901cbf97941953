import itertools
import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import beta, binom

from experiments.common import bounds


def test_by_hand():
    assert bounds.hoeffding(200, math.exp(-4)) == pytest.approx(0.1)
    assert bounds.finite_class(100, 3, 2 * math.exp(-5)) == pytest.approx(0.2)
    assert bounds.realizable_rows(0.1, math.log(64), 0.05) == 72  # 10 (4.159 + 2.996) = 71.5
    assert bounds.agnostic_rows(0.1, math.log(64), 0.05) == 393  # 50 (4.159 + 3.689) = 392.4
    # d = 2, N = e: 8/e (2 ln(e²) + ln 4/δ) with ln 4/δ = 4
    value = bounds.vapnik_chervonenkis(math.e, 2, 4 * math.exp(-4))
    assert value == pytest.approx(math.sqrt(8 / math.e * (2 * 2 + 4)))


def test_that_many_rows_are_enough_for_the_deviation():
    n = bounds.agnostic_rows(0.07, 5.0, 0.01)
    assert bounds.finite_class(n, 5.0, 0.01) <= 0.07 < bounds.finite_class(n - 1, 5.0, 0.01)
    n = bounds.realizable_rows(0.07, 5.0, 0.01)
    assert math.exp(5.0 - 0.07 * n) <= 0.01 < math.exp(5.0 - 0.07 * (n - 1))


def test_hoeffding_is_above_the_exact_tail():
    for n, risk in itertools.product((5, 30, 200), (0.02, 0.3, 0.5, 0.9)):
        for delta in (0.5, 0.05, 0.001):
            far = np.arange(n + 1) / n < risk - bounds.hoeffding(n, delta) - 1e-12
            assert binom.pmf(np.arange(n + 1), n, risk)[far].sum() <= delta


def test_growth():
    assert [bounds.sauer(4, d) for d in range(5)] == [1, 5, 11, 15, 16]
    assert [bounds.dichotomies(4, d) for d in (1, 2, 3)] == [8, 14, 16]
    for m, d in itertools.product(range(1, 40), range(1, 12)):
        assert math.log(bounds.sauer(m, d)) <= bounds.log_growth(m, d) + 1e-12
        assert bounds.dichotomies(m, d) <= bounds.sauer(m, d + 1)
    # thresholds 1[x ≥ t], of VC dimension 1, label m points in m + 1 ways
    assert bounds.sauer(7, 1) == 8


def relu_log_growth(m, weights, units):
    """ln Π_l 2 (2 e m l k_l / W_l)^{W_l}, W_l = Σ_{i ≤ l} weights: sign patterns of m points."""
    sums = np.cumsum(weights)
    return sum(
        math.log(2) + w * math.log(2 * math.e * m * layer * k / w)
        for layer, (k, w) in enumerate(zip(units, sums, strict=True), 1)
    )


@pytest.mark.parametrize(
    ("weights", "units"), [((12, 4), (4, 1)), ((1040, 16), (16, 1)), ((30, 42, 6), (5, 7, 1))]
)
def test_vc_dimension_of_relu_nets_is_where_the_growth_is_less_than_all_labellings(weights, units):
    d = bounds.relu_dimension(weights, units)
    f = lambda m: m * math.log(2) - relu_log_growth(m, weights, units)  # noqa: E731
    least = brentq(f, sum(np.cumsum(weights)), 10 * d)
    assert 0.5 * d < least <= d  # from here on not all labellings can be made
    assert f(2 * d) > 0


def test_relu_dimension_by_hand():
    # W = 2, 2 + 1; units 2 and 1: U = 2 + 2 · 1 = 4; 2 e U = 21.746, its log₂ 4.4427
    expected = 2 + (2 + 3) * math.log2(2 * 21.746255 * 4.442711)
    assert bounds.relu_dimension((2, 1), (2, 1)) == pytest.approx(expected, rel=1e-5)


def test_rademacher_complexity_is_above_one_that_is_estimated():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 5))
    signs = rng.choice((-1, 1), size=(200, 40))
    # one layer, ‖w‖ ≤ 1: the supremum of Σ s w·x is ‖Σ s x‖
    linear = np.linalg.norm(signs @ x, axis=1).mean() / 40
    assert linear <= bounds.rademacher((x**2).sum(), 40, 1) <= 4 * linear
    # two: at least that of nets of one unit, relu(w·x)
    directions = rng.normal(size=(3000, 5))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    two = abs(np.maximum(directions @ x.T, 0) @ signs.T).max(0).mean() / 40
    assert two <= bounds.rademacher((x**2).sum(), 40, 2)


def test_margin_bound_by_hand():
    margins = np.array([-1.0, 0.5, 1.0, 2.0])
    slack = 3 * math.sqrt(math.log(2 * 3 / 0.05) / 8)
    # γ = 0.4: 1/4 + 2/0.4 · 0.1;  γ = 0.9: 2/4 and more are left out
    assert bounds.margin(margins, 0.1, (0.2, 0.4, 0.9), 0.05) == pytest.approx(0.75 + slack)


def test_kl_inverse():
    assert bounds.binary_kl(0.3, 0.3) == 0
    assert bounds.kl_inverse(0.0, 0.7) == pytest.approx(1 - math.exp(-0.7))  # kl(0 ‖ p) = −ln(1−p)
    assert bounds.kl_inverse(1.0, 0.1) == 1
    for q, c in itertools.product((0.01, 0.2, 0.9), (1e-4, 0.1, 2.0)):
        p = bounds.kl_inverse(q, c)
        assert q < p < 1
        assert bounds.binary_kl(q, p) == pytest.approx(c, rel=1e-6)
        assert p <= q + math.sqrt(c / 2) + 1e-12  # Pinsker


def test_kl_inverse_is_above_the_exact_binomial_limit():
    """Chernoff's is a little above Clopper and Pearson's."""
    for n, k in ((50, 0), (50, 3), (400, 40)):
        exact = beta.ppf(0.95, k + 1, n - k)
        assert -1e-12 < bounds.kl_inverse(k / n, math.log(1 / 0.05) / n) - exact < 0.03


def test_pac_bayes_by_hand():
    # R̂ = 0: 1 − exp(−(KL + ln(2 sqrt(N)/δ)) / N)
    rate = (300 + math.log(2 * math.sqrt(1000) / 0.05)) / 1000
    assert bounds.pac_bayes(0.0, 300.0, 1000, 0.05) == pytest.approx(1 - math.exp(-rate))
