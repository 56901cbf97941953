"""Tests of fnn.batches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn import batches
from fnn.batches import (
    Rows,
    as_rows,
    averages,
    check_rows,
    check_stateless,
    count,
    is_large,
    metric_sums,
    minibatches,
    shuffled,
    taken,
)
from fnn.logits import Logits


@pytest.mark.parametrize("key", [None, jax.random.key(0)], ids=["in order", "shuffled"])
@pytest.mark.parametrize(("n", "size"), [(7, 3), (6, 3), (2, 5), (1, 1)])
def test_every_row_counts_once(n, size, key):
    rows, real = minibatches(n, size, key, drop_last=False)
    real = jnp.ones_like(rows, bool) if real is None else real
    assert sorted(rows[real].tolist()) == list(range(n))
    assert set(rows.ravel().tolist()) <= set(range(n))
    assert rows.shape == (-(-n // min(n, size)), min(n, size))


def test_rows_are_shuffled_by_the_key_and_in_order_without():
    in_order, _ = minibatches(8, 4, None, drop_last=False)
    assert in_order.ravel().tolist() == list(range(8))
    first, _ = minibatches(8, 4, jax.random.key(0), drop_last=False)
    second, _ = minibatches(8, 4, jax.random.key(1), drop_last=False)
    assert (first != second).any()


@pytest.mark.slow
def test_all_orders_are_equally_likely():
    keys = jax.random.split(jax.random.key(3), 24_000)
    orders = jax.jit(jax.vmap(lambda k: shuffled(k, 4)))(keys)
    codes = orders @ jnp.array([1, 4, 16, 64])
    counts = jnp.unique_counts(codes).counts.astype(jnp.float64)
    assert counts.shape == (24,)
    chi_squared = ((counts - 1000.0) ** 2 / 1000).sum()
    assert chi_squared < 49.7  # one chance in a thousand with 23 degrees of freedom


@pytest.mark.parametrize("n", [1, 2, 1000, 1025])
def test_a_shuffle_is_a_permutation(n):
    order = shuffled(jax.random.key(0), n)
    assert sorted(order.tolist()) == list(range(n))


def test_drop_last_has_full_batches_only():
    rows, real = minibatches(7, 3, jax.random.key(0), drop_last=True)
    assert rows.shape == (2, 3)
    assert real is None
    assert len(set(rows.ravel().tolist())) == 6


def test_rows_that_do_not_count_get_weight_zero():
    rows = Rows(jnp.arange(5.0)[:, None], jnp.arange(5), jnp.arange(10.0).reshape(5, 2))
    chosen, real = jnp.array([4, 1, 2]), jnp.array([True, False, True])
    batch = taken(rows, chosen, real)
    chex.assert_trees_all_equal(batch.target, chosen)
    expected = jnp.array([[8.0, 9.0], [0.0, 0.0], [4.0, 5.0]])
    chex.assert_trees_all_equal(batch.weights, expected)
    unweighted = taken(rows._replace(weights=None), chosen, real)
    chex.assert_trees_all_equal(unweighted.weights, real)


def test_averages_by_hand():
    sums = {"loss": jnp.array([6.0, 2.0])}
    assert averages((), sums, jnp.array([3.0, 1.0]))["loss"] == 2.0
    assert averages((), sums, jnp.zeros(2))["loss"] == 0.0
    assert averages((), {"loss": jnp.array([6.0, 0.0])}, jnp.array([3.0, jnp.nan]))["loss"] == 2.0
    assert jnp.isnan(averages((), {"loss": jnp.zeros(2)}, jnp.full(2, jnp.nan))["loss"])
    exp = (("loss", fnn.Perplexity()),)
    assert averages(exp, sums, jnp.array([3.0, 1.0]))["loss"] == jnp.exp(2.0)


def test_integral_floats_count_and_others_do_not():
    assert count("epochs", 1e3) == 1000
    with pytest.raises(TypeError, match=r"epochs must be an integer, got '3'"):
        count("epochs", "3")


def test_metric_sums_by_hand_and_of_factored_logits_whole():
    metrics = (("first", lambda y, target: y[..., 0]),)
    w, target = jnp.array([2.0, 0.0]), jnp.zeros(2)
    y = jnp.array([[3.0, 1.0], [jnp.nan, 1.0]])
    assert metric_sums(metrics, y, target, w) == {"first": 6.0}
    logits = Logits(jnp.array([[3.0], [1.0]]), jnp.array([[2.0, 5.0]]))
    assert metric_sums(metrics, logits, target, w) == {"first": 12.0}
    steps = fnn.Sequence(jnp.ones((1, 2, 3)), jnp.array([[True, False]]))
    assert metric_sums(metrics, steps, target, w[None]) == {"first": 2.0}
    with pytest.raises(ValueError, match=r"metric 'first' must give .* shape \[2, 3\], got \[2\]"):
        metric_sums(metrics, y, target, jnp.ones((2, 3)))


def test_rows_are_arrays_and_weights_may_be_missing_or_none():
    x, target = np.ones((2, 3)), [0, 1]
    for data in ((x, target), [x, target], (x, target, None)):
        rows = as_rows("f", "data", data)
        assert isinstance(rows.x, jax.Array)
        assert rows.target.tolist() == [0, 1]
        assert rows.weights is None
    assert as_rows("f", "data", (x, target, [1, 2])).weights.tolist() == [1, 2]


def test_rows_of_any_pytree_are_taken_from_every_array_of_it():
    x = fnn.Sequence(np.arange(12.0).reshape(3, 2, 2), np.ones((3, 2), bool))
    rows = as_rows("f", "data", (x, np.arange(3)))
    batch = taken(rows, jnp.array([2, 0]), None)
    assert isinstance(batch.x, fnn.Sequence)
    assert batch.x.x[:, 0, 0].tolist() == [8, 0]
    assert batch.x.mask.shape == (2, 2)
    pair = as_rows("f", "data", ((x.x, {"a": np.arange(3)}), np.arange(3)))
    assert taken(pair, jnp.array([1]), None).x[1]["a"].tolist() == [1]


X, TARGET = [[1.0], [2.0]], [0, 1]


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (([[1.0], [2.0, 3.0]], [0, 1]), ValueError, "x is ragged: its rows differ in length"),
        (([["a"]], [0]), TypeError, "x must hold numbers, got <U1 .*first entry 'a'"),
        (([[1.0, None]], [0]), TypeError, "x must hold numbers, got object"),
        (([[1j]], [0]), TypeError, "x must hold real numbers, got complex128"),
        (([[1.0]], 0), ValueError, r"equally many rows, got shapes \[1, 1\] and \[\]"),
        (
            ({"a": np.ones((2, 1)), "b": np.ones((1, 1))}, TARGET),
            ValueError,
            r"got shapes \[1, 1\] and \[2\]",
        ),
        (
            (X, TARGET, [1.0]),
            ValueError,
            r"weights must have as many rows as target, 2, got .*\[1\]",
        ),
        ((X, TARGET, 1.0), ValueError, r"weights must have as many rows as target, 2, got .*\[\]"),
        ((X,), TypeError, r"rows must be \(x, target\) or \(x, target, weights\), got tuple of 1"),
        ((X, TARGET, None, None), TypeError, "got tuple of 4; batches come from a function"),
        (np.ones((2, 3)), TypeError, "got ndarray; batches come from a function that makes"),
        (iter([]), TypeError, "got list_iterator; batches come from a function that makes"),
    ],
)
def test_what_are_no_rows_of_numbers_is_refused(data, error, message):
    with pytest.raises(error, match=rf"^f: .*{message}"):
        as_rows("f", "rows", data)


def test_what_is_large_is_counted_in_all_of_x(tmp_path, monkeypatch):
    file = np.memmap(tmp_path / "x", "float64", "w+", shape=(11, 3))
    monkeypatch.setattr(batches, "WHOLE", 2 * file.nbytes - 1)
    assert is_large(({"a": file, "b": file}, TARGET))
    assert not is_large((file, TARGET))
    assert not is_large((np.asarray(file), np.asarray(file)))


def test_a_state_has_no_rows_to_cut():
    x = jnp.ones((3, 2, 2))
    check_stateless("f", "data", x)
    check_stateless("f", "data", fnn.Sequence(x, state=()))
    check_stateless("f", "data", fnn.Sequence(x, state=((), None)))
    with pytest.raises(ValueError, match="^f: x of data has a state, .*; call fnn.step with each"):
        check_stateless("f", "data", fnn.Sequence(x, state=(x[:, 0],)))


NET, LOSS = fnn.Dense(1, 2), fnn.SoftmaxCrossEntropy()
TRAINED = (NET, LOSS, NET.init(jax.random.key(0)), None)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (([], []), "f: empty batch, the held-out data have no rows"),
        ((X, [0, 2]), r"target must hold labels in \[0, 2\), got 2 at index 1"),
        ((X, TARGET, [[1.0], [1.0]]), r"f: weights must have shape \[2\], got \[2, 1\]"),
        ((X, TARGET, [0.0, 0.0]), "f: weights must not all be 0"),
        (([[1.0], [jnp.nan]], TARGET), r"f: held-out x must be finite, got nan at index \[1, 0\]"),
        (
            ([[jnp.inf], [1.0]], TARGET, [1.0, 0.0]),
            r"got inf at index \[0, 0\] \(1 of 2 are wrong\)",
        ),
    ],
)
def test_rows_that_do_not_fit_the_net_and_the_loss_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        check_rows("f", "held-out ", TRAINED, as_rows("f", "data", data))


def test_rows_that_fit_pass_with_anything_in_rows_of_weight_zero():
    check_rows("f", "", TRAINED, as_rows("f", "data", (X, TARGET)))
    left_out = ([[1.0], [jnp.nan]], TARGET, [1.0, 0.0])
    check_rows("f", "", TRAINED, as_rows("f", "data", left_out))
    net = fnn.Parallel(fnn.Last(), fnn.Dense(1, 1), split=True, join="sum")
    read = fnn.Sequence(jnp.array([[[1.0], [jnp.nan]]] * 2), jnp.array([[True, False]] * 2))
    rows = as_rows("f", "data", ((read, X), jnp.zeros((2, 1))))
    check_rows("f", "", (net, fnn.SquaredError(), net.init(jax.random.key(0)), None), rows)
    traced = jax.jit(
        lambda x: (check_rows("f", "", TRAINED, as_rows("f", "data", (x, TARGET))), x)[1]
    )
    traced(jnp.array([[1.0], [jnp.nan]]))
