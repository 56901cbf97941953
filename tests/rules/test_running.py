"""Tests of fnn.rules.running."""

import pickle
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.layers.normalization import BatchNormAverages
from fnn.numerics import cast
from fnn.rules import backprop, running_averages

KEY = jax.random.key(0)
LOSS, STILL = fnn.SquaredError(), fnn.optim.SGD(1e-12)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
X, TARGET = noise(11, 3), noise(11, 2, seed=2)
fold = jax.jit(fnn.fold)


def wrapped():
    """A BatchNorm at the top, and three inside of everything that one may stand in."""
    inner = fnn.Recompute(fnn.Residual(fnn.Serial(fnn.Dense(3, 3), norm(3), fnn.Tanh())))
    last = fnn.Cast(fnn.Serial(fnn.Dense(3, 2), norm(2)), "float64")
    return fnn.Serial(norm=norm(3), blocks=fnn.Repeat(2, inner), last=last)


def norm(n):
    return fnn.BatchNorm(n, eps=0.25)


def gathered(net, params, batches, given):
    """The averages after one fold for every batch."""
    for x in batches:
        y = jax.eval_shape(lambda x: net.forward(params, x)[0], x)
        target = jnp.zeros(y.shape)
        done = fold(net, LOSS, params, x, target, rule=(backprop, given))
        given = given._replace(companion=done.companion[1])
    return given.companion


def test_two_batches_by_hand():
    net = fnn.BatchNorm(1, eps=0.25)
    x = [jnp.array([[1.0], [3.0]]), jnp.array([[4.0], [8.0]])]  # means 2, 6, variances 2, 8
    first = gathered(net, net.init(KEY), x[:1], running_averages(net, 0.5))
    chex.assert_trees_all_close(first, averages(2, 2**0.5, 0.5, 0.5), **CLOSE)
    both = gathered(net, net.init(KEY), x, running_averages(net, 0.5))
    # w = 3/4, (1 − m)/w = 2/3: 2 + 2/3 (6 − 2), 2 + 2/3 (8 − 2)
    chex.assert_trees_all_close(both, averages(14 / 3, 6**0.5, 0.75, 0.5), **CLOSE)
    evaluated, params = fnn.inference(net, net.init(KEY), averages=both)
    y, _ = evaluated.forward(params, jnp.array([[14 / 3 + 2.5]]))
    chex.assert_trees_all_close(y, jnp.array([[1.0]]), **CLOSE)  # √(6 + 1/4) = 2.5


def averages(mean, std, weight, momentum):
    rows = jnp.array([mean], float), jnp.array([std], float)
    return BatchNormAverages(*rows, jnp.array(weight, float), jnp.array(momentum, float))


def test_begun_like_those_of_torch_they_are_those_of_torch():
    net, batches = fnn.BatchNorm(3), [2 * noise(4, 5, 3, seed=s) + 1 for s in range(6)]
    mean, var = np.zeros(3), np.ones(3)
    for x in np.asarray(batches):
        mean = 0.8 * mean + 0.2 * x.mean((0, 1))
        var = 0.8 * var + 0.2 * x.var((0, 1), ddof=1)
    given = running_averages(net, 0.8)
    zero, one = jnp.zeros(3), jnp.ones(())
    begun = given.companion._replace(mean=zero, std=zero + 1, weight=one)
    own = gathered(net, net.init(KEY), batches, given._replace(companion=begun))
    chex.assert_trees_all_close((own.mean, own.std**2), (mean, var), **CLOSE)


def test_no_value_of_before_the_first_step_has_any_weight():
    net, batches = fnn.BatchNorm(3), [noise(4, 3, seed=s) for s in range(3)]
    own = gathered(net, net.init(KEY), batches, running_averages(net, 0.9))
    weights = np.array([0.81, 0.9, 1.0]) * 0.1
    stacked = np.asarray(batches)
    mean = (weights[:, None] * stacked.mean(1)).sum(0) / weights.sum()
    var = (weights[:, None] * stacked.var(1, ddof=1)).sum(0) / weights.sum()
    chex.assert_trees_all_close((own.mean, own.std**2), (mean, var), **CLOSE)
    assert float(own.weight) == pytest.approx(1 - 0.9**3)


