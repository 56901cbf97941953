import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.common import descent
from experiments.common.data import Rows


def test_descend_keeps_every_step():
    """J = (w − 3)²/2 from w = 0, b stays out: x = 1, t = 3, w ← w − η (w + b − 3)."""
    net, start = fnn.Dense(1, 1), fnn.DenseParams(jnp.zeros((1, 1)), jnp.zeros(1))
    x, t = jnp.ones((1, 1)), jnp.full((1, 1), 3.0)
    plan = fnn.Plan(net, fnn.SquaredError(0.5), fnn.optim.SGD(0.25))
    path = descent.descend(plan, start, (x, t), 2)
    np.testing.assert_allclose(path.params.w[:, 0, 0], [0, 0.75, 1.125])
    np.testing.assert_allclose(path.loss, [4.5, 1.125])


@pytest.mark.parametrize(("method", "factor"), [(descent.plain, 0.6), (descent.heavy_ball, 1 / 3)])
def test_curvatures_one_and_four_give_the_known_factors(method, factor):
    assert method(1.0, 4.0).factor == pytest.approx(factor)


def test_gradient_descent_errs_alike_at_both_ends_of_the_curvature():
    rate = descent.plain(1.0, 4.0).optimizer.learning_rate
    assert [1 - rate * c for c in (1.0, 4.0)] == pytest.approx([0.6, -0.6])


def test_nesterov_for_curvatures_one_and_four():
    optimizer = descent.nesterov(1.0, 4.0).optimizer
    assert (optimizer.learning_rate, optimizer.momentum) == (0.25, pytest.approx(1 / 3))
    assert optimizer.nesterov


def test_divisions_part_the_rows_and_use_the_scale_of_their_own():
    x = np.random.default_rng(0).normal(size=(30, 2))
    parts = descent.divided(1, 4, x, np.arange(30))
    assert parts.x.shape == (4, 20, 2)
    for z, t, test_x, test_t in zip(*parts, strict=True):
        assert sorted([*t, *test_t]) == list(range(30))
        np.testing.assert_allclose((z.mean(0), z.std(0)), ([0, 0], [1, 1]), atol=1e-12)
        mean, std = x[t].mean(0), x[t].std(0)
        np.testing.assert_allclose(test_x, (x[test_t] - mean) / std)


def test_three_parts_have_the_shares_they_should():
    rows = Rows(np.arange(200, dtype=np.float32)[:, None], np.arange(200, dtype=np.int32) % 2)
    parts = descent.three_parts(0, 2, rows)
    assert [part.x.shape for part in parts] == [(2, 140, 1), (2, 30, 1), (2, 30, 1)]
    assert [part.y.mean() for part in parts] == [0.5] * 3


def test_curvatures_are_those_of_the_squared_error():
    with jax.enable_x64(True):
        x = np.random.default_rng(0).normal(size=(9, 2))

        def cost(wb):
            return ((x @ wb[:2] + wb[2]) ** 2).mean() / 2

        hessian = jax.hessian(cost)(jnp.zeros(3))
        np.testing.assert_allclose(descent.curvatures(x), np.linalg.eigvalsh(hessian))
