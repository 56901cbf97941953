"""Tests of fnn.optim.sgd."""

import chex
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax

import fnn


def test_update_by_hand():
    grads = {"w": jnp.array([2.0, -4.0])}
    updates, state = fnn.optim.SGD(0.5).update(grads, ())
    chex.assert_trees_all_close(updates, {"w": jnp.array([-1.0, 2.0])})
    assert state == ()


def test_descends_like_optax():
    theirs = descend_like_optax(optax.sgd(0.05), PARAMS)
    chex.assert_trees_all_close(descend(fnn.optim.SGD(0.05), PARAMS), theirs, rtol=1e-10)


def test_one_step_on_a_parabola_shrinks_by_one_minus_rate_times_curvature():
    p = {"w": jnp.array([3.0])}
    updates, _ = fnn.optim.SGD(0.25).update({"w": 2.0 * p["w"]}, ())
    chex.assert_trees_all_close(fnn.optim.apply_updates(p, updates)["w"], (1 - 0.25 * 2.0) * p["w"])


@pytest.mark.parametrize("rate", [0.0, -0.1, float("nan"), float("inf")])
def test_a_rate_that_does_not_descend_is_refused(rate):
    with pytest.raises(ValueError, match=r"SGD: learning_rate must be in \(0, inf\), got"):
        fnn.optim.SGD(rate)


@pytest.mark.parametrize("rate", [None, "0.1", True])
def test_a_rate_that_is_no_number_is_refused(rate):
    with pytest.raises(TypeError, match="SGD: learning_rate must be a number, got"):
        fnn.optim.SGD(rate)
