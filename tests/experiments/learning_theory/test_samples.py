import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.learning_theory import samples


@pytest.mark.long
def test_threshold_deviations_are_those_of_a_fine_grid():
    rng = np.random.default_rng(0)
    for n in (1, 5, 40):
        x = np.sort(rng.uniform(size=n))
        y = rng.uniform(size=n) < 0.5
        near = np.concatenate([x - 1e-7, x + 1e-7, np.linspace(0, 1, 2001)])
        t = np.clip(near, 0, 1)
        wrong = ((x >= t[:, None]) != y).mean(1)
        risk = 0.1 + 0.8 * abs(t - 0.5)
        padded = np.concatenate([x, [2, 2]]), np.concatenate([y, [True, False]])
        found = samples.threshold_deviations(*map(jnp.asarray, padded), n)
        expected = (risk - wrong).max(), (wrong - risk).max()
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_training_errors_have_the_mean_and_spread_of_binomials():
    errors = samples.training_errors(jax.random.key(0), 50, [0.0, 0.1, 0.5], 20_000)
    np.testing.assert_allclose(errors.mean(0), [0, 0.1, 0.5], atol=0.002)
    np.testing.assert_allclose(errors.var(0) * 50, [0, 0.09, 0.25], rtol=0.05, atol=1e-12)


def test_exact_failures_by_hand():
    # one row, ε = 0.1: all 63 bad ones err with probability 0.1^63; the good one never
    assert samples.chosen(True, jax.random.key(0), 1, 10)[1] == pytest.approx(1)
    # 72 rows: 1 − (1 − 0.9^72)^63
    exact = samples.chosen(True, jax.random.key(0), 72, 10)[1]
    assert exact == pytest.approx(1 - (1 - 0.9**72) ** 63)
    # 4 rows: further than 0.1 from 1/2 unless 2 of 4: 1 − (6/16)^64
    assert samples.uniform(jax.random.key(0), 4, 10)[1] == pytest.approx(1 - (6 / 16) ** 64)
