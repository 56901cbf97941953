"""Learning problems whose risks are known: how far training errors are from them.

Every function draws many samples of N rows and looks at all hypotheses of a class.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import binom

from experiments.common import bounds

DELTA, SIZE, EPSILON, RISK = 0.05, 64, 0.1, 0.3
LOG_SIZE = math.log(SIZE)
SHARES = (0.125, 0.25, 0.5, 0.75, 1.0)  # of the rows that PAC learning asks for
REALIZABLE, AGNOSTIC, UNIFORM = KINDS = "realizable", "agnostic", "uniform"
NOISE = 0.1  # of the labels of thresholds


def training_errors(key: Any, n: int, risks: Any, repeats: int) -> np.ndarray:
    """R̂ of independent hypotheses with these risks, [repeats, hypotheses]."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))  # compiles nothing
    return rng.binomial(n, risks, (repeats, len(risks))) / n


@partial(jax.jit, static_argnames=("most", "repeats"))
def thresholds(key: Any, n: Any, most: int, repeats: int) -> Any:
    """sup_t R(t) − R̂(t) and sup_t R̂(t) − R(t) of all thresholds, n ≤ most, [2, repeats]."""

    def one(key):
        k_x, k_flip = jax.random.split(key)
        x = jnp.where(jnp.arange(most) < n, jax.random.uniform(k_x, (most,)), 2.0)
        x = jnp.sort(x)
        y = (x >= 0.5) ^ jax.random.bernoulli(k_flip, NOISE, (most,))
        return threshold_deviations(x, y, n)

    return jnp.stack(jax.lax.map(one, jax.random.split(key, repeats), batch_size=100))


def threshold_deviations(x: Any, y: Any, n: Any) -> tuple[Any, Any]:
    """sup_t R − R̂ and sup_t R̂ − R; x is sorted, and only its first n and their labels count.

    R̂ is constant for t between two neighbours, and R convex: the first is largest at an
    end of such an interval, the second at the t in it that is nearest to 1/2.
    """
    below = jnp.arange(len(x) + 1)  # this many x are below t and called 0, the others 1
    ones = jnp.concatenate([jnp.zeros(1, int), jnp.cumsum(y & (below[:-1] < n))])
    wrong = ones + jnp.maximum(n - below, 0) - (ones[-1] - ones)
    edges = jnp.concatenate([jnp.zeros(1), jnp.where(below[:-1] < n, x, 1), jnp.ones(1)])
    low, high = edges[:-1], edges[1:]  # where below > n both are 1, as at the end of the last
    most = jnp.maximum(abs(low - 0.5), abs(high - 0.5))
    least = abs(jnp.clip(0.5, low, high) - 0.5)
    risk = lambda distance: NOISE + (1 - 2 * NOISE) * distance  # noqa: E731
    return (risk(most) - wrong / n).max(), (wrong / n - risk(least)).max()


class Deviations(NamedTuple):
    """For every N: the quantile 1 − δ of the largest deviation, and how often bounds fail."""

    rows: list[int]
    finite: np.ndarray  # of 64 coordinates
    line: np.ndarray  # of all thresholds, R − R̂
    finite_fails: np.ndarray
    single_fails: np.ndarray  # of the bound for one hypothesis, used for 64
    vc_fails: np.ndarray


def deviations(key: Any, rows: list[int], repeats: int) -> Deviations:
    """Deviations of 64 coordinates and of all thresholds."""
    found = []
    for n, k in zip(rows, jax.random.split(key, len(rows)), strict=True):
        k_coins, k_line = jax.random.split(k)
        coins = training_errors(k_coins, n, [0.5] * SIZE, repeats)
        finite = abs(coins - 0.5).max(1)
        line, _ = np.asarray(thresholds(k_line, n, rows[-1], repeats))
        fails = [
            (finite > bounds.finite_class(n, LOG_SIZE, DELTA)).mean(),
            (finite > bounds.finite_class(n, 0, DELTA)).mean(),
            (line > bounds.vapnik_chervonenkis(n, 1, DELTA)).mean(),
        ]
        found.append([np.quantile(finite, 1 - DELTA), np.quantile(line, 1 - DELTA), *fails])
    return Deviations(rows, *np.array(found).T)


class Learning(NamedTuple):
    """How often PAC learning fails, for every share of the rows that it asks for."""

    rows: np.ndarray
    measured: np.ndarray
    exact: np.ndarray


def learning(key: Any, kind: str, repeats: int) -> Learning:
    """Samples of some shares of the rows that guarantee a failure in at most δ of them."""
    ask = bounds.realizable_rows if kind == REALIZABLE else bounds.agnostic_rows
    rows = np.array([round(share * ask(EPSILON, LOG_SIZE, DELTA)) for share in SHARES])
    failures = uniform if kind == UNIFORM else partial(chosen, kind == REALIZABLE)
    keys = jax.random.split(key, len(rows))
    pairs = [failures(k, n, repeats) for n, k in zip(rows.tolist(), keys, strict=True)]
    return Learning(rows, *np.array(pairs).T)


def chosen(realizable: bool, key: Any, n: int, repeats: int) -> tuple[float, float]:
    """How often a bad hypothesis has the fewest training errors, 63 of 64 being bad; exactly."""
    best, gap = (0.0, EPSILON) if realizable else (RISK, 2 * EPSILON)
    errors = training_errors(key, n, [best] + [best + gap] * (SIZE - 1), repeats)
    counts = np.arange(n + 1)
    all_worse = binom.sf(counts, n, best + gap) ** (SIZE - 1)
    exact = 1 - binom.pmf(counts, n, best) @ all_worse
    return float((errors[:, 1:].min(1) <= errors[:, 0]).mean()), float(exact)


def uniform(key: Any, n: int, repeats: int) -> tuple[float, float]:
    """How often some training error is more than ε from its risk of 1/2; exactly."""
    errors = training_errors(key, n, [0.5] * SIZE, repeats)
    counts = np.arange(n + 1)
    far = abs(counts - n / 2) > EPSILON * n + 1e-9
    exact = 1 - (1 - binom.pmf(counts, n, 0.5)[far].sum()) ** SIZE
    return float((abs(errors - 0.5).max(1) > EPSILON + 1e-9).mean()), float(exact)
