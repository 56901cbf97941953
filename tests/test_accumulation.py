"""Tests of fnn.accumulation: a batch in microbatches has the gradient of the batch."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise
from training import KEY, LOSS, NET, PARAMS, TARGET, X, plan

import fnn

WEIGHTS = jnp.array([0, 0, 0, 1.0, 5, 0.5, 0, 2, 1, 0, 3])  # a microbatch of nothing, and others
METRICS = {"accuracy": fnn.accuracy}
GPT = fnn.gpt(7, 4, 2, 2, 3)
TOKENS = jax.random.randint(KEY, (5, 4), 0, 7)
MASKED = fnn.Sequence(TOKENS[:, :-1], jnp.arange(3) < jnp.array([3, 1, 2, 0, 3])[:, None])
CASES = {  # net, loss, batch, options
    "mlp": (NET, LOSS, (X, TARGET, WEIGHTS), {"penalty": fnn.L2(0.1)}),
    "gpt": (GPT, fnn.LinearSoftmaxCrossEntropy(), (MASKED, TOKENS[:, 1:]), {}),
}


@pytest.mark.parametrize("name", ["mlp", pytest.param("gpt", marks=pytest.mark.slow)])
def test_a_step_in_microbatches_is_the_step_of_the_batch(name):
    net, loss, batch, options = CASES[name]
    watch = fnn.Watch(grads=lambda layer, params, grads, updates: grads, every=1)
    whole = fnn.Plan(net, loss, fnn.optim.Adam(0.05), metrics=METRICS, watch=watch, **options)
    begin = fnn.start(whole, KEY, PARAMS if name == "mlp" else net.init(KEY))
    want = fnn.step(whole, begin, batch)
    for size in (3, 100) if name == "mlp" else (2,):
        parts = fnn.Plan(net, loss, fnn.optim.Adam(0.05), metrics=METRICS, watch=watch,
                         microbatch=size, **options)  # fmt: skip
        found = fnn.step(parts, begin, batch)
        chex.assert_trees_all_close(found[1], want[1], **EXACT)
        chex.assert_trees_all_close(found[0].params, want[0].params, rtol=1e-6)


@pytest.mark.slow
def test_runs_in_microbatches_are_those_of_the_batches_and_draw_masks(tmp_path):
    sgd = plan(fnn.optim.SGD(0.3), skips=1, ema=0.5)
    parts = plan(fnn.optim.SGD(0.3), skips=1, ema=0.5, microbatch=2)
    begin, how = fnn.start(sgd, KEY, PARAMS), {"epochs": 2, "batch_size": 5}
    want = fnn.fit(sgd, begin, (X, TARGET, WEIGHTS), **how)
    checkpoint = fnn.Checkpointing(tmp_path, 2)
    found = fnn.fit(parts, begin, (X, TARGET, WEIGHTS), **how, checkpoint=checkpoint)
    chex.assert_trees_all_close(found[0].ema, want[0].ema, **EXACT)
    chex.assert_trees_all_close(found[1], want[1], **EXACT)


@pytest.mark.slow
def test_it_takes_the_memory_of_one_microbatch():
    net = fnn.mlp([3, 64, 64, 7])
    x, target = noise(1024, 3), jnp.arange(1024) % 7

    def memory(rows, **options):
        make = fnn.Plan(net, LOSS, fnn.optim.SGD(0.1), **options)
        state = fnn.start(make, None, net.init(KEY))
        f = jax.jit(lambda state, x, target: fnn.step(make, state, (x, target))[0].params)
        done = f.lower(state, x[:rows], target[:rows]).compile()
        return done.memory_analysis().temp_size_in_bytes

    assert memory(1024, microbatch=64) < memory(1024) / 4


@dataclass(frozen=True)
class Mixing(fnn.Record):
    """What stands beside a layer."""


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"microbatch": 0}, ValueError, "Plan: microbatch must be at least 1, got 0"),
        ({"microbatch": 2.5}, TypeError, "Plan: microbatch must be an integer, got 2.5"),
        ({"in_backward": True}, TypeError, "Plan: microbatch sums gradients, which in_backward"),
        ({"rule": fnn.Clipping(1.0)}, TypeError, r"alone, and Clipping\(.* wants more of a pass"),
        ({"rule": (fnn.rules.backprop, fnn.rules.deltas)}, TypeError, "alone, and deltas wants"),
        ({"optimizer": fnn.optim.KFAC()}, TypeError, "backprop alone, and KFAC wants more"),
        ({"watch": fnn.Watch(fnn.rules.dead_units)}, TypeError, "Plan: dead_units of watch join"),
        ({"watch": 3}, TypeError, "Plan: watch must be a Watch, got 3"),
        ({"net": fnn.Serial(fnn.Repeat(2, fnn.Residual(fnn.BatchNorm(3))), NET)},
         NotImplementedError, r"Plan: BatchNorm\(n=3.*mixes the examples of a batch, which microb"),
        ({"loss": fnn.InfoNCE()}, NotImplementedError, r"Plan: InfoNCE\(.*\) mixes the examples"),
    ],
)  # fmt: skip
def test_what_is_no_sum_of_microbatches_is_refused_by_name(options, error, message):
    with pytest.raises(error, match=message):
        plan(**{"microbatch": 2} | options)


def test_errors_speak_of_the_whole_batch():
    parts = plan(microbatch=2)
    with pytest.raises(ValueError, match=r"step: weights must .*\[11, 1\]"):
        fnn.step(parts, fnn.start(parts, KEY, PARAMS), (X, TARGET, np.ones((11, 1))))
