"""Tests of fnn.optim.schedules."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax

import fnn

STEPS = jnp.arange(30)

LIKE_OPTAX = {
    "constant": (fnn.optim.Constant(0.3), optax.constant_schedule(0.3)),
    "exponential": (fnn.optim.ExponentialDecay(0.3, 0.5, 7), optax.exponential_decay(0.3, 7, 0.5)),
    "step": (
        fnn.optim.StepDecay(0.3, 0.5, 7),
        optax.exponential_decay(0.3, 7, 0.5, staircase=True),
    ),
    "cosine": (
        fnn.optim.CosineDecay(0.3, 20, 0.03),
        optax.cosine_decay_schedule(0.3, 20, alpha=0.1),
    ),
    "warm-up": (
        fnn.optim.WarmupCosine(0.3, 5, 20, 0.1, 0.03),
        optax.warmup_cosine_decay_schedule(0.1, 0.3, 5, 20, 0.03),
    ),
}


@pytest.mark.parametrize("name", LIKE_OPTAX)
def test_rates_are_those_of_optax(name):
    ours, theirs = LIKE_OPTAX[name]
    with jax.numpy_dtype_promotion("standard"):
        expected = jnp.array([theirs(s) for s in STEPS])
    chex.assert_trees_all_close(jax.vmap(ours)(STEPS), expected, rtol=1e-6)
    chex.assert_trees_all_close(jnp.stack([ours(int(s)) for s in STEPS]), jax.vmap(ours)(STEPS))


def test_rates_by_hand():
    assert fnn.optim.StepDecay(0.8, 0.5, 10)(19) == pytest.approx(0.4)
    assert fnn.optim.StepDecay(0.8, 0.5, 10)(20) == pytest.approx(0.2)
    assert fnn.optim.ExponentialDecay(0.8, 0.25, 10)(5) == pytest.approx(0.4)
    assert fnn.optim.CosineDecay(1.0, 8, 0.2)(4) == pytest.approx(0.6)
    assert fnn.optim.CosineDecay(1.0, 8, 0.2)(100) == pytest.approx(0.2)
    assert fnn.optim.WarmupCosine(1.0, 4, 12)(1) == pytest.approx(0.25)
    assert fnn.optim.WarmupCosine(1.0, 4, 12)(4) == pytest.approx(1.0)
    assert fnn.optim.WarmupCosine(1.0, 4, 12)(8) == pytest.approx(0.5)
    assert fnn.optim.WarmupCosine(1.0, 0, 12)(0) == pytest.approx(1.0)


@pytest.mark.parametrize("every", [41, 47, 55, 82, 94])
def test_a_step_is_taken_on_time_under_jit_too(every):
    with jax.enable_x64(False):
        schedule = fnn.optim.StepDecay(1.0, 0.5, every)
        rates = jax.jit(lambda s: schedule(s))(jnp.arange(3 * every + 1))
        expected = 0.5 ** (jnp.arange(3 * every + 1) // every).astype(jnp.float32)
        chex.assert_trees_all_close(rates, expected, rtol=1e-6)


def test_a_scheduled_optimizer_descends_like_optax():
    ours = fnn.optim.Scheduled(fnn.optim.Adam(), fnn.optim.CosineDecay(0.1, 20))
    theirs = optax.adam(optax.cosine_decay_schedule(0.1, 20))
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-6
    )


def test_a_rate_of_zero_takes_no_step_and_is_no_error():
    optimizer = fnn.optim.Scheduled(fnn.optim.SGD(1.0), fnn.optim.WarmupCosine(1.0, 2, 4))
    updates, state = optimizer.update(PARAMS, optimizer.init(PARAMS))
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, PARAMS))
    assert state.step == 1


def test_the_numbers_of_a_schedule_are_swept_by_vmap():
    highest = jnp.array([0.1, 0.2], jnp.float32)
    swept = jax.vmap(lambda r: fnn.optim.CosineDecay(r, 10)(5))(highest)
    chex.assert_trees_all_close(swept, jnp.array([0.05, 0.1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda: fnn.optim.Constant(-1.0),
            ValueError,
            r"Constant: rate must be in \[0, inf\), got -1",
        ),
        (
            lambda: fnn.optim.StepDecay(0.1, 0.5, 0),
            ValueError,
            r"StepDecay: every must be in \(0, inf",
        ),
        (lambda: fnn.optim.CosineDecay(0.1, 0), ValueError, "CosineDecay: n_steps must be in"),
        (
            lambda: fnn.optim.WarmupCosine(0.1, 150, 100),
            ValueError,
            "n_warmup must be less than n_steps, got 150 and 100",
        ),
        (
            lambda: fnn.optim.Scheduled(fnn.optim.Chain(fnn.optim.Adam()), fnn.optim.Constant(0.1)),
            TypeError,
            "Scheduled: Chain has no learning_rate to replace; put Scheduled inside",
        ),
        (
            lambda: fnn.optim.Scheduled(fnn.optim.Adam(), 0.1),
            TypeError,
            "schedule must be a Schedule",
        ),
    ],
)
def test_schedules_that_mean_nothing_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()


def test_a_warm_up_of_no_step_has_a_derivative_too():
    slope = jax.grad(lambda rate: fnn.optim.WarmupCosine(rate, 0, 10)(5))(0.1)
    assert slope == pytest.approx(0.5)
