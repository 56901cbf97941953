"""Tests of fnn.rules.stepping."""

import chex
import jax
import jax.numpy as jnp
import pytest
from contract import noise

import fnn
from fnn.rules import deltas, update
from fnn.rules.stepping import measured, stepping, updated

KEY, LOSS = jax.random.key(0), fnn.SquaredError()
X, TARGET = noise(5, 3), noise(5, 2, seed=2)
NET = fnn.Serial(fnn.Dense(3, 4), fnn.Repeat(2, fnn.Dense(4, 4)), fnn.Tanh(), fnn.Dense(4, 2))
PARAMS = NET.init(KEY)
CLOSE = {"rtol": 1e-12, "atol": 1e-14}
fold, value_and_grad = jax.jit(fnn.fold), jax.jit(fnn.value_and_grad)


def test_one_step_by_hand():
    net, params = fnn.Dense(1, 1), fnn.DenseParams(jnp.array([[2.0]]), jnp.array([1.0]))
    x, target = jnp.array([[3.0]]), jnp.array([[5.0]])  # y = 7, dy = 4, dw = 12, db = 4
    rule = update(net, fnn.optim.SGD(0.5), params, penalty=fnn.L2(0.25))
    done = fnn.fold(net, LOSS, params, x, target, rule=rule)
    assert done.result.w.item() == 2 - 0.5 * (12 + 0.25 * 2)
    assert done.result.b.item() == 1 - 0.5 * 4
    assert done.dx.item() == 4 * 2  # of w as it was
    assert done.loss == 4  # without the penalty, which is the rule's


def test_the_companion_is_that_of_the_next_step():
    optimizer = fnn.optim.Adam(0.1, eps=1e-2)
    rule, params = update(NET, optimizer, PARAMS), PARAMS
    state, expected = optimizer.init(PARAMS), PARAMS
    for _ in range(3):
        done = fold(NET, LOSS, params, X, TARGET, rule=(rule, deltas))
        params, rule = done.result[0], rule._replace(companion=done.companion[0])
        _, grads = value_and_grad(NET, LOSS, expected, X, TARGET)
        updates, state = optimizer.update(grads, state, expected)
        expected = fnn.optim.apply_updates(expected, updates)
    chex.assert_trees_all_close(params, expected, rtol=1e-10)
    assert done.result[1][0].shape == (5, 4)


def test_layers_may_have_rates_of_their_own():
    given = update(NET, fnn.optim.SGD(1.0), PARAMS)
    rates = jnp.array([0.1, 0.3])
    first, repeated, still, last = given.companion
    repeated = repeated.with_fields(optimizer=fnn.optim.SGD(rates))
    rule = given._replace(companion=(first, repeated, still, last))
    done = fold(NET, LOSS, PARAMS, X, TARGET, rule=rule)
    _, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET)
    expected = PARAMS[1].w - rates[:, None, None] * grads[1].w
    chex.assert_trees_all_close(done.result[1].w, expected, **CLOSE)
    chex.assert_trees_all_close(done.result[3].w, PARAMS[3].w - grads[3].w, **CLOSE)


def test_norms_of_layers():
    own = stepping(NET, PARAMS, (), None, fnn.L1(0.1), norm=jnp.zeros(()))
    done = fold(NET, LOSS, PARAMS, X, TARGET, rule=measured.given(own))
    _, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L1(0.1))
    for i in (0, 3):
        expected = jnp.sqrt((grads[i].w ** 2).sum() + (grads[i].b ** 2).sum())
        chex.assert_trees_all_close(done.companion[i].norm, expected, **CLOSE)
    expected = jnp.sqrt((grads[1].w ** 2).sum((1, 2)) + (grads[1].b ** 2).sum(1))
    chex.assert_trees_all_close(done.companion[1].norm, expected, **CLOSE)
    chex.assert_trees_all_equal(done.result, PARAMS)


def test_a_penalty_is_given_to_the_rule():
    rule = update(NET, fnn.optim.SGD(0.1), PARAMS)
    with pytest.raises(ValueError, match=r"fold: updated makes new params, .*penalty=\.\.\.\)\.$"):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=rule, penalty=fnn.L2(0.1))


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.Adam()), "update: ClipByNorm may"),
        (fnn.optim.Adam, "update: inside the backward pass .* of fnn.optim, got <class"),
        (3, "update: .* got 3"),
    ],
)
def test_other_optimizers_are_refused(optimizer, message):
    with pytest.raises(TypeError, match=message):
        update(NET, optimizer, PARAMS)


def test_one_rule_replaces_params():
    rule = update(NET, fnn.optim.SGD(0.1), PARAMS)
    with pytest.raises(ValueError, match="fold: of several rules one may replace params"):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=(rule, rule))
    with pytest.raises(TypeError, match=r"^Plan: updated replaces params itself"):
        fnn.Plan(NET, LOSS, fnn.optim.SGD(0.1), rule=rule)
    with pytest.raises(TypeError, match="fold: updated needs its companion"):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=updated)
