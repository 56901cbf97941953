import numpy as np
import pytest

from experiments.overparameterization import least_squares


def test_by_hand():
    x, target = np.diag([1.0, 2.0]), np.array([[1.0], [2.0]])  # N λ = 1: W_λ = (1/2, 4/5)
    found = least_squares(x, np.eye(2), target, np.zeros((2, 1)), 0.5)
    assert found.shortest == pytest.approx(1)
    assert found.ridge == pytest.approx((0.5**2 + 0.8**2) / 2)
    assert found.freedom == pytest.approx(1 / 2 + 4 / 5)
    assert found.trace == pytest.approx(found.freedom)


def test_ridge_minimises_its_objective_and_leaves_less_than_min_n_p():
    rng = np.random.default_rng(0)
    for shape in ((5, 9), (9, 5)):
        x, target = rng.normal(size=shape), rng.normal(size=(shape[0], 2))
        found = least_squares(x, np.eye(shape[1]), target, 0, 0.1)
        stacked = np.concatenate([x, np.sqrt(shape[0] * 0.1) * np.eye(shape[1])])
        padded = np.concatenate([target, np.zeros((shape[1], 2))])
        w = np.linalg.lstsq(stacked, padded, rcond=None)[0]
        assert found.ridge == pytest.approx((w**2).sum(1).mean())
        assert found.freedom == pytest.approx(found.trace)
        assert found.freedom < 5
