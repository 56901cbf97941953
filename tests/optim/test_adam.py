"""Tests of fnn.optim.adam."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, first_update, gradient

import fnn


def test_the_first_step_by_hand():
    assert first_update(fnn.optim.Adam(0.1, eps=1.0), 3.0) == pytest.approx(-0.1 * 3 / 4)


def test_descends_like_optax():
    ours = fnn.optim.Adam(0.05, 0.8, 0.95, 1e-3)
    theirs = optax.adam(0.05, 0.8, 0.95, eps=1e-3)
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_first_step_has_length_learning_rate():
    optimizer = fnn.optim.Adam(0.1, eps=0.0)
    updates, _ = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS))
    expected = jax.tree.map(lambda g: -0.1 * jnp.sign(g), gradient(PARAMS))
    chex.assert_trees_all_close(updates, expected, rtol=1e-10)


def test_it_sees_a_constant_gradient_without_bias():
    optimizer, g = fnn.optim.Adam(0.1, eps=0.0), {"w": jnp.array([-3.0])}
    state = optimizer.init(g)
    for _ in range(7):
        updates, state = optimizer.update(g, state)
        assert float(updates["w"][0]) == pytest.approx(0.1)
    assert state.step == 7


def test_zero_gradient_and_zero_eps_stay_zero():
    assert first_update(fnn.optim.Adam(0.1, eps=0.0), 0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"b1": 1.0}, r"Adam: b1 must be in \[0, 1\), got 1.0"),
        ({"b2": 1.5}, r"Adam: b2 must be in \[0, 1\), got 1.5"),
        ({"eps": -1.0}, r"Adam: eps must be in \[0, inf\), got -1.0"),
        ({"learning_rate": jnp.array([0.1, -0.1])}, r"Adam: learning_rate must be in"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fnn.optim.Adam(**options)


def test_moments_are_of_single_precision_at_least():
    state = fnn.optim.Adam().init({"a": jnp.ones(2, "bfloat16"), "b": jnp.ones(2)})
    for moment in (state.m, state.s):
        assert (moment["a"].dtype, moment["b"].dtype) == ("float32", "float64")
