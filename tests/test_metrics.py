"""Tests of fnn.metrics."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

from fnn.logits import Logits
from fnn.losses.categorical import CrossEntropy, SoftmaxCrossEntropy
from fnn.metrics import Perplexity, TopKAccuracy, accuracy

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


def test_top_k_by_hand():
    labels = jnp.array([2, 2, 0])  # second, second and last in their rows
    assert [TopKAccuracy(n)(Y, labels).tolist() for n in (1, 2, 3)] == [
        [0, 0, 0], [1, 1, 0], [1, 1, 1],
    ]  # fmt: skip
    rows = jnp.array([[0.1, 0.2, 0.7], [0, 0, 1], [1, 0, 0]])
    assert TopKAccuracy(2)(Y, rows).tolist() == [1, 1, 0]


def test_of_equal_entries_the_first_come_in():
    y = jnp.array([[1.0, 2, 2, 2, 0]] * 5)
    found = [TopKAccuracy(n)(y, jnp.arange(5)).tolist() for n in (1, 2, 3, 4)]
    assert found == [[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 0]]


@pytest.mark.parametrize("n", [1, 3, 5])
def test_top_k_is_that_of_lax_and_for_one_the_accuracy(n):
    y, labels = noise(4, 7, 5), jnp.arange(28).reshape(4, 7) % 5
    right = (jax.lax.top_k(y, n)[1] == labels[..., None].astype("int32")).any(-1)
    np.testing.assert_array_equal(TopKAccuracy(n)(y, labels), right)
    if n == 1:
        np.testing.assert_array_equal(TopKAccuracy(n)(y, labels), accuracy(y, labels))


@pytest.mark.parametrize("jit", [False, True])
def test_top_k_has_no_value_where_accuracy_has_none(jit):
    f = jax.jit(TopKAccuracy(2)) if jit else TopKAccuracy(2)
    assert jnp.isnan(f(Y, jnp.array([-1, 3, 2]))).tolist() == [True, True, False]
    assert jnp.isnan(f(Y.at[2, 0].set(jnp.nan), jnp.array([1, 1, 2]))).tolist() == [0, 0, 1]
    assert f(Logits(Y, jnp.eye(3)), jnp.array([2, 1, 0])).tolist() == [1, 0, 0]


def test_perplexity_is_what_so_many_equal_classes_have():
    metric, labels = Perplexity(), jnp.array([3, 0])
    np.testing.assert_allclose(metric.of_mean(metric(jnp.zeros((2, 7)), labels).mean()), 7)
    y = noise(2, 7)
    of_p = Perplexity(CrossEntropy())(jax.nn.softmax(y), labels)
    np.testing.assert_allclose(of_p, metric(y, labels), rtol=1e-12)
    np.testing.assert_array_equal(metric(y, labels), SoftmaxCrossEntropy().forward(y, labels)[0])


@pytest.mark.parametrize("metric", [TopKAccuracy(3), Perplexity()], ids=repr)
def test_an_equal_metric_is_the_same(metric):
    rebuilt = pickle.loads(pickle.dumps(metric))
    assert (rebuilt, hash(rebuilt), repr(rebuilt)) == (metric, hash(metric), repr(metric))
    assert not jax.tree.leaves(metric)


def test_metrics_with_wrong_fields_or_shapes_are_refused():
    with pytest.raises(ValueError, match=r"^TopKAccuracy\(n=0\): n must be at least 1"):
        TopKAccuracy(0)
    with pytest.raises(ValueError, match=r"^TopKAccuracy\(n=5\): y must have at least 5 classes"):
        TopKAccuracy()(Y, jnp.array([1, 1, 2]))
    with pytest.raises(ValueError, match=r"^TopKAccuracy\(n=2\): target must have shape \[3\]"):
        TopKAccuracy(2)(Y, jnp.array([1, 1]))
    with pytest.raises(TypeError, match=r"^Perplexity: loss must be a Loss, got .*; build it"):
        Perplexity(SoftmaxCrossEntropy)
