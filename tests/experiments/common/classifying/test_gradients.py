from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.common.classifying.gradients import gradient_errors

X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
LABELS = np.array([0, 1, 0, 1, 1], np.int32)


@dataclass(frozen=True)
class WrongTanh(fnn.Tanh):
    def df(self, a):
        return 1 - a


def errors(net, dtype):
    params = net.init(jax.random.key(0))
    loss, penalty = fnn.SoftmaxCrossEntropy(), (fnn.L2(0.1),)
    how = {"key": jax.random.key(1), "penalty": penalty, "dtype": dtype}
    return gradient_errors(net, loss, params, X, LABELS, **how)


@pytest.mark.long
def test_hand_written_gradients_equal_those_of_jax_in_both_precisions():
    net = fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.3)
    double, single = (errors(net, dtype) for dtype in (np.float64, np.float32))
    assert list(double) == ["0.w", "0.b", "3.w", "3.b"]
    assert all(error < 1e-15 < size for error, size in double.values())
    assert all(error < 1e-6 for error, _ in single.values())
    assert max(error for error, _ in single.values()) > 1e-12  # it really was float32


def test_wrong_derivative_is_seen_in_the_layers_below_it():
    wrong = errors(fnn.mlp([3, 4, 2], WrongTanh()), np.float64)
    assert wrong["0.w"][0] > 1e-3
    assert wrong["2.w"][0] < 1e-15


def test_global_precision_stays_as_it_was():
    errors(fnn.mlp([3, 2]), np.float64)
    assert jnp.ones(1).dtype == np.float32
