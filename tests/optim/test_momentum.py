"""Tests of fnn.optim.momentum."""

import chex
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax

import fnn


def run(optimizer, gradients):
    state, out = optimizer.init({"w": jnp.zeros(1)}), []
    for g in gradients:
        updates, state = optimizer.update({"w": jnp.array([g])}, state)
        out.append(float(updates["w"][0]))
    return out


def test_updates_by_hand():
    assert run(fnn.optim.Momentum(0.1, 0.5), [1.0, 2.0]) == pytest.approx([-0.1, -0.25])
    assert run(fnn.optim.Momentum(0.1, 0.5, average=True), [1.0, 2.0]) == pytest.approx(
        [-0.05, -0.125]
    )
    # v = 1, then 2.5; one step ahead 0.5 v + g
    assert run(fnn.optim.Momentum(0.1, 0.5, nesterov=True), [1.0, 2.0]) == pytest.approx(
        [-0.15, -0.325]
    )


@pytest.mark.parametrize("nesterov", [False, True])
def test_heavy_ball_descends_like_optax(nesterov):
    theirs = descend_like_optax(optax.sgd(0.05, momentum=0.8, nesterov=nesterov), PARAMS)
    ours = descend(fnn.optim.Momentum(0.05, 0.8, nesterov=nesterov), PARAMS)
    chex.assert_trees_all_close(ours, theirs, rtol=1e-10)


def test_moving_average_descends_like_optax():
    theirs = optax.chain(optax.ema(0.8, debias=False), optax.scale(-0.05))
    ours = descend(fnn.optim.Momentum(0.05, 0.8, average=True), PARAMS)
    chex.assert_trees_all_close(ours, descend_like_optax(theirs, PARAMS), rtol=1e-10)


@pytest.mark.parametrize("nesterov", [False, True])
def test_both_conventions_are_one_method_with_another_rate(nesterov):
    heavy = descend(fnn.optim.Momentum(0.2 * 0.05, 0.8, nesterov=nesterov), PARAMS)
    average = descend(fnn.optim.Momentum(0.05, 0.8, average=True, nesterov=nesterov), PARAMS)
    chex.assert_trees_all_close(heavy, average, rtol=1e-10)


@pytest.mark.slow
def test_a_constant_gradient_ends_in_the_terminal_step():
    assert run(fnn.optim.Momentum(0.1, 0.9), [2.0] * 400)[-1] == pytest.approx(-0.1 * 2.0 / 0.1)
    assert run(fnn.optim.Momentum(0.1, 0.9, average=True), [2.0] * 400)[-1] == pytest.approx(-0.2)


@pytest.mark.parametrize("momentum", [1.0, -0.5, 1.5])
def test_a_momentum_that_never_forgets_is_refused(momentum):
    with pytest.raises(ValueError, match=r"Momentum: momentum must be in \[0, 1\), got"):
        fnn.optim.Momentum(0.1, momentum)
