"""Tests of fnn.checking.measure.foreign, by what a check says."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn

X = np.array([[0.3, -0.7, 1.2], [2.0, -0.1, 0.4]])
W = np.array([[1.0, 2, 3, 4], [0.5, -0.5, 1, 2], [1, 0, -1, 0.2]])


def tanh(x, w):
    return np.tanh(x @ w)


@pytest.mark.parametrize("c", [1, 2])
def test_functions_of_numpy_are_judged_by_their_values(c):
    def backward(x, w, dy):
        da = dy * (1 - np.tanh(x @ w) ** 2)
        return da @ w.T, c * x.T @ da

    report = fnn.check_vjp(tanh, backward, X, W)
    assert [finding.leaf for finding in report.findings] == (["w"] if c == 2 else [])
    assert "autodiff cannot follow the forward: differences decide, to 6 digits" in report.notes
    mixed = fnn.check_vjp(lambda x, w: jnp.tanh(x @ w), backward, X, W)
    assert mixed.verdict == ("right" if c == 1 else "wrong")


def test_a_gradient_of_numpy_is_judged_too():
    def cubes(x):
        return np.sum(np.asarray(x) ** 3)

    assert fnn.check_gradient(cubes, lambda x: 3 * np.asarray(x) ** 2, X)
    assert not fnn.check_gradient(cubes, lambda x: 2 * np.asarray(x) ** 2, X)
