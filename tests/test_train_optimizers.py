"""Tests of fnn.train with optimizers of every kind, optax's too."""

from dataclasses import dataclass

import chex
import jax
import optax
import pytest
from training import KEY, LOSS, NET, PARAMS, RUNS, TARGET, TRAINING, X, fit, plan, value_and_grad

import fnn
from fnn.optim.optimizer import Optimizer


@pytest.mark.parametrize("run", RUNS)
def test_another_rate_or_penalty_compiles_nothing(run):
    traced = []

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    for rate in (0.1, 0.2):
        numbers = {"penalty": fnn.L2(rate), "metrics": {"counted": counted}}
        once = plan(fnn.optim.SGD(rate), **numbers)
        RUNS[run](once, fnn.start(once, KEY, PARAMS), (X, TARGET))
    assert len(traced) == 1


@pytest.mark.parametrize("run", TRAINING)
@pytest.mark.parametrize("where", ["alone", "in Chain"])
def test_optax_drops_in_with_one_trace(run, where):
    adam, traced = optax.adam(0.05), []
    optimizer = adam if where == "alone" else fnn.optim.Chain(fnn.optim.ClipByNorm(1e3), adam)

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    def train(optimizer):
        counting = plan(optimizer, metrics={"counted": counted})
        return RUNS[run](counting, fnn.start(counting, KEY, PARAMS), (X, TARGET))

    with jax.numpy_dtype_promotion("standard"):
        train(optimizer)
        theirs = train(optimizer)
    assert len(traced) == 1
    chex.assert_trees_all_close(theirs.params, train(fnn.optim.Adam(0.05)).params, rtol=1e-6)


@dataclass(frozen=True)
class Polyak(Optimizer):
    """update = −L g: a rate that is the loss itself."""

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(lambda g: -value * g, grads), state


@pytest.mark.parametrize("where", [lambda o: o, fnn.optim.Chain], ids=["alone", "in Chain"])
def test_the_loss_reaches_an_optimizer_that_asks_for_it(where):
    penalised = plan(where(Polyak()), penalty=fnn.L2(0.1))
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1))
    for run in TRAINING:
        state = fnn.start(penalised, None, PARAMS)
        if run == "step":
            state = fnn.step(penalised, state, (X, TARGET))[0]
        elif run == "epoch":
            state = fnn.epoch(penalised, state, (X, TARGET), batch_size=11)[0]
        else:
            state = fnn.fit(penalised, state, (X, TARGET), epochs=1, batch_size=11)[0]
        expected = jax.tree.map(lambda p, g: p - loss * g, PARAMS, grads)
        chex.assert_trees_all_close(state.params, expected, rtol=1e-10)


@pytest.mark.parametrize("where", ["optax", "fnn"])
def test_a_rate_of_optax_that_waits_for_the_loss_falls_on_a_plateau(where):
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=1, rtol=0.0, atol=1e9)
    parts = optax.sgd(0.1), plateau  # the loss never falls by 10⁹
    optimizer = optax.chain(*parts) if where == "optax" else fnn.optim.Chain(*parts)
    with jax.numpy_dtype_promotion("standard"):
        waiting = plan(optimizer)
        state, _ = fit(waiting, key=None, epochs=4, batch_size=11)
        alone, _ = fit(plan(optax.sgd(0.1)), key=None, epochs=4, batch_size=11)
    assert float(state.optimizer_state[1].scale) < 1
    assert (state.params[0].w != alone.params[0].w).any()


@pytest.mark.parametrize("run", TRAINING)
def test_an_optimizer_that_evaluates_the_loss_itself_is_refused(run):
    searching = plan(optax.lbfgs())
    with jax.numpy_dtype_promotion("standard"):
        state = fnn.start(searching, KEY, PARAMS)
        message = "the optimizer asks for more than gradients, params and the loss .*in a Plan"
        with pytest.raises(TypeError, match=message):
            RUNS[run](searching, state, (X, TARGET))
