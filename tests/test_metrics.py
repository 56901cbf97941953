"""Tests of fnn.metrics."""

import jax
import jax.numpy as jnp
import pytest

from fnn.logits import Logits
from fnn.metrics import accuracy

Y = jnp.array([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0], [0.0, 1.0, 2.0]])


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
def test_accuracy_by_hand(dtype):
    assert accuracy(Y, jnp.array([1, 1, 2], dtype)).tolist() == [1.0, 0.0, 1.0]


def test_rows_of_probabilities_count_by_their_largest_entry():
    rows = jnp.array([[0.1, 0.8, 0.1], [0.2, 0.6, 0.2], [0.0, 0.0, 1.0]])
    assert accuracy(Y, rows).tolist() == [1.0, 0.0, 1.0]


def test_every_prediction_of_a_sequence_counts():
    y = jnp.stack([Y, Y])
    assert accuracy(y, jnp.array([[1, 1, 2], [0, 0, 0]])).tolist() == [[1, 0, 1], [0, 1, 0]]


@pytest.mark.parametrize("jit", [False, True])
def test_what_is_no_class_and_what_is_nan_has_no_accuracy(jit):
    f = jax.jit(accuracy) if jit else accuracy
    assert jnp.isnan(f(Y, jnp.array([-1, 3, 2]))).tolist() == [True, True, False]
    assert jnp.isnan(f(Y.at[2, 0].set(jnp.nan), jnp.array([1, 1, 2]))).tolist() == [0, 0, 1]


@pytest.mark.parametrize("jit", [False, True])
def test_factored_logits_count_as_their_product(jit):
    f = jax.jit(accuracy) if jit else accuracy
    h, w = jnp.stack([Y, -Y]), jnp.array([[0.0, 1, 2, 0], [1, 0, 0, 3], [0, 2, 0, 1.5]])
    labels = jnp.array([[3, 2, 1], [0, 1, 2]])
    found = f(Logits(h, w), labels)
    assert found.tolist() == ((h @ w).argmax(-1) == labels).tolist()
    assert 0 < found.sum() < 6
    assert jnp.isnan(f(Logits(h.at[0, 1].set(jnp.nan), w), labels))[0].tolist() == [
        False,
        True,
        False,
    ]
    with pytest.raises(ValueError, match=r"target must have shape \[2, 3\] \(labels\)"):
        f(Logits(h, w), labels[0])


def test_wrong_shapes_and_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"accuracy: target must have shape \[3\] \(labels\)"):
        accuracy(Y, jnp.array([1, 1]))
    with pytest.raises(TypeError, match="accuracy: labels must be integers, got float64"):
        accuracy(Y, jnp.array([1.0, 1.0, 2.0]))
    with pytest.raises(ValueError, match="at least 2 classes"):
        accuracy(Y[:, :1], jnp.array([0, 0, 0]))
