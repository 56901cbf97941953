"""Tests of fnn.optim.proximal."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, weights

import fnn


def test_the_proximal_step_by_hand():
    optimizer = fnn.optim.Proximal(fnn.optim.SGD(0.5), fnn.L1(0.2))  # the threshold is 0.1
    params = fnn.DenseParams(w=jnp.array([1.0, 0.05, -0.3]), b=jnp.array([0.05]))
    grads = fnn.DenseParams(w=jnp.array([1.0, 0.0, -0.4]), b=jnp.array([0.0]))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    after = fnn.optim.apply_updates(params, updates)
    chex.assert_trees_all_close(after.w, jnp.array([0.4, 0.0, 0.0]), atol=1e-15)
    chex.assert_trees_all_equal(after.b, params.b)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
def test_proximal_l1_makes_true_zeros_and_the_subgradient_does_not(dtype):
    target = jnp.array([2.0, 0.05, -0.02, -1.0], dtype)
    strength = 0.1

    def run(optimizer, gradient):
        params = weights(*[1] * 4, dtype=dtype)
        state = optimizer.init(params)
        for _ in range(200):
            updates, state = optimizer.update(gradient(params), state, params)
            params = fnn.optim.apply_updates(params, updates)
        return params.w

    def smooth(p):
        return fnn.UnembedParams(p.w - target)

    def penalised(p):
        penalty = fnn.L1(strength).gradient(p)
        return jax.tree.map(jnp.add, smooth(p), penalty)

    exact = run(fnn.optim.Proximal(fnn.optim.SGD(0.05), fnn.L1(strength)), smooth)
    nearly = run(fnn.optim.SGD(0.05), penalised)
    assert (exact == 0).tolist() == [False, True, True, False]
    assert (nearly != 0).all()
    if dtype == "float64":  # soft thresholding is the closed form of this problem
        chex.assert_trees_all_close(exact[jnp.array([0, 3])], jnp.array([1.9, -0.9]), rtol=1e-3)


def test_proximal_takes_the_rate_of_a_schedule_and_of_a_chain():
    params, zero = weights(1.0), weights(0.0)
    scheduled = fnn.optim.Scheduled(fnn.optim.SGD(1.0), fnn.optim.StepDecay(0.5, 0.5, 1))
    for inner in (scheduled, fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), scheduled)):
        optimizer = fnn.optim.Proximal(inner, fnn.L1(0.2))
        state = optimizer.init(params)
        first, state = optimizer.update(zero, state, params)
        second, state = optimizer.update(zero, state, params)
        chex.assert_trees_all_close(first.w, jnp.array([-0.1]))
        chex.assert_trees_all_close(second.w, jnp.array([-0.05]))


def test_proximal_refuses_what_it_cannot_use():
    with pytest.raises(TypeError, match="Proximal: penalty must be L1 or L2, got 0.1"):
        fnn.optim.Proximal(fnn.optim.SGD(0.1), 0.1)
    optimizer = fnn.optim.Proximal(optax.sgd(0.1), fnn.L1(0.1))
    with pytest.raises(TypeError, match="Foreign has no learning rate"):
        optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS)
    no_rate = fnn.optim.Proximal(fnn.optim.Chain(fnn.optim.ClipByNorm(1.0)), fnn.L1(0.1))
    with pytest.raises(TypeError, match="Chain: no link has a learning rate"):
        no_rate.update(PARAMS, no_rate.init(PARAMS), PARAMS)
    with pytest.raises(ValueError, match="Proximal: update needs params"):
        fnn.optim.Proximal(fnn.optim.SGD(0.1), fnn.L1(0.1)).update(PARAMS, ())


def test_proximal_steps_are_taken_in_single_precision():
    params = fnn.UnembedParams(jnp.ones(1, "bfloat16"))
    grads = fnn.UnembedParams(jnp.full(1, -(2.0**-10), "bfloat16"))
    optimizer = fnn.optim.Proximal(fnn.optim.SGD(1.0), fnn.L1(0.0))
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    assert updates.w.dtype == "bfloat16"
    assert updates.w == 2.0**-10  # which 1 + 2⁻¹⁰ in bfloat16 loses
