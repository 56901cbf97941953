"""Tests of fnn.optim.adagrad."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, first_update, gradient

import fnn


def test_the_first_step_by_hand():
    assert first_update(fnn.optim.AdaGrad(0.1, eps=1.0), 3.0) == pytest.approx(-0.1 * 3 / 4)


def test_descends_like_optax():
    ours = fnn.optim.AdaGrad(0.3, eps=0.0)
    theirs = optax.adagrad(0.3, 0.0, eps=0.0)
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_first_step_has_length_learning_rate():
    optimizer = fnn.optim.AdaGrad(0.1, eps=0.0)
    updates, _ = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS))
    expected = jax.tree.map(lambda g: -0.1 * jnp.sign(g), gradient(PARAMS))
    chex.assert_trees_all_close(updates, expected, rtol=1e-10)


def test_steps_shrink_like_one_over_root_t():
    optimizer, p = fnn.optim.AdaGrad(0.1, eps=0.0), {"w": jnp.array([1.0])}
    state = optimizer.init(p)
    for _ in range(100):
        updates, state = optimizer.update(p, state)
    assert float(updates["w"][0]) == pytest.approx(-0.1 / 10)


def test_zero_gradient_and_zero_eps_stay_zero():
    assert first_update(fnn.optim.AdaGrad(0.1, eps=0.0), 0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.0}, r"AdaGrad: learning_rate must be in"),
        ({"eps": -1.0}, r"AdaGrad: eps must be in \[0, inf\), got -1.0"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fnn.optim.AdaGrad(**options)
