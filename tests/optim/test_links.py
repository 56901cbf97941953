"""Tests of fnn.optim.clipping, chaining, foreign and proximal."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, gradient

import fnn
from fnn.optim.clipping import global_norm
from fnn.optim.foreign import as_optimizer


def test_clipping_by_hand():
    grads = {"a": jnp.array([3.0]), "b": jnp.array([[4.0]])}
    clipped, _ = fnn.clip_by_norm(1.0).update(grads, ())
    chex.assert_trees_all_close(clipped, {"a": jnp.array([0.6]), "b": jnp.array([[0.8]])})
    same, _ = fnn.clip_by_norm(5.0).update(grads, ())
    chex.assert_trees_all_equal(same, grads)


def test_clipping_keeps_zero_and_shows_what_is_not_finite():
    zero, _ = fnn.clip_by_norm(1.0).update({"a": jnp.zeros(2)}, ())
    chex.assert_trees_all_equal(zero, {"a": jnp.zeros(2)})
    bad, _ = fnn.clip_by_norm(1.0).update({"a": jnp.array([1.0, jnp.inf]), "b": jnp.ones(1)}, ())
    assert jnp.isnan(bad["a"]).all()
    assert jnp.isnan(bad["b"]).all()


def test_the_norm_does_not_overflow_on_the_way():
    huge = {"a": jnp.array([3e30, 4e30], jnp.float32)}
    assert global_norm(huge) == pytest.approx(5e30, rel=1e-6)
    clipped, _ = fnn.clip_by_norm(1.0).update(huge, ())
    chex.assert_trees_all_close(clipped["a"], jnp.array([0.6, 0.8], jnp.float32), rtol=1e-6)
    assert global_norm({"a": jnp.full(200_000, 1.0, jnp.float16)}) == pytest.approx(200_000**0.5)


def test_chain_descends_like_optax():
    ours = fnn.chain(fnn.clip_by_norm(0.7), fnn.Momentum(0.1))
    theirs = optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.1, momentum=0.9))
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_optax_works_inside_chain():
    ours = fnn.chain(optax.clip_by_global_norm(0.7), fnn.SGD(0.1))
    theirs = optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.1))
    with jax.numpy_dtype_promotion("standard"):
        chex.assert_trees_all_close(
            descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
        )


def test_a_foreign_optimizer_is_itself_and_traces_once():
    adam = optax.adam(0.1)
    traced = []

    @jax.jit
    def run(optimizer):
        traced.append(optimizer)
        updates, _ = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS), PARAMS)
        return updates

    with jax.numpy_dtype_promotion("standard"):
        run(as_optimizer("test", adam))
        ours = run(as_optimizer("test", adam))
        theirs, _ = adam.update(gradient(PARAMS), adam.init(PARAMS), PARAMS)
    assert len(traced) == 1
    chex.assert_trees_all_close(ours, theirs)


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="chain: the optimizer must have init and update, got 3"):
        fnn.chain(3)
    with pytest.raises(TypeError, match=r"got <class .*Adam'>; build it: Adam\(\.\.\.\)"):
        fnn.chain(fnn.Adam)
    with pytest.raises(ValueError, match="chain: give at least one optimizer"):
        fnn.chain()
    with pytest.raises(ValueError, match=r"clip_by_norm: max_norm must be in \(0, inf\), got 0"):
        fnn.clip_by_norm(0)


def test_the_proximal_step_by_hand():
    optimizer = fnn.Proximal(fnn.SGD(0.5), fnn.L1(0.2))  # the threshold is 0.1
    params = {"w": jnp.array([1.0, 0.05, -0.3]), "b": jnp.array([0.05])}
    grads = {"w": jnp.array([1.0, 0.0, -0.4]), "b": jnp.array([0.0])}
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = fnn.apply_updates(params, updates)
    chex.assert_trees_all_close(after["w"], jnp.array([0.4, 0.0, 0.0]), atol=1e-15)
    chex.assert_trees_all_equal(after["b"], params["b"])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_proximal_l1_makes_true_zeros_and_the_subgradient_does_not(dtype):
    target = jnp.array([2.0, 0.05, -0.02, -1.0], dtype)
    strength = 0.1

    def run(optimizer, gradient):
        params = {"w": jnp.ones(4, dtype)}
        state = optimizer.init(params)
        for _ in range(200):
            updates, state = optimizer.update(gradient(params), state, params)
            params = fnn.apply_updates(params, updates)
        return params["w"]

    def smooth(p):
        return {"w": p["w"] - target}

    def penalised(p):
        penalty = fnn.L1(strength).gradient(p)
        return jax.tree.map(jnp.add, smooth(p), penalty)

    exact = run(fnn.Proximal(fnn.SGD(0.05), fnn.L1(strength)), smooth)
    nearly = run(fnn.SGD(0.05), penalised)
    assert (exact == 0).tolist() == [False, True, True, False]
    assert (nearly != 0).all()
    if dtype == "float64":  # soft thresholding is the closed form of this problem
        chex.assert_trees_all_close(exact[jnp.array([0, 3])], jnp.array([1.9, -0.9]), rtol=1e-3)


def test_proximal_takes_the_rate_of_a_schedule_and_of_a_chain():
    params, zero = {"w": jnp.array([1.0])}, {"w": jnp.array([0.0])}
    scheduled = fnn.Scheduled(fnn.SGD(1.0), fnn.StepDecay(0.5, 0.5, 1))
    for inner in (scheduled, fnn.chain(fnn.clip_by_norm(1.0), scheduled)):
        optimizer = fnn.Proximal(inner, fnn.L1(0.2))
        state = optimizer.init(params)
        first, state = optimizer.update(zero, state, params)
        second, state = optimizer.update(zero, state, params)
        chex.assert_trees_all_close(first["w"], jnp.array([-0.1]))
        chex.assert_trees_all_close(second["w"], jnp.array([-0.05]))


def test_proximal_refuses_what_it_cannot_use():
    with pytest.raises(TypeError, match="Proximal: penalty must be L1 or L2, got 0.1"):
        fnn.Proximal(fnn.SGD(0.1), 0.1)
    optimizer = fnn.Proximal(optax.sgd(0.1), fnn.L1(0.1))
    with pytest.raises(TypeError, match="Foreign has no learning rate"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    no_rate = fnn.Proximal(fnn.chain(fnn.clip_by_norm(1.0)), fnn.L1(0.1))
    with pytest.raises(TypeError, match="chain: no link has a learning rate"):
        no_rate.update(PARAMS, no_rate.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match="Proximal: update needs params"):
        fnn.Proximal(fnn.SGD(0.1), fnn.L1(0.1)).update(PARAMS, ())
