import math
import sys

import jax
import numpy as np
import pytest

from experiments import private
from experiments.common import bundles
from experiments.common.cli import UserError
from experiments.private import DELTA, Config, N


def test_digits_are_as_many_as_the_module_says():
    assert len(bundles.digits().train.label) == N


def test_a_batch_has_every_digit_with_the_same_probability_and_no_digit_twice():
    keys = jax.random.split(jax.random.key(0), 400)
    rows, weights = jax.jit(jax.vmap(lambda key: private.drawn(key, 0.1, 200)))(keys)
    rows, counts = np.asarray(rows), np.asarray(weights).sum(1)
    assert all(len(set(r)) == 200 for r in rows)
    assert set(np.unique(weights)) == {0, 1}
    assert counts.mean() == pytest.approx(0.1 * N, rel=0.01)
    assert counts.std() == pytest.approx((N * 0.1 * 0.9) ** 0.5, rel=0.1)  # of a binomial
    often = np.bincount(rows.ravel(), np.asarray(weights).ravel(), N) / 400
    assert often.std() == pytest.approx((0.1 * 0.9 / 400) ** 0.5, rel=0.1)
    assert abs(np.corrcoef(often, np.arange(N))[0, 1]) < 0.1


def test_places_are_enough_and_not_many_more():
    places = private.capacity(0.2, 200)
    assert private.overflow(0.2, 200, places) < 1e-20 <= private.overflow(0.2, 200, places - 1)
    assert private.capacity(0.9999, 1) == N


def test_epsilon_of_one_step_with_every_digit_is_that_of_the_gaussian_mechanism():
    # Balle & Wang (2018), arXiv:1805.06530, theorem 8
    def delta(e, s):
        def phi(t):
            return math.erfc(-t / 2**0.5) / 2

        return phi(1 / (2 * s) - e * s) - math.exp(e) * phi(-1 / (2 * s) - e * s)

    found = private.epsilon(2.0, 1.0, 1, N)
    assert delta(found, 2.0) == pytest.approx(DELTA, rel=0.03)


def test_epsilon_grows_with_steps_and_share_and_falls_with_noise():
    found = private.epsilon(8.0, 0.1, 50, N)
    assert found < private.epsilon(8.0, 0.1, 100, N)
    assert found < private.epsilon(8.0, 0.2, 50, N)
    assert found > private.epsilon(12.0, 0.1, 50, N)


def test_too_few_places_for_an_epsilon_are_refused():
    with pytest.raises(UserError, match=r"--noises 8: ε = 0, for which no batch is large enough"):
        private.epsilon(8.0, 0.1, 50, 150)


def test_a_missing_accountant_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "dp_accounting", None)
    with pytest.raises(UserError, match=r"dp-accounting, .* is not installed; run uv sync"):
        private.epsilon(8.0, 0.1, 50, N)


def test_the_rule_has_the_settings_of_the_run():
    config = Config(max_norm=0.5, batch_size=100)
    rule = private.private(config, 3.0)
    assert (rule.max_norm, rule.noise, rule.expected_batch_size) == (0.5, 3.0, 100)


@pytest.mark.long
def test_hardly_any_noise_is_no_noise_and_much_noise_forgets_everything():
    config = Config(noises=(1e-6, 1e4), steps=60, seeds=2)
    plain, noisy = private.accuracies(config, 404)
    np.testing.assert_allclose(noisy[0], noisy[1], atol=0.01)
    assert noisy[2].max() < 0.35
    assert min(plain.min(), noisy[0].min()) > 0.9


def test_words_are_joined_as_one_says_them():
    assert [private.joined("abc"[:n]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
