"""Tests of fnn.skipping: what is left out was never there, and what nobody may hide is seen."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training import KEY, PARAMS, X, plan

import fnn
from fnn.optim.optimizer import Optimizer

HOW = {"epochs": 2, "batch_size": 4}
LOSS = fnn.SquaredError()
BAD = X.at[5].set(1e200)  # its square is infinite, the params that it makes are not
GOAL = X[:, :2].at[5].set(-1e200)
WATCH = fnn.Watch(fnn.rules.gradient_norms, every=2)


def after(plan, rows, params=PARAMS):
    """The State after steps over these batches, and their mean loss."""
    state, total, n = fnn.start(plan, None, params), 0.0, 0
    for i in rows:
        batch = BAD[4 * i : 4 * i + 4], GOAL[4 * i : 4 * i + 4]
        state, row = fnn.step(plan, state, batch)
        total, n = total + row["loss"] * len(batch[0]), n + len(batch[0])
    return state, total / n


@pytest.mark.parametrize(
    "options",
    [
        {},
        *(
            pytest.param(o, marks=pytest.mark.slow)
            for o in ({"in_backward": True}, {"watch": WATCH})
        ),
    ],
    ids=["plain", "inside", "watched"],
)
def test_steps_that_are_left_out_were_never_there_but_for_the_count(options):
    make = plan(fnn.optim.Adam(0.05), loss=LOSS, skips=2, **options)
    begin = fnn.start(make, None, PARAMS)
    state, history = fnn.fit(make, begin, (BAD, GOAL), **HOW)
    want, _ = after(plan(fnn.optim.Adam(0.05), loss=LOSS), (0, 2, 0, 2))
    chex.assert_trees_all_close(state.params, want.params, rtol=1e-12)
    if not options:
        chex.assert_trees_all_close(state.optimizer_state, want.optimizer_state, rtol=1e-12)
    assert (state.step, state.skipped) == (6, 2)
    _, loss = after(plan(fnn.optim.Adam(0.05), loss=LOSS), (0, 2))
    np.testing.assert_allclose(history["loss"][0], loss, rtol=1e-12)
    state, row = fnn.step(make, begin, (BAD[4:8], GOAL[4:8]))
    assert np.isnan(row["loss"])  # nothing plausible
    chex.assert_trees_all_equal(state, begin._replace(step=state.step, skipped=state.step))
    fewer = make.with_fields(skips=1)
    state, history = fnn.fit(fewer, begin, (BAD, GOAL), **HOW)
    assert state.skipped == 1
    assert np.isfinite(history["loss"]).tolist() == [True, False]


def test_what_only_the_state_shows_is_left_out_too():
    x = X[:4].at[1].set(1e300)  # of a rate of 1e10 the update is infinite, the gradient is not
    dense, params = fnn.Dense(3, 2), fnn.DenseParams(jnp.ones((3, 2)), jnp.zeros(2))
    for skips in (None, 1):
        make = plan(fnn.optim.SGD(1e10), net=dense, loss=fnn.AbsoluteError(), skips=skips)
        state, row = fnn.step(make, fnn.start(make, None, params), (x, jnp.zeros((4, 2))))
        assert np.isfinite(row["loss"]) == (skips is None)
        assert np.isfinite(state.params.w).all() == (skips == 1)


def told(p, x):
    """x p, whose derivative by p is NaN where x is 7."""
    return x * p + jnp.sqrt(jnp.where(x == 7, 0 * p, 1.0))


@dataclass(frozen=True)
class Hiding(Optimizer[tuple[()]]):
    elementwise = True

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(lambda g: -0.1 * jnp.nan_to_num(g), grads), state


@dataclass(frozen=True)
class Inherited(fnn.optim.SGD):
    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(jnp.sign, grads), state


NET = fnn.Autodiff(told, lambda key: jnp.ones(2))
DATA = jnp.ones((6, 2)).at[3, 0].set(7), jnp.zeros((6, 2))
HIDING = {
    "optax": ({}, optax.chain(optax.zero_nans(), optax.sgd(0.1))),
    "ours": ({}, fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), Hiding())),
    "inside": ({"in_backward": True}, Hiding()),
}


@pytest.mark.parametrize(
    "name", [n if n == "optax" else pytest.param(n, marks=pytest.mark.slow) for n in HIDING]
)
def test_a_gradient_that_an_optimizer_hides_is_seen(name, tmp_path):
    options, optimizer = HIDING[name]
    make = plan(optimizer, net=NET, loss=LOSS, **options)
    begin = fnn.start(make, None, jnp.ones(2))
    row = fnn.fit(make, begin, DATA, epochs=1, batch_size=2)[1]
    assert np.isnan(row["loss"]).all()
    checkpoint = fnn.Checkpointing(tmp_path, 9)
    with pytest.raises(fnn.NotFinite, match="step 2 is not finite in loss") as error:
        fnn.fit(make, begin, DATA, epochs=1, batch_size=2, checkpoint=checkpoint)
    assert (error.value.step, error.value.first) == (1, None)
    if not options:
        assert error.value.names == ("loss", "the gradient of params")
        skipping = make.with_fields(skips=1)
        state, history = fnn.fit(
            skipping, fnn.start(skipping, None, jnp.ones(2)), DATA, epochs=1, batch_size=2
        )
        assert (state.skipped, np.isfinite(history["loss"])) == (1, True)


def test_optimizers_say_whether_they_hide_anything():
    ours = fnn.optim.Scheduled(fnn.optim.AdamW(), fnn.optim.Constant(0.1))
    assert not fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), ours).hides()
    assert fnn.optim.Chain(ours, optax.sgd(0.1)).hides()
    assert Hiding().hides()
    assert Inherited(0.1).hides()  # its update is its own


@pytest.mark.slow
def test_runs_that_skip_go_on_from_their_files_and_stop_at_one_too_many(tmp_path):
    make = plan(fnn.optim.Adam(0.05), loss=LOSS, skips=2)
    begin = fnn.start(make, KEY, PARAMS)
    checkpoint = fnn.Checkpointing(tmp_path, 1)
    found, again = (
        fnn.fit(make, begin, (BAD, GOAL), **HOW, checkpoint=checkpoint) for _ in range(2)
    )
    chex.assert_trees_all_equal(found[1], again[1])
    assert (found[0].step, found[0].skipped) == (6, 2)
    with pytest.raises(fnn.NotFinite, match=r"step 9 is .* 0\.05, 2 steps were left out\);"):
        fnn.fit(make, begin, (BAD, GOAL), **HOW | {"epochs": 3}, checkpoint=checkpoint)
    path = fnn.checkpoints.latest(tmp_path)
    state = fnn.checkpoints.load(path, make)
    assert state.skipped == 2
    with pytest.raises(fnn.checkpoints.CheckpointError, match="skips was 2 and is now None"):
        fnn.checkpoints.load(path, make.with_fields(skips=None))


@pytest.mark.parametrize("skips", [0, -1, 2.5, "a", jnp.array([1.5])])
def test_skips_are_whole_numbers_of_steps(skips):
    with pytest.raises((TypeError, ValueError), match="Plan: skips must be"):
        plan(skips=skips)


def test_a_state_of_another_plan_is_told():
    with pytest.raises(ValueError, match="step: the State was not made for this Plan: its skipped"):
        fnn.step(plan(skips=1), fnn.start(plan(), KEY, PARAMS), (X, X[:, 0] > 0))
