import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.common import bounds
from experiments.generalization_bounds import pac_bayes, parity
from experiments.generalization_bounds.pac_bayes import Gaussian, Problem


@pytest.fixture
def gaussian():
    keys = jax.random.split(jax.random.key(0), 3)
    mean, log_std, centre = (jax.random.normal(k, (7,)) for k in keys)
    return Gaussian(mean, 0.3 * log_std - 1, jnp.asarray(0.2)), Problem(centre, 50, 0.05)


def test_divergence_is_the_integral(gaussian):
    q, problem = gaussian
    one = Gaussian(q.mean[:1], q.log_std[:1], q.log_prior)
    x = np.linspace(-12, 12, 200_001)

    def density(mean, std):
        return np.exp(-(((x - mean) / std) ** 2) / 2) / (std * np.sqrt(2 * np.pi))

    a = density(float(q.mean[0]), float(jnp.exp(q.log_std[0])))
    b = density(float(problem.centre[0]), float(jnp.exp(q.log_prior)))
    integral = np.trapezoid(np.where(a > 0, a * np.log(np.maximum(a, 1e-300) / b), 0), x)
    assert pac_bayes.divergence(one, problem.centre[:1]) == pytest.approx(integral, rel=1e-5)


@pytest.mark.long
def test_gradient_is_that_of_the_objective(gaussian):
    q, problem = gaussian
    noise = jax.random.normal(jax.random.key(1), (7,))
    loss = lambda w: (jnp.sin(w) ** 2).sum() / 3 + 0.1  # noqa: E731

    def value(q):
        c = pac_bayes.complexity(q, problem)
        return pac_bayes.objective(loss(q.mean + jnp.exp(q.log_std) * noise), c)

    def gradient(q):
        w = q.mean + jnp.exp(q.log_std) * noise
        return pac_bayes.gradient(q, problem, loss(w), jax.grad(loss)(w), noise)

    found, expected = gradient(q), jax.grad(value)(q)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5)


def test_objective_is_above_the_inverse_of_kl():
    for loss in (0.0, 0.05, 0.4):
        for c in (0.01, 0.3):
            least = bounds.kl_inverse(loss, c)
            assert least <= float(pac_bayes.objective(loss, c)) + 1e-6


@pytest.mark.long
def test_fit_lowers_the_objective_and_keeps_to_the_prior_without_a_reason():
    start = Gaussian(jnp.ones(5), jnp.full(5, -3.0), jnp.asarray(0.0))
    problem = Problem(jnp.zeros(5), 100, 0.05)
    flat = lambda key, w: (jnp.asarray(0.1), jnp.zeros(5))  # noqa: E731
    q = pac_bayes.fit(flat, problem, start, jax.random.key(0), 2000)
    assert (
        pac_bayes.divergence(q, problem.centre) < 0.01 < pac_bayes.divergence(start, jnp.zeros(5))
    )


@pytest.mark.long
def test_parity_gradient_is_that_of_the_scores():
    rows = parity.table()
    w = parity.flat(parity.NET.init(jax.random.key(0)))
    window, key = parity.Window(100, 50), jax.random.key(1)
    value, g = parity.loss_and_gradient(key, w, rows, window)

    def bits(w):
        chosen = 100 + jax.random.randint(key, (parity.BATCH,), 0, 50)
        first, second = w[:1040].reshape(65, 16), w[1040:].reshape(16, 1)
        y = jnp.maximum(rows.x[chosen] @ first, 0) @ second
        sign = 2 * rows.odd[chosen] - 1
        return jnp.log2(1 + jnp.exp(-sign * y)).mean()

    assert value == pytest.approx(float(bits(w)), rel=1e-5)
    np.testing.assert_allclose(g, jax.grad(bits)(w), atol=1e-6)


@pytest.mark.long
def test_error_counts_the_window_only():
    rows = parity.Table(jnp.eye(65)[:4], jnp.array([[1.0], [1], [0], [0]]))
    w = jnp.zeros(1056).at[0].set(1.0).at[2 * 16].set(1.0).at[1040].set(1.0)  # f = 1, 0, 1, 0
    assert list(parity.margins(w, rows)) == [1, 0, -1, 0]
    found = [float(parity.error(w, rows, parity.Window(*lo))) for lo in ((0, 4), (0, 1), (1, 2))]
    assert found == [0.75, 0, 1]


def test_quantized_weights_are_few():
    w = jnp.linspace(-3, 3, 1000)
    coarse = parity.quantized(w, 2)
    np.testing.assert_allclose(np.unique(coarse), [-2, -2 / 3, 2 / 3, 2], rtol=1e-6)
    assert abs(coarse - jnp.clip(w, -2, 2)).max() <= 2 / 3 + 1e-6
