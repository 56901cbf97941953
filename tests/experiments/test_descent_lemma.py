import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import descent_lemma


@pytest.mark.parametrize("name", descent_lemma.COSTS)
def test_curvature_is_at_most_beta(name):
    with jax.enable_x64(True):
        p = descent_lemma.problem(name, jax.random.key(0))
        hessian = jax.jit(jax.jacfwd(lambda theta: descent_lemma.cost_and_gradient(p, theta)[1]))
        top = float(jnp.linalg.eigvalsh(hessian(jnp.zeros(31)))[-1])
        # σ′(0) = 1/4: at 0 logistic regression is as steep as it gets, squared errors everywhere
        assert top == pytest.approx(p.curvature)
        far = jax.random.normal(jax.random.key(1), (31,))
        assert jnp.linalg.eigvalsh(hessian(far))[-1] <= p.curvature * (1 + 1e-9)


def test_minimum_of_squared_errors_is_that_of_the_normal_equations():
    with jax.enable_x64(True):
        p = descent_lemma.problem(descent_lemma.SQUARED, jax.random.key(0))
        x = np.concatenate([p.x, np.ones((len(p.x), 1))], axis=1)
        left = 2 * x.T @ x / len(x) + 1e-3 * np.diag([1.0] * 30 + [0])
        best = np.linalg.solve(left, 2 * x.T @ np.asarray(p.target)[:, 0] / len(x))
        np.testing.assert_allclose(descent_lemma.landmarks(p).best, best, rtol=1e-6, atol=1e-9)


@pytest.mark.long
def test_descents_take_the_steps_of_gradient_descent():
    with jax.enable_x64(True):
        p = descent_lemma.problem(descent_lemma.LOGISTIC, jax.random.key(0))
        start = jax.random.normal(jax.random.key(1), (2, 31))
        rates = jnp.array([0.1, 0.3])
        values, squares = descent_lemma.descents(p.x, p.target, p.loss, start, rates, 2)
        assert values.shape == (2, 2, 3)
        theta = start[1]
        for step in range(3):
            value, g = descent_lemma.cost_and_gradient(p, theta)
            assert values[0, 1, step] == pytest.approx(float(value), rel=1e-12)
            assert squares[0, 1, step] == pytest.approx(float((g**2).sum()), rel=1e-10)
            theta = theta - 0.1 * g
