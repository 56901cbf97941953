"""Tests of fnn.microbatches."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise
from test_clipping import KEY, LABELS, LOSS, NETS, TOKENS, clipped_grad, summed

import fnn


@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        pytest.param("lstm", marks=pytest.mark.slow),
        pytest.param("gpt", marks=pytest.mark.slow),
    ],
)
def test_microbatches_change_nothing_but_the_memory(name):
    net, x, target = NETS[name]
    params, weights = net.init(KEY), jnp.array([1.0, 2.0, 0.0, 0.5, 3.0])
    for how in ({}, {"weights": weights, "per_layer": True}):
        how |= {"norms": True}
        want = clipped_grad(net, LOSS, params, x, target, 0.3, **how)
        for size in (2, 5) if name == "mlp" else (3,):
            found = clipped_grad(net, LOSS, params, x, target, 0.3, microbatch=size, **how)
            chex.assert_trees_all_close(found, want, **EXACT)


def test_microbatches_take_the_memory_of_one_and_leave_out_what_is_not_finite():
    net = fnn.mlp([3, 64, 7])
    params, x, target = net.init(KEY), noise(1024, 3), jnp.arange(1024) % 7

    def memory(rows, microbatch):
        args = params, x[:rows], target[:rows]
        done = clipped_grad.lower(net, LOSS, *args, 0.3, microbatch=microbatch).compile()
        return done.memory_analysis().temp_size_in_bytes

    assert memory(1024, 64) < memory(1024, None) / 4
    assert memory(1024, 64) < 2 * memory(64, None) + 1024 * 8 * 8  # what is told row by row
    broken = x[:10].at[3].set(jnp.nan)
    want = clipped_grad(net, LOSS, params, broken, target[:10], 0.3)
    found = clipped_grad(net, LOSS, params, broken, target[:10], 0.3, microbatch=4)
    chex.assert_trees_all_close(found[1], want[1], **EXACT)
    assert np.isfinite(found[1][0].w).all()


@pytest.mark.slow
def test_a_microbatch_draws_with_a_key_of_its_own():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Dropout(0.5), fnn.Dense(4, 7))
    params, x, target = net.init(KEY), NETS["mlp"][1][:4], LABELS[:4, 0]
    found = clipped_grad(net, LOSS, params, x, target, 0.3, microbatch=2, key=KEY)[1]
    parts = [
        clipped_grad(net, LOSS, params, x[i : i + 2], target[i : i + 2], 0.3,
                     key=jax.random.fold_in(KEY, i // 2))[1]
        for i in (0, 2)
    ]  # fmt: skip
    chex.assert_trees_all_close(found, summed(parts), **EXACT)


@pytest.mark.slow
def test_as_a_rule_microbatches_report_metrics_and_logits():
    net = fnn.Serial(fnn.Embedding(7, 3), fnn.Unembed(3, 7))
    params, told = net.init(KEY), {"accuracy": fnn.accuracy}

    def after(microbatch):
        rule = fnn.Clipping(0.3, microbatch=microbatch)
        plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1.0), rule=rule, metrics=told)
        return fnn.step(plan, fnn.start(plan, None, params), (TOKENS, LABELS))

    chex.assert_trees_all_close(after(2), after(None), **EXACT)
