"""Tests of fnn.optim.adagrad, adadelta, rmsprop, adam and adamw."""

import math

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, gradient

import fnn

LIKE_OPTAX = {
    "AdaGrad": (fnn.AdaGrad(0.3, eps=0.0), optax.adagrad(0.3, 0.0, eps=0.0)),
    "AdaDelta": (fnn.AdaDelta(1.5, 0.9, 1e-3), optax.adadelta(1.5, 0.9, 1e-3)),
    "RMSProp": (
        fnn.RMSProp(0.05, 0.8, 1e-3),
        optax.rmsprop(0.05, 0.8, eps=1e-3, eps_in_sqrt=False),
    ),
    "Adam": (fnn.Adam(0.05, 0.8, 0.95, 1e-3), optax.adam(0.05, 0.8, 0.95, eps=1e-3)),
    "AdamW": (
        fnn.AdamW(0.05, 0.8, 0.95, 1e-3, weight_decay=0.3),
        optax.adamw(
            0.05, 0.8, 0.95, eps=1e-3, weight_decay=0.3, mask={"w": True, "b": False}
        ),
    ),
}


def first(optimizer, g):
    """The first update, of a gradient g."""
    p = {"w": jnp.array([1.0])}
    updates, _ = optimizer.update({"w": jnp.array([g])}, optimizer.init(p), p)
    return float(updates["w"][0])


@pytest.mark.parametrize("name", LIKE_OPTAX)
def test_descends_like_optax(name):
    ours, theirs = LIKE_OPTAX[name]
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


@pytest.mark.parametrize("make", [fnn.Adam, fnn.AdaGrad])
def test_first_step_has_length_learning_rate(make):
    optimizer = make(0.1, eps=0.0)
    updates, _ = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS))
    expected = jax.tree.map(lambda g: -0.1 * jnp.sign(g), gradient(PARAMS))
    chex.assert_trees_all_close(updates, expected, rtol=1e-10)


def test_first_steps_by_hand():
    assert first(fnn.AdaGrad(0.1, eps=1.0), 3.0) == pytest.approx(-0.1 * 3 / 4)
    assert first(fnn.RMSProp(0.1, 0.75, eps=0.5), 4.0) == pytest.approx(-0.1 * 4 / 2.5)
    assert first(fnn.Adam(0.1, eps=1.0), 3.0) == pytest.approx(-0.1 * 3 / 4)
    assert first(fnn.AdamW(0.1, eps=1.0, weight_decay=0.5), 3.0) == pytest.approx(-0.075 - 0.05)


def test_adadelta_starts_with_the_root_of_eps():
    expected = -math.sqrt(1e-4) / math.sqrt(0.1 * 9 + 1e-4) * 3
    assert first(fnn.AdaDelta(rho=0.9, eps=1e-4), 3.0) == pytest.approx(expected)


def test_adagrad_slows_down_like_one_over_root_t():
    optimizer, p = fnn.AdaGrad(0.1, eps=0.0), {"w": jnp.array([1.0])}
    state = optimizer.init(p)
    for _ in range(100):
        updates, state = optimizer.update(p, state)
    assert float(updates["w"][0]) == pytest.approx(-0.1 / math.sqrt(100))


def test_adam_sees_a_constant_gradient_without_bias():
    optimizer, g = fnn.Adam(0.1, eps=0.0), {"w": jnp.array([-3.0])}
    state = optimizer.init(g)
    for _ in range(7):
        updates, state = optimizer.update(g, state)
        assert float(updates["w"][0]) == pytest.approx(0.1)
    assert state.step == 7


@pytest.mark.parametrize("make", [fnn.Adam, fnn.AdaGrad, fnn.RMSProp])
def test_zero_gradient_and_zero_eps_stay_zero(make):
    assert first(make(0.1, eps=0.0), 0.0) == 0.0


def test_decay_is_adams_step_apart_from_the_weights():
    params = {"w": jnp.array([2.0]), "b": jnp.array([2.0])}
    decay = fnn.AdamW(0.1, weight_decay=0.5)
    updates, _ = decay.update(params, decay.init(params), params)
    plain, _ = fnn.Adam(0.1).update(params, decay.init(params))
    chex.assert_trees_all_close(updates["w"], plain["w"] - 0.1 * 0.5 * 2.0)
    chex.assert_trees_all_close(updates["b"], plain["b"])


def test_decay_can_be_told_what_a_weight_is():
    params = {"w": jnp.array([2.0]), "b": jnp.array([2.0])}
    biases = fnn.AdamW(0.1, weight_decay=0.5, select=lambda path: path[-1].key == "b")
    updates, _ = biases.update(params, biases.init(params), params)
    plain, _ = fnn.Adam(0.1).update(params, biases.init(params))
    chex.assert_trees_all_close(updates["b"], plain["b"] - 0.1 * 0.5 * 2.0)
    chex.assert_trees_all_close(updates["w"], plain["w"])


def test_decay_is_the_l2_penalty_for_gradient_descent_and_not_for_adam():
    penalty, net, loss = fnn.L2(0.3), fnn.Dense(3, 2), fnn.SquaredError()
    params = net.init(jax.random.key(0))
    x, t = jax.random.normal(jax.random.key(1), (5, 3)), jnp.ones((5, 2))
    _, plain = fnn.value_and_grad(net, loss, params, x, t)
    _, penalised = fnn.value_and_grad(net, loss, params, x, t, penalty=penalty)
    sgd, _ = fnn.SGD(0.1).update(penalised, ())
    chex.assert_trees_all_close(sgd.w, -0.1 * plain.w - 0.1 * 0.3 * params.w, rtol=1e-10)
    adamw, adam = fnn.AdamW(0.1, weight_decay=0.3), fnn.Adam(0.1)
    decoupled, _ = adamw.update(plain, adamw.init(params), params)
    through, _ = adam.update(penalised, adam.init(params))
    assert (abs(decoupled.w - through.w) > 1e-3).any()


def test_adamw_needs_params():
    with pytest.raises(ValueError, match="AdamW: update needs params"):
        fnn.AdamW().update(PARAMS, fnn.AdamW().init(PARAMS))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: fnn.Adam(b1=1.0), r"Adam: b1 must be in \[0, 1\), got 1.0"),
        (lambda: fnn.Adam(b2=1.5), r"Adam: b2 must be in \[0, 1\), got 1.5"),
        (lambda: fnn.Adam(eps=-1.0), r"Adam: eps must be in \[0, inf\), got -1.0"),
        (lambda: fnn.Adam(jnp.array([0.1, -0.1])), "Adam: learning_rate must be in"),
        (lambda: fnn.AdamW(weight_decay=-0.1), "AdamW: weight_decay must be in"),
        (lambda: fnn.AdamW(b1=-0.5), r"AdamW: b1 must be in \[0, 1\), got -0.5"),
        (lambda: fnn.AdaGrad(eps=-1.0), "AdaGrad: eps must be in"),
        (lambda: fnn.AdaDelta(rho=1.0), r"AdaDelta: rho must be in \[0, 1\)"),
        (lambda: fnn.AdaDelta(eps=0.0), r"AdaDelta: eps must be in \(0, inf\)"),
        (lambda: fnn.RMSProp(rho=float("nan")), "RMSProp: rho must be in"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