def biased(own, n):
    """The averages with the variance of a calibration batch of n rows, N/(N − 1) taken off."""
    return jax.tree.map(
        lambda a: a._replace(std=a.std * ((n - 1) / n) ** 0.5),
        own,
        is_leaf=lambda a: isinstance(a, BatchNormAverages),
    )


@pytest.mark.slow
def test_those_of_one_batch_are_a_calibration_through_every_wrapper():
    net = wrapped()
    params = jax.tree.map(lambda p: p + 0.1 * noise(*p.shape), net.init(KEY))
    own = gathered(net, params, [X], running_averages(net))
    assert own["blocks"][1].mean.shape == (2, 3)
    ours, frozen = fnn.inference(net, params, averages=biased(own, 11))
    theirs, other = fnn.inference(net, params, X)
    assert ours == theirs
    for x in (X, X[:1] + 2):
        found, want = ours.forward(frozen, x)[0], theirs.forward(other, x)[0]
        chex.assert_trees_all_close(found, want, **CLOSE)


def planned(net, momentum=0.9, optimizer=STILL):
    return fnn.Plan(net, LOSS, optimizer, rule=(backprop, running_averages(net, momentum)))


def test_fit_gathers_them_and_the_rows_that_fill_up_the_last_batch_are_rows_of_the_data():
    net = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 2))
    start = fnn.start(plan := planned(net, 0.5), None, net.init(KEY))
    state, history = fnn.fit(plan, start, (X, TARGET), epochs=2, batch_size=4)
    assert list(history) == ["loss"]  # they report nothing
    rows = np.array([[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 0]] * 2)
    batches = [X[r] for r in rows]
    own = gathered(net[0], net[0].init(KEY), batches, running_averages(net[0], 0.5))
    chex.assert_trees_all_close(state.companion[1][0], own, **CLOSE)
    again, _ = fnn.fit(plan, start, (X, TARGET, jnp.ones(11)), epochs=2, batch_size=4)
    chex.assert_trees_all_close(again.companion, state.companion, **CLOSE)


def test_a_row_of_weight_zero_is_seen_as_zeros_by_fit_as_by_step():
    net = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 2))
    x, weights = X[:4].at[1].set(jnp.nan), jnp.array([1.0, 0, 1, 2])
    start = fnn.start(plan := planned(net), None, net.init(KEY))
    fitted, _ = fnn.fit(plan, start, (x, TARGET[:4], weights), epochs=1, batch_size=4)
    stepped, _ = fnn.step(plan, start, (x, TARGET[:4], weights))
    mean = x.at[1].set(0).mean(0)
    for state in (fitted, stepped):
        chex.assert_trees_all_close(state.companion[1][0].mean, mean, **CLOSE)


@pytest.mark.slow
def test_evaluation_by_averages_is_about_that_by_the_training_set():
    net = fnn.Serial(fnn.Dense(3, 5), fnn.BatchNorm(5), fnn.Tanh(), fnn.Dense(5, 2))
    x, target = 3 * noise(400, 3) + 1, noise(400, 2, seed=2)
    plan = planned(net, 0.98, fnn.optim.SGD(1e-3))
    state, history = fnn.fit(
        plan, fnn.start(plan, KEY), (x, target), epochs=4, batch_size=16, validation=(x, target)
    )
    ours = fnn.evaluate(plan, state, (x, target))
    theirs = fnn.evaluate(plan, state, (x, target), calibration=x)
    assert float(ours["loss"]) == pytest.approx(float(theirs["loss"]), rel=5e-3)
    assert float(ours["loss"]) != float(theirs["loss"])  # calibration is taken where given
    chex.assert_trees_all_close(history["validation_loss"][-1], ours["loss"], **CLOSE)


