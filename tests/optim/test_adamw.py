"""Tests of fnn.optim.adamw."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from contract import noise
from optimizers import PARAMS, descend, descend_like_optax, first_update

import fnn

TWO = fnn.DenseParams(w=jnp.array([2.0]), b=jnp.array([2.0]))


def test_the_first_step_by_hand():
    optimizer = fnn.optim.AdamW(0.1, eps=1.0, weight_decay=0.5)
    assert first_update(optimizer, 3.0) == pytest.approx(-0.075 - 0.05)


def test_descends_like_optax():
    ours = fnn.optim.AdamW(0.05, 0.8, 0.95, 1e-3, weight_decay=0.3)
    weights = fnn.DenseParams(w=True, b=False)
    theirs = optax.adamw(0.05, 0.8, 0.95, eps=1e-3, weight_decay=0.3, mask=weights)
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_decay_is_adams_step_apart_from_the_weights():
    params = TWO
    decay = fnn.optim.AdamW(0.1, weight_decay=0.5)
    updates, _ = decay.update(params, decay.init(params), params)
    plain, _ = fnn.optim.Adam(0.1).update(params, decay.init(params))
    chex.assert_trees_all_close(updates.w, plain.w - 0.1 * 0.5 * 2.0)
    chex.assert_trees_all_close(updates.b, plain.b)


def test_decay_can_be_told_what_a_weight_is():
    params = TWO
    biases = fnn.optim.AdamW(0.1, weight_decay=0.5, select=lambda path: path == "b")
    updates, _ = biases.update(params, biases.init(params), params)
    plain, _ = fnn.optim.Adam(0.1).update(params, biases.init(params))
    chex.assert_trees_all_close(updates.b, plain.b - 0.1 * 0.5 * 2.0)
    chex.assert_trees_all_close(updates.w, plain.w)


def test_params_of_no_declared_class_do_not_decay_and_a_warning_tells():
    params, adam = {"w": jnp.array([2.0])}, fnn.optim.Adam(0.1)
    state = adam.init(params)
    with pytest.warns(
        UserWarning, match=r"AdamW: params\.w belongs to no params class that declares"
    ):
        updates, _ = fnn.optim.AdamW(0.1, weight_decay=0.5).update(params, state, params)
    chex.assert_trees_all_equal(updates, adam.update(params, state)[0])
    told = fnn.optim.AdamW(0.1, weight_decay=0.5, select=lambda path: True)
    chex.assert_trees_all_close(
        told.update(params, state, params)[0]["w"], updates["w"] - 0.1 * 0.5 * 2.0
    )


@pytest.mark.slow
def test_decay_is_the_l2_penalty_for_gradient_descent_and_not_for_adam():
    penalty, net, loss = fnn.L2(0.3), fnn.Dense(3, 2), fnn.SquaredError()
    params = net.init(jax.random.key(0))
    x, t = jax.random.normal(jax.random.key(1), (5, 3)), jnp.ones((5, 2))
    _, plain = fnn.value_and_grad(net, loss, params, x, t)
    _, penalised = fnn.value_and_grad(net, loss, params, x, t, penalty=penalty)
    sgd, _ = fnn.optim.SGD(0.1).update(penalised, ())
    chex.assert_trees_all_close(sgd.w, -0.1 * plain.w - 0.1 * 0.3 * params.w, rtol=1e-10)
    adamw, adam = fnn.optim.AdamW(0.1, weight_decay=0.3), fnn.optim.Adam(0.1)
    decoupled, _ = adamw.update(plain, adamw.init(params), params)
    through, _ = adam.update(penalised, adam.init(params))
    assert (abs(decoupled.w - through.w) > 1e-3).any()


def test_adamw_needs_params():
    with pytest.raises(ValueError, match="AdamW: update needs params"):
        fnn.optim.AdamW().update(PARAMS, fnn.optim.AdamW().init(PARAMS))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight_decay": -0.1}, r"AdamW: weight_decay must be in"),
        ({"b1": -0.5}, r"AdamW: b1 must be in \[0, 1\), got -0.5"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fnn.optim.AdamW(**options)


def test_the_decay_is_taken_off_before_the_update_is_rounded():
    p = fnn.UnembedParams(noise(50).astype("bfloat16"))
    g = fnn.UnembedParams(noise(50, seed=2).astype("bfloat16"))
    adam, adamw = fnn.optim.Adam(0.1), fnn.optim.AdamW(0.1, weight_decay=0.3)
    u, _ = adam.update(g, adam.init(p), p)
    found, _ = adamw.update(g, adamw.init(p), p)
    want = u.w.astype("float32") - jnp.float32(0.1) * jnp.float32(0.3) * p.w.astype("float32")
    chex.assert_trees_all_equal(found.w, want.astype("bfloat16"))
