"""Tests of fnn.batches."""

import chex
import jax
import jax.numpy as jnp
import pytest

from fnn.batches import Rows, as_rows, averages, count, minibatches, shuffled, taken


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
    assert averages(sums, jnp.array([3.0, 1.0]))["loss"] == 2.0
    assert averages(sums, jnp.zeros(2))["loss"] == 0.0


def test_integral_floats_count_and_others_do_not():
    assert count("epochs", 1e3) == 1000
    with pytest.raises(TypeError, match=r"epochs must be an integer, got '3'"):
        count("epochs", "3")


@pytest.mark.parametrize(
    ("x", "target", "error", "message"),
    [
        ([[1.0], [2.0, 3.0]], [0, 1], ValueError, "x is ragged: its rows differ in length"),
        ([["a"]], [0], TypeError, "x must hold numbers, got <U1 .*first entry 'a'"),
        ([[1.0, None]], [0], TypeError, "x must hold numbers, got object"),
        ([[1j]], [0], TypeError, "x must hold real numbers, got complex128"),
        ([[1.0]], 0, ValueError, r"equally many rows, got shapes \[1, 1\] and \[\]"),
    ],
)
def test_what_are_no_rows_of_numbers_is_refused(x, target, error, message):
    with pytest.raises(error, match=message):
        as_rows(x, target)