@pytest.mark.slow
def test_momenta_are_swept_by_vmap_and_nothing_is_reported():
    net, batch = wrapped(), (X, TARGET)

    def after(momentum):
        plan = planned(net, momentum)
        state, row = fnn.step(plan, fnn.start(plan, KEY), batch)
        state, row = fnn.step(plan, state, (X[:5] ** 2, TARGET[:5]))
        assert list(row) == ["loss"]
        return state.companion[1]

    swept = jax.vmap(after)(jnp.array([0.0, 0.5]))
    for i, m in enumerate((0.0, 0.5)):
        one = jax.tree.map(lambda a, i=i: a[i], swept)
        chex.assert_trees_all_close(one, after(m), **CLOSE)
    last = jax.tree.map(lambda a: a[0], swept["norm"])  # of the last batch alone
    chex.assert_trees_all_close(last.mean, (X[:5] ** 2).mean(0), **CLOSE)
    chex.assert_trees_all_close(last.std, (X[:5] ** 2).std(0, ddof=1), **CLOSE)


def test_sequences_are_counted_step_by_step():
    net = fnn.Serial(fnn.RNN(3, 4), fnn.BatchNorm(4))
    x = noise(5, 6, 3)
    given, params = running_averages(net), net.init(KEY)
    ours = gathered(net, params, [x], given)
    target = jnp.zeros((5, 6, 4))
    done = fold(net, LOSS, params, fnn.Sequence(x), target, rule=(backprop, given))
    chex.assert_trees_all_close(done.companion[1], ours, **CLOSE)


def test_a_spread_whose_square_is_beyond_the_largest_number_is_one():
    net = fnn.BatchNorm(3)
    x = noise(7, 3) * 1e25
    a, params, given = cast((x, net.init(KEY), running_averages(net)), "float32")
    own = gathered(net, params, [a, a], given)
    np.testing.assert_allclose(own.std, x.std(0, ddof=1), rtol=1e-5)
    evaluated, frozen = fnn.inference(net, params, averages=own)
    y, _ = evaluated.forward(frozen, a)
    np.testing.assert_allclose(y, (x - x.mean(0)) / x.std(0, ddof=1), atol=1e-5)


def test_a_plan_with_them_pickles():
    plan = planned(fnn.BatchNorm(3))
    again = pickle.loads(pickle.dumps(plan))
    assert again.rule[1].rule == plan.rule[1].rule


@dataclass(frozen=True)
class Mixing(fnn.Identity):
    """Another layer that mixes examples."""

    mixes_examples = True


def test_what_has_no_averages_says_so():
    net = fnn.Serial(up=fnn.BatchNorm(3), rest=fnn.Serial(fnn.Tanh(), fnn.Residual(Mixing())))
    with pytest.raises(NotImplementedError, match=r"^layer rest\.1, Mixing\(\): running averages"):
        running_averages(net)
    with pytest.raises(ValueError, match="^running_averages: momentum must be .*, got 1"):
        running_averages(fnn.BatchNorm(3), 1.0)
    with pytest.raises(TypeError, match="^running_averages takes layers, got 'net'"):
        running_averages("net")
    norm, other = fnn.BatchNorm(3), fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 2))
    given, params = running_averages(fnn.Dense(3, 2)), norm.init(KEY)
    with pytest.raises(ValueError, match="its averages are missing; begin with running_averages"):
        fnn.fold(norm, LOSS, params, X, X, rule=(backprop, given))
    with pytest.raises(ValueError, match="^layer 0, inference: BatchNorm.* has no entry in aver"):
        fnn.inference(other, other.init(KEY), averages=())
    message = "the running averages are of no step yet; train first, or give a calibration batch"
    own: Any = running_averages(other).companion
    with pytest.raises(ValueError, match=f"^inference: {message}"):
        fnn.inference(other, other.init(KEY), averages=own)
    fnn.inference(other, other.init(KEY), X, averages=own)
    plan, data = planned(other), (X, TARGET)
    with pytest.raises(ValueError, match=f"^evaluate: {message}"):
        fnn.evaluate(plan, fnn.start(plan, KEY), data)
    unknown = jax.jit(lambda state: fnn.evaluate(plan, state, data))(fnn.start(plan, KEY))
    assert np.isnan(unknown["loss"])
