"""What the bounds of a net need to know of it, measured: errors, margins, two posteriors.

The prior of one posterior is centred at the random start of training. The other's is centred
at a net that was trained on the first half of the rows, and its bound is for the second half.
"""

from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from experiments.generalization_bounds import pac_bayes, parity
from experiments.generalization_bounds.parity import Window

MOST, FRESH = 1257, 270  # rows to learn from; rows for the test, and as many held out
DELTA, DRAWN = 0.05, 0.01  # of every bound; the part of it that pays for drawing nets
BITS = (1, 2, 3, 4, 5, 6, 7, 8)
STDS = 2 * np.exp(-np.arange(100) / 10)  # of the prior


class Effort(Protocol):
    """How much is computed."""

    @property
    def steps(self) -> int:
        """Of training, and of fitting a posterior."""
        ...

    @property
    def draws(self) -> int:
        """Nets from every posterior."""
        ...


class Spread(NamedTuple):
    """What is measured of a posterior."""

    train: Any  # the error of its draws on the rows of its bound
    fresh: Any  # and on fresh ones
    divergence: Any  # KL(Q ‖ P), with the prior's width on the grid


class Run(NamedTuple):
    """What is measured of one net."""

    train: Any
    held: Any  # errors on rows held out
    fresh: Any  # errors on others
    margins: Any  # of the rows, of the net with norms 1, [MOST]
    squares: Any  # ‖x‖², [MOST]
    coarse: Any  # errors with weights of this many bits, train and fresh, [bits, 2]
    random: Spread  # the prior around the random start
    half: Spread  # the prior around a net that has seen the first half of the rows


def spread(key: Any, effort: Effort, rows: Any, window: Window, centre: Any, start: Any) -> Spread:
    """Fit a Gaussian around `start` to its bound over the window, and draw nets from it."""
    k_fit, k_draw = jax.random.split(key)
    q = pac_bayes.fit(
        lambda key, w: parity.loss_and_gradient(key, w, rows, window),
        pac_bayes.Problem(centre, jnp.asarray(window.n, float), (DELTA - DRAWN) / len(STDS)),
        pac_bayes.Gaussian(start, jnp.full_like(start, -3.0), jnp.asarray(-1.0)),
        k_fit,
        effort.steps,
    )
    grid = jnp.log(jnp.asarray(STDS))
    q = q._replace(log_prior=grid[jnp.abs(grid - q.log_prior).argmin()])

    def errors(key):
        w, _ = pac_bayes.draw(key, q)
        return parity.error(w, rows, window), parity.error(w, rows, Window(MOST, FRESH))

    train, fresh = jax.lax.map(errors, jax.random.split(k_draw, effort.draws))
    return Spread(train.mean(), fresh.mean(), pac_bayes.divergence(q, centre))


def run(key: Any, n: Any, random_labels: Any, effort: Effort, rows: parity.Table) -> Run:
    """Train a net on the first n rows of a shuffled table; fit two posteriors."""
    k_rows, k_labels, k_start, k_train, k_half, k_random, k_early = jax.random.split(key, 7)
    order = jax.random.permutation(k_rows, len(rows.x))
    coins = jax.random.bernoulli(k_labels, 0.5, rows.odd.shape).astype(rows.odd.dtype)
    rows = parity.Table(rows.x[order], jnp.where(random_labels, coins, rows.odd[order]))
    seen, fresh, half = Window(0, n), Window(MOST, FRESH), n // 2
    start = parity.flat(parity.NET.init(k_start))
    w = parity.train(k_train, start, rows, seen, effort.steps)
    early = parity.train(k_half, start, rows, Window(0, half), effort.steps)
    norms = jnp.prod(jnp.array([jnp.linalg.norm(m) for m in parity.matrices(w)]))
    coarse = [parity.quantized(w, b) for b in BITS]
    return Run(
        train=parity.error(w, rows, seen),
        held=parity.error(w, rows, Window(MOST + FRESH, FRESH)),
        fresh=parity.error(w, rows, fresh),
        margins=parity.margins(w, rows)[:MOST] / norms,
        squares=(rows.x[:MOST] ** 2).sum(1),
        coarse=jnp.array([[parity.error(c, rows, s) for s in (seen, fresh)] for c in coarse]),
        random=spread(k_random, effort, rows, seen, start, w),
        half=spread(k_early, effort, rows, Window(half, n - half), early, early),
    )


def measured(key: Any, rows: list[int], repeats: int, effort: Effort) -> Run:
    """All runs, [repeats, rows, true or random labels, ...], in one compiled program."""
    table = parity.table()

    @jax.jit
    def runs(keys, ns, kinds):
        f = lambda key, n, kind: run(key, n, kind, effort, table)  # noqa: E731
        f = jax.vmap(jax.vmap(jax.vmap(f, (None, None, 0)), (None, 0, None)), (0, None, None))
        return f(keys, ns, kinds)

    keys = jax.random.split(key, repeats)
    return jax.device_get(runs(keys, jnp.array(rows), jnp.array([False, True])))
