"""Tests of fnn.train: weights of zero, masks and states of sequences."""

import chex
import jax
import jax.numpy as jnp
import pytest
from contract import noise
from training import KEY, LOSS, RUNS, X, fit, plan

import fnn
from fnn.sequence import Sequence


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_row_of_weight_zero_may_hold_anything(value):
    x, target = X.at[3].set(value), jnp.ones((11, 2)).at[3].set(value)
    data = x, target, jnp.ones(11).at[3].set(0.0)
    squared = plan(fnn.optim.SGD(0.1), loss=fnn.SquaredError())
    zeros = X.at[3].set(0.0), jnp.ones((11, 2)), data[2]
    ours, theirs = (fit(squared, data=d, validation=d) for d in (data, zeros))
    chex.assert_trees_all_close((ours[0].params, ours[1]), (theirs[0].params, theirs[1]))


def test_a_row_of_weight_zero_may_hold_anything_in_its_target():
    target = jnp.ones((11, 2)).at[3].set(jnp.nan)
    squared = plan(fnn.optim.SGD(0.1), loss=fnn.SquaredError())
    state, history = fit(squared, data=(X, target, jnp.ones(11).at[3].set(0.0)))
    chex.assert_tree_all_finite((state.params, history))


READER = fnn.Serial(fnn.RNN(3, 4), fnn.Dense(4, 2))
STEPS = jax.random.normal(jax.random.key(3), (5, 4, 3))
LABELS = (STEPS.sum(-1) > 0).astype(jnp.int32)
MASK = jnp.arange(4) < jnp.array([4, 3, 1, 2, 4])[:, None]


def sequences(padding, mask=MASK):
    return fnn.Sequence(jnp.where(MASK[..., None], STEPS, padding), mask), LABELS


@pytest.mark.parametrize("padding", [1e3, jnp.nan, jnp.inf])
def test_masked_steps_of_sequences_change_nothing_whatever_they_hold(padding):
    reading = plan(fnn.optim.SGD(0.5), READER, metrics={"accuracy": fnn.accuracy})
    zero, padded = sequences(0.0), sequences(padding)
    start, how = fnn.start(reading, KEY), {"epochs": 2, "batch_size": 2}  # the last has one row
    ours, theirs = (
        fnn.fit(reading, start, data, validation=data, **how) for data in (padded, zero)
    )
    chex.assert_trees_all_close((ours[0].params, ours[1]), (theirs[0].params, theirs[1]))
    chex.assert_tree_all_finite(ours[1])
    ours, theirs = (fnn.evaluate(reading, start, data) for data in (padded, zero))
    chex.assert_trees_all_close(ours, theirs)
    ours, theirs = (RUNS["step"](reading, start, data).params for data in (padded, zero))
    chex.assert_trees_all_close(ours, theirs)
    unmasked = fnn.evaluate(reading, start, sequences(0.0, None))
    assert abs(unmasked["loss"] - fnn.evaluate(reading, start, zero)["loss"]) > 1e-3


def test_a_sequence_of_weight_zero_changes_nothing():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start, (x, target) = fnn.start(reading, KEY), sequences(0.0)
    weights = jnp.ones(5).at[1].set(0.0)
    other = x.with_fields(x=x.x.at[1].set(7.0)), target.at[1].set(0), weights
    how = {"epochs": 2, "batch_size": 2}
    ours, losses = fnn.fit(reading, start, (x, target, weights), **how)
    theirs, same = fnn.fit(reading, start, other, **how)
    chex.assert_trees_all_close((ours.params, losses), (theirs.params, same), rtol=1e-12)


def test_a_step_weighs_the_steps_that_count():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start = fnn.start(reading, KEY)
    _, row = fnn.step(reading, start, sequences(0.0))
    losses, _ = LOSS.forward(READER.forward(start.params, STEPS)[0], LABELS)
    expected = losses[MASK].mean()  # the steps that are left out come last
    chex.assert_trees_all_close(row["loss"], expected, rtol=1e-10)


def test_a_state_of_a_sequence_is_carried_by_a_step():
    reading = plan(fnn.optim.SGD(0.5), READER)
    start, h = fnn.start(reading, KEY), jnp.ones((5, 4))
    x = fnn.Sequence(STEPS, state=((h,), ()))
    state, row = fnn.step(reading, start, (x, LABELS))
    done = jax.jit(fnn.fold)(READER, LOSS, start.params, x, LABELS)
    chex.assert_trees_all_close(row["loss"], done.loss, rtol=1e-10)
    expected = jax.tree.map(lambda p, g: p - 0.5 * g, start.params, done.result)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)
    without = fnn.step(reading, start, (x.with_fields(state=None), LABELS))[1]
    assert abs(row["loss"] - without["loss"]) > 1e-3


@pytest.mark.parametrize("run", ["epoch", "evaluate", "fit"])
def test_a_state_of_a_sequence_is_refused_where_rows_are_cut(run):
    reading = plan(net=READER)
    x = fnn.Sequence(STEPS, state=((jnp.ones((5, 4)),), ()))
    message = (
        rf"^{run}: x of data has a state, of which no rows can be cut; call fnn.step with each"
    )
    with pytest.raises(ValueError, match=message):
        RUNS[run](reading, fnn.start(reading, KEY), (x, LABELS))


def test_parts_of_a_long_sequence_carry_their_state_and_cut_the_gradient():
    net = fnn.Serial(rnn=fnn.Repeat(2, fnn.Residual(fnn.LSTM(3, 3))), head=fnn.Dense(3, 2))
    plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
    x, target = noise(4, 12, 3), noise(4, 12, 2, seed=2)
    params = net.init(KEY)
    training, carried = fnn.start(plan, None, params), None
    before, expected = None, params

    @jax.jit
    def by_autodiff(params, part, before):
        def loss(params):
            y, _ = net.forward(params, fnn.Sequence(x[:, part], state=before))
            return ((y.x - target[:, part]) ** 2).sum(-1).mean(), y.state

        grads, state = jax.grad(loss, has_aux=True)(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), state

    for part in (jnp.arange(4), jnp.arange(4, 8), jnp.arange(8, 12)):
        batch = fnn.Sequence(x[:, part], state=carried), target[:, part]
        training, row = fnn.step(plan, training, batch)
        carried = row["state"]
        expected, before = by_autodiff(expected, part, before)
        chex.assert_trees_all_close((training.params, carried), (expected, before), rtol=1e-9)
    whole, _ = net.forward(params, fnn.Sequence(x))
    parts, state = [], None
    for t in range(0, 12, 4):
        y, _ = net.forward(params, fnn.Sequence(x[:, t : t + 4], state=state))
        parts, state = [*parts, y.x], y.state
    chex.assert_trees_all_close(jnp.concatenate(parts, 1), whole.x, rtol=1e-9)
    chex.assert_trees_all_close(state, whole.state, rtol=1e-9)


def test_an_evaluation_weighs_the_steps_that_count():
    reading = fnn.Plan(READER, LOSS, fnn.optim.SGD(0.5), metrics={"accuracy": fnn.accuracy})
    start = fnn.start(reading, KEY)
    y, _ = READER.forward(start.params, Sequence(STEPS, MASK))
    row = fnn.evaluate(reading, start, (Sequence(STEPS, MASK), LABELS))
    losses, _ = LOSS.forward(y.x, LABELS)
    chex.assert_trees_all_close(row["loss"], losses[MASK].mean(), rtol=1e-10)
    right = fnn.accuracy(y.x, LABELS)
    chex.assert_trees_all_close(row["accuracy"], right[MASK].mean(), rtol=1e-10)
