"""Tests of fnn.prediction."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from training import KEY, LOSS, NET, PARAMS, X, plan

import fnn

TRACED = []
Y = NET.forward(PARAMS, X)[0]
PLAN = plan()
STATE = fnn.start(PLAN, KEY, PARAMS)


class Two(NamedTuple):
    """What a net of two outputs makes."""

    sum: Any
    logits: Any


@dataclass(frozen=True)
class Both(fnn.Layer):
    """y = (a + b, factored logits), and a note of every trace."""

    def forward(self, params, x, *, key=None):
        TRACED.append(x["a"].shape)
        return Two(x["a"] + x["b"], fnn.Logits(x["a"], jnp.ones((3, 5)))), ()

    def backward(self, params, cache, dy):
        return (), {"a": dy.sum, "b": dy.sum}


@pytest.mark.parametrize("batch_size", [1, 4, 11, 1024])
def test_y_is_that_of_the_evaluation_net_however_it_is_cut(batch_size):
    dropping = plan(net=fnn.mlp([3, 4, 2], fnn.Tanh(), dropout=0.5))
    state = fnn.start(dropping, KEY, (*PARAMS[:2], (), PARAMS[2]))
    y = fnn.predict(dropping, state, X, batch_size=batch_size)
    chex.assert_trees_all_close(y, Y, rtol=1e-12)


def test_any_number_of_rows_runs_one_program_and_any_pytree_goes_in_and_out():
    TRACED.clear()
    both = plan(net=Both())
    state = fnn.start(both, None, ())
    for n in (1, 3, 4, 9, 11):
        y = fnn.predict(both, state, {"a": X[:n], "b": np.asarray(X[:n])}, batch_size=4)
        chex.assert_trees_all_close(y.sum, 2 * X[:n], rtol=1e-12)
        chex.assert_trees_all_close(y.logits, X[:n] @ jnp.ones((3, 5)), rtol=1e-12)
    assert TRACED == [(4, 3)]


@pytest.mark.slow
def test_sequences_go_in_and_come_out_with_their_mask_and_without_a_state():
    net = fnn.Serial(fnn.LSTM(3, 4), fnn.Repeat(2, fnn.LSTM(4, 4)), fnn.Unembed(4, 5))
    both = plan(net=net)
    state = fnn.start(both, KEY)
    mask = jnp.arange(6) < jnp.array([6, 2, 3, 1, 5])[:, None]
    x = fnn.Sequence(jnp.where(mask[..., None], noise(5, 6, 3), jnp.nan), mask)
    y = fnn.predict(both, state, x, batch_size=2)
    evaluated, params = fnn.inference(net, state.params)
    want, _ = evaluated.forward(params, x)
    chex.assert_trees_all_close((y.x, y.mask), (want.x, mask), rtol=1e-10)
    assert y.state is None


def test_averages_and_calibration_serve_as_in_evaluate():
    net = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 2))
    rule = fnn.rules.backprop, fnn.rules.running_averages(net)
    gathering = plan(net=net, rule=rule)
    state, _ = fnn.step(gathering, fnn.start(gathering, KEY), (X, jnp.zeros(11, int)))
    for how in ({"averages": state.companion[1]}, {"x": X[:7]}):
        evaluated, params = fnn.inference(net, state.params, **how)
        y = fnn.predict(gathering, state, X, batch_size=4, calibration=how.get("x"))
        chex.assert_trees_all_close(y, evaluated.forward(params, X)[0], rtol=1e-10)


def test_it_goes_through_jit_and_vmap():
    found = jax.jit(lambda state, x: fnn.predict(PLAN, state, x, batch_size=4))(STATE, X)
    chex.assert_trees_all_close(found, Y, rtol=1e-12)
    stacked = jnp.stack([X, 2 * X])
    found = jax.vmap(lambda x: fnn.predict(PLAN, STATE, x, batch_size=8))(stacked)
    chex.assert_trees_all_close(found[0], Y, rtol=1e-12)


def test_a_file_goes_onto_the_device_batch_by_batch(tmp_path):
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (11, 3))
    file[:] = X
    chex.assert_trees_all_close(fnn.predict(PLAN, STATE, file, batch_size=4), Y, rtol=1e-12)
    chex.assert_trees_all_close(fnn.predict(PLAN, STATE, X.tolist()), Y, rtol=1e-12)


WRONG = {
    "no plan": ({"plan": NET}, TypeError, "^predict: plan must be a Plan, got Serial"),
    "no state": ({"state": PARAMS}, TypeError, "^predict: state must be a State, got tuple"),
    "no rows": ({"x": X[:0]}, ValueError, "^predict: empty batch, x has no rows"),
    "one number": ({"x": 3.0}, ValueError, r"arrays with equally many rows, got \[\]"),
    "nothing": ({"x": ()}, ValueError, r"arrays with equally many rows, got none"),
    "other rows": ({"x": (X, X[:2])}, ValueError, r"many rows, got \[11, 3\], \[2, 3\]"),
    "a state": ({"x": fnn.Sequence(X[None], state=(X,))}, ValueError, "^predict: x has a state"),
    "NaN": (
        {"x": X.at[6, 1].set(jnp.nan)},
        ValueError,
        r"^predict, rows 4 to 7: x must be finite",
    ),
    "width": ({"x": X[:, :2]}, ValueError, r"^layer 0, Dense.*x must have shape \[B, \.\.\., 3\]"),
    "text": ({"x": np.array([["a"]])}, TypeError, "^predict: x must hold numbers"),
    "batch size": ({"batch_size": 0}, ValueError, "^predict: batch_size must be at least 1, got 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_named(case):
    wrong, error, message = WRONG[case]
    given = {"plan": PLAN, "state": STATE, "x": X, "batch_size": 4} | wrong
    with pytest.raises(error, match=message):
        fnn.predict(**given)


def test_a_layer_that_needs_data_and_params_that_are_not_finite_are_named():
    mixing = fnn.Plan(fnn.BatchNorm(3), LOSS, fnn.optim.SGD(0.1))
    with pytest.raises(ValueError, match="^predict: BatchNorm.* give calibration=x"):
        fnn.predict(mixing, fnn.start(mixing, KEY), X)
    broken = jax.tree.map(lambda p: p * jnp.nan, PARAMS)
    with pytest.raises(ValueError, match="^predict: params.* must be finite"):
        fnn.predict(PLAN, STATE._replace(params=broken), X)
