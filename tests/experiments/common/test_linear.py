import numpy as np
import pytest

from experiments.common import linear

X = np.array([[1.0, 2], [0, 1], [-1, 1], [2, -4], [-2, 0]])
T = np.array([[3.0], [1], [0], [-4], [0]])  # its mean is 0, as that of every column of X


pytestmark = pytest.mark.usefixtures("double_precision")


def test_ridge_is_the_closed_form_for_every_strength():
    w, b = linear.ridge(X, T, np.array([0.0, 0.5, 3]), 500)
    for i, strength in enumerate((0, 0.5, 3)):
        expected = np.linalg.solve(X.T @ X / 5 + strength * np.eye(2), X.T @ T / 5)
        np.testing.assert_allclose(w[i], expected, rtol=1e-10)
    np.testing.assert_allclose(b, 0, atol=1e-12)


def test_lasso_of_orthogonal_columns_is_a_soft_threshold():
    x = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
    w, _ = linear.lasso(x, x @ np.array([[0.7], [-0.2]]), np.array([0.0, 0.1, 0.3]), 50)
    expected = [[0.7, -0.2], [0.6, -0.1], [0.4, 0]]
    np.testing.assert_allclose(w[..., 0], expected, atol=1e-12)
    assert w[2, 1, 0] == 0


def test_degrees_of_freedom_are_the_trace_of_the_hat_matrix():
    strengths = np.array([0.0, 0.5, 3])
    trained, theory = linear.freedom(X, strengths, 500)
    for i, strength in enumerate(strengths):
        hat = X @ np.linalg.solve(X.T @ X / 5 + strength * np.eye(2), X.T / 5)
        assert trained[i] == pytest.approx(1 + np.trace(hat))
        assert theory[i] == pytest.approx(1 + np.trace(hat))


def test_diabetes_is_standardised():
    x, t = linear.diabetes(50)
    assert (x.shape, t.shape) == ((50, 10), (50, 1))
    np.testing.assert_allclose((x**2).mean(0), 1)
    np.testing.assert_allclose([*x.mean(0), t.mean()], 0, atol=1e-12)
