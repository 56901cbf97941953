"""Tests of fnn.optim.clip_by_norm."""

import chex
import jax.numpy as jnp
import pytest

import fnn
from fnn.optim.clip_by_norm import global_norm


def test_clipping_by_hand():
    grads = {"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}
    clipped, _ = fnn.optim.ClipByNorm(1.0).update(grads, ())
    chex.assert_trees_all_close(clipped, {"a": jnp.array([0.6]), "b": jnp.array([[0.8]])})
    same, _ = fnn.optim.ClipByNorm(5.0).update(grads, ())
    chex.assert_trees_all_equal(same, grads)


def test_clipping_keeps_zero_and_shows_what_is_not_finite():
    zero, _ = fnn.optim.ClipByNorm(1.0).update({"a": jnp.zeros(2)}, ())
    chex.assert_trees_all_equal(zero, {"a": jnp.zeros(2)})
    bad, _ = fnn.optim.ClipByNorm(1.0).update(
        {"a": jnp.array([1.0, jnp.inf]), "b": jnp.ones(1)}, ()
    )
    assert jnp.isnan(bad["a"]).all()
    assert jnp.isnan(bad["b"]).all()


def test_the_norm_does_not_overflow_on_the_way():
    huge = {"a": jnp.array([3e30, 4e30], jnp.float32)}
    assert global_norm(huge) == pytest.approx(5e30, rel=1e-6)
    clipped, _ = fnn.optim.ClipByNorm(1.0).update(huge, ())
    chex.assert_trees_all_close(clipped["a"], jnp.array([0.6, 0.8], jnp.float32), rtol=1e-6)
    assert global_norm({"a": jnp.full(200_000, 1.0, jnp.float16)}) == pytest.approx(200_000**0.5)


def test_integer_gradients_are_refused_by_name():
    for optimizer in (fnn.optim.ClipByNorm(1.0), fnn.optim.SGD(0.1)):
        with pytest.raises(
            TypeError, match=r"(ClipByNorm|SGD): grads\.a must be floating, got int64"
        ):
            optimizer.update({"a": jnp.ones(2, int)}, ())


def test_a_bound_that_nothing_can_meet_is_refused():
    with pytest.raises(ValueError, match=r"ClipByNorm: max_norm must be in \(0, inf\), got 0"):
        fnn.optim.ClipByNorm(0)


def test_the_norm_is_scaled_by_the_largest_entry_of_all_leaves_and_leaves_may_be_empty():
    from fnn.optim.clip_by_norm import global_norm

    one, huge, none = jnp.ones(1, "float32"), jnp.array([3e30, 4e30], "float32"), jnp.zeros((0, 2))
    assert global_norm({"a": one, "b": huge}) == pytest.approx(5e30, rel=1e-6)
    assert global_norm({"a": none, "b": jnp.array([3.0, 4.0])}) == 5
