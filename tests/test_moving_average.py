"""Tests of fnn.moving_average: averages by hand, and a run that evaluates and saves its own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from training import KEY, PARAMS, TARGET, X, plan

import fnn
from fnn.moving_average import averaged, no_average

HOW = {"epochs": 2, "batch_size": 4}
OPTIONS = {"inside": {"in_backward": True}, "skips": {"skips": 1}, "plain": {}}


def test_an_average_of_params_is_that_of_optax_without_a_bias():
    with jax.numpy_dtype_promotion("standard"):
        debiased = optax.ema(0.8, debias=True)
        theirs, ours = debiased.init(PARAMS), no_average(0.8, PARAMS)
        for i in range(1, 5):
            params = jax.tree.map(lambda p, i=i: p * i + i, PARAMS)
            want, theirs = debiased.update(params, theirs)
            ours = averaged(0.8, ours, params)
            chex.assert_trees_all_close(ours.params, want, rtol=1e-12)
    np.testing.assert_allclose(ours.weight, 1 - 0.8**4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param("inside", marks=pytest.mark.slow), "skips"])
def test_a_run_evaluates_and_saves_its_average(name, tmp_path):
    make = plan(fnn.optim.Adam(0.05), ema=0.9, **OPTIONS[name])
    begin = fnn.start(make, KEY, PARAMS)
    chex.assert_trees_all_equal(begin.ema.params, PARAMS)
    seen = []
    held_out, told = (X[:4], TARGET[:4]), lambda state, row: seen.append((state, row))
    state, _ = fnn.fit(make, begin, (X, TARGET), validation=held_out, callback=told, **HOW)
    plain = plan(fnn.optim.Adam(0.05))
    for state, row in seen:
        of_average = fnn.start(plain, None, state.ema.params)
        want = fnn.evaluate(plain, of_average, held_out)["loss"]
        np.testing.assert_allclose(row["validation_loss"], want, rtol=1e-12)
        assert abs(
            want - fnn.evaluate(plain, fnn.start(plain, None, state.params), held_out)["loss"]
        )
    y = fnn.predict(make, state, X[:4], batch_size=4)
    chex.assert_trees_all_close(y, fnn.predict(plain, of_average, X[:4], batch_size=4), rtol=1e-12)
    fnn.checkpoints.save(tmp_path / "a", state, plan=make)
    again = fnn.checkpoints.load(tmp_path / "a", make)
    chex.assert_trees_all_equal(*(s._replace(key=None) for s in (again, state)))
    given, _ = fnn.step(make, again, (X, TARGET), donate=True)
    chex.assert_trees_all_close(given.ema, averaged(0.9, state.ema, given.params), rtol=1e-12)


def test_of_half_precision_it_is_at_least_float32():
    p = {"w": jnp.ones(2, "bfloat16")}
    ema = no_average(0.999, p)
    for _ in range(3):
        ema = averaged(0.999, ema, {"w": jnp.full(2, 1.5, "bfloat16")})
    assert ema.params["w"].dtype == jnp.float32
    np.testing.assert_allclose(ema.params["w"], 1.5, rtol=1e-6)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"Plan: ema must be in \[0, 1\), got 1.0"):
        plan(ema=1.0)
    with pytest.raises(ValueError, match="made for this Plan: its ema is NoneType"):
        fnn.step(plan(ema=0.9), fnn.start(plan(), KEY, PARAMS), (X, TARGET))
