"""Bounds of learning theory, each a formula of a few numbers.

N rows, drawn independently; R is the risk, the expectation of a loss in [0, 1], and R̂ its
average over the rows; everything holds with probability at least 1 − δ.

    one hypothesis     R ≤ R̂ + sqrt(ln(1/δ) / (2 N))
    finite class       abs(R − R̂) ≤ sqrt(ln(2 card(H)/δ) / (2 N))                for all h
    VC                 R ≤ R̂ + sqrt((8/N) (ln growth(2 N) + ln(4/δ)))            for all h
    margin             R ≤ R̂_γ + (2/γ) Rad + 3 sqrt(ln(2/δ) / (2 N))             for all h
    PAC-Bayes          kl(R̂(Q) ‖ R(Q)) ≤ (KL(Q ‖ P) + ln(2 sqrt(N)/δ)) / N       for all Q

kl(q ‖ p) = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)). R̂_γ is the share of the rows with a margin
of at most γ, Rad the empirical Rademacher complexity. Whatever is 1 or more says nothing.

Sources: Hoeffding (1963), JASA 58, theorem 1; Vapnik & Chervonenkis (1971), Theory of
Probability and its Applications 16, theorem 2; Sauer (1972), J. Combinatorial Theory A 13,
theorem 1; Cover (1965), IEEE Trans. Electronic Computers 14, theorem 1; Bartlett, Harvey,
Liaw & Mehrabian (2019), JMLR 20 (63), theorem 7; Golowich, Rakhlin & Shamir (2018), COLT,
theorem 1; Mohri, Rostamizadeh & Talwalkar (2018), Foundations of Machine Learning, theorems
2.5, 2.13 and 5.8; Maurer (2004), arXiv cs/0411099, theorem 5.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np


def hoeffding(n: float, delta: float) -> float:
    """sqrt(ln(1/δ) / (2 N)): how far R can be above R̂, for one hypothesis."""
    return math.sqrt(math.log(1 / delta) / (2 * n))


def finite_class(n: float, log_size: float, delta: float) -> float:
    """sqrt((ln card(H) + ln(2/δ)) / (2 N)): how far apart R and R̂ are, for every h of H."""
    return math.sqrt((log_size + math.log(2 / delta)) / (2 * n))


def realizable_rows(epsilon: float, log_size: float, delta: float) -> int:
    """N ≥ (1/ε) (ln card(H) + ln(1/δ)): then whatever fits all rows has R ≤ ε."""
    return math.ceil((log_size + math.log(1 / delta)) / epsilon)


def agnostic_rows(epsilon: float, log_size: float, delta: float) -> int:
    """N ≥ (1/(2 ε²)) (ln card(H) + ln(2/δ)): then abs(R − R̂) ≤ ε for every h of H."""
    return math.ceil((log_size + math.log(2 / delta)) / (2 * epsilon**2))


def sauer(m: int, d: int) -> int:
    """Σ_{k ≤ d} C(m, k): the most labellings of m points by a class of VC dimension d."""
    return sum(math.comb(m, k) for k in range(d + 1))


def dichotomies(m: int, d: int) -> int:
    """2 Σ_{k ≤ d} C(m − 1, k): labellings of m points in general position by half-spaces of R^d."""
    return 2 * sum(math.comb(m - 1, k) for k in range(d + 1))


def log_growth(m: float, d: float) -> float:
    """A bound of ln sauer(m, d): d ln(e m/d) where m ≥ d, m ln 2 below."""
    return d * math.log(math.e * m / d) if m >= d else m * math.log(2)


def vapnik_chervonenkis(n: float, d: float, delta: float) -> float:
    """sqrt((8/N) (d ln(2 e N/d) + ln(4/δ))): how far R can be above R̂, VC dimension d."""
    return math.sqrt(8 / n * (log_growth(2 * n, d) + math.log(4 / delta)))


def relu_dimension(weights: Sequence[int], units: Sequence[int]) -> float:
    """A bound of the VC dimension of the signs of a ReLU net of L layers.

        L + S log₂(4 e U log₂(2 e U))     S = Σ_l (weights of layers 1 ... l)     U = Σ_l l k_l

    weights: of every layer; units: k_l of every layer, the last one linear.
    """
    total = float(np.cumsum(weights).sum())
    u = sum(layer * k for layer, k in enumerate(units, 1))
    return len(units) + total * math.log2(4 * math.e * u * math.log2(2 * math.e * u))


def rademacher(squares: float, n: int, layers: int) -> float:
    """(sqrt(2 L ln 2) + 1) sqrt(Σ ‖x‖²) / N: of ReLU nets without biases.

    squares: Σ ‖x‖² over the N rows; each of the L weight matrices has Frobenius norm ≤ 1.
    """
    return (math.sqrt(2 * layers * math.log(2)) + 1) * math.sqrt(squares) / n


def margin(margins: Any, complexity: float, grid: Sequence[float], delta: float) -> float:
    """The least R̂_γ + (2/γ) Rad + 3 sqrt(ln(2/δ′) / (2 N)) of the grid of γ; δ′ = δ / its size.

    Only γ that most margins exceed are looked at: without that, the least is the one of a
    huge γ, with R̂_γ = 1.
    """
    margins = np.asarray(margins)
    slack = 3 * math.sqrt(math.log(2 * len(grid) / delta) / (2 * len(margins)))
    shares = [(g, float((margins <= g).mean())) for g in grid]
    return (
        min((share + 2 / g * complexity for g, share in shares if share < 0.5), default=1.0) + slack
    )


def binary_kl(q: float, p: float) -> float:
    """kl(q ‖ p) = q ln(q/p) + (1 − q) ln((1 − q)/(1 − p)), for p in (0, 1)."""
    first = q * math.log(q / p) if q > 0 else 0.0
    return first + ((1 - q) * math.log((1 - q) / (1 - p)) if q < 1 else 0.0)


def kl_inverse(q: float, c: float) -> float:
    """The largest p with kl(q ‖ p) ≤ c, by bisection; always below 1 where q is."""
    low, high = q, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle < 1 and binary_kl(q, middle) <= c:
            low = middle
        else:
            high = middle
    return high


def pac_bayes(q: float, divergence: float, n: int, delta: float) -> float:
    """The largest R(Q) with kl(R̂(Q) ‖ R(Q)) ≤ (KL + ln(2 sqrt(N)/δ)) / N."""
    return kl_inverse(q, (divergence + math.log(2 * math.sqrt(n) / delta)) / n)
