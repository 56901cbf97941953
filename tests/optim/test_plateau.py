"""Tests of fnn.optim.plateau: it is optax's, as an optimizer with a rate."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optimizers import PARAMS, gradient
from training import KEY, TARGET, X, plan

import fnn
from fnn.optim import SGD, Adam, Chain, ClipByNorm, Plateau, Scheduled

LOSSES = [3.0, 2, 2, 2.5, jnp.nan, 1.9, 1.9, 1.8999, 2, 2, 2, 2, 0.5, 1, 1, 1, 1, 1, 1, 1]
OPTIONS = {"factor": 0.5, "patience": 2, "least": 0.1}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_rates_fall_where_those_of_optax_do(every):
    theirs = optax.contrib.reduce_on_plateau(
        factor=0.5, patience=2, rtol=1e-4, accumulation_size=every, min_scale=0.1
    )
    ours = Plateau(SGD(0.4), every=every, **OPTIONS)
    with jax.numpy_dtype_promotion("standard"):
        state, known, rates = ours.init(PARAMS), theirs.init(PARAMS), set()
        for loss in LOSSES:
            want, known = theirs.update(gradient(PARAMS), known, value=jnp.asarray(loss))
            updates, state = ours.update(gradient(PARAMS), state, PARAMS, value=loss)
            chex.assert_trees_all_close(updates, jax.tree.map(lambda g: -0.4 * g, want), rtol=1e-6)
            rates.add(round(float(ours.rate(state)), 6))
    assert {0.4, 0.2, 0.1} <= rates


def test_a_plan_hands_the_loss_over_and_other_numbers_compile_nothing():
    flat = plan(Plateau(Adam(0.0 + 1e-9), 0.5, 1))
    state, _ = fnn.fit(flat, fnn.start(flat, KEY), (X, TARGET), epochs=3, batch_size=11)
    np.testing.assert_allclose(state.optimizer_state.scale, 0.25)  # two of three were no better
    inside = plan(Plateau(Adam(1e-9), 0.5, 1), in_backward=True)
    other, _ = fnn.fit(inside, fnn.start(inside, KEY), (X, TARGET), epochs=3, batch_size=11)
    chex.assert_trees_all_close(other.params, state.params, rtol=1e-12)
    assert {s.scale.item() for s in other.optimizer_state if s} == {0.25}


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        (
            (Chain(ClipByNorm(1.0), Adam()),),
            TypeError,
            "Plateau: Chain has no learning_rate to repl",
        ),
        (
            (optax.sgd(0.1),),
            TypeError,
            "Plateau: .* has no learning_rate to replace; put Plateau in",
        ),
        ((Adam(), 1.0), ValueError, r"Plateau: factor must be in \(0, 1\), got 1.0"),
        ((Adam(), 0.1, 0), ValueError, "Plateau: patience must be in"),
        ((Adam(), 0.1, 5, 2.5), TypeError, "Plateau: every must be a whole number of steps"),
        ((Adam(), 0.1, 5, 2, -1), ValueError, "Plateau: threshold must be in"),
    ],
)
def test_what_means_nothing_is_refused(args, error, message):
    with pytest.raises(error, match=message):
        Plateau(*args)


def test_without_a_loss_it_says_what_to_give():
    ours = Plateau(SGD(0.1))
    with pytest.raises(ValueError, match="Plateau: update needs the loss; a Plan hands it over"):
        ours.update(PARAMS, ours.init(PARAMS), PARAMS)
    assert not ours.hides()
    assert ours.whole() is None
    with pytest.raises(TypeError, match="Scheduled: Plateau has no learning_rate"):
        Scheduled(ours, fnn.optim.Constant(0.1))
