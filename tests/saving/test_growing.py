"""Tests of fnn.saving.growing: a State that a step has grown comes back by its Plan alone."""

import json

import chex
import jax
import jax.numpy as jnp
import optax
import pytest

import fnn
from fnn.batches import as_rows
from fnn.checkpoints import CheckpointError, load, save
from fnn.files import read, write
from fnn.train import roomy

KEY = jax.random.key(0)
NET = fnn.Serial(
    embed=fnn.Embedding(5, 3),
    blocks=fnn.Repeat(2, fnn.Residual(fnn.Serial(fnn.LayerNorm(3), fnn.Dense(3, 3)))),
    ends=fnn.Serial(fnn.Tanh(), fnn.Frozen(fnn.Dense(3, 3)), fnn.Dense(3, 5)),
)
ROWS = as_rows("step", "batch", (jnp.ones((4, 3), int), jnp.ones((4, 3), int)))
NEWTON = fnn.optim.KFAC(0.1)
ASKING = {
    "cholesky": {"optimizer": NEWTON},
    "ekfac": {"optimizer": fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), fnn.optim.Scheduled(
        fnn.optim.KFAC(method="ekfac"), fnn.optim.Constant(0.1)))},
    "optax": {"rule": fnn.rules.kfac(), "optimizer": optax.GradientTransformationExtraArgs(
        NEWTON.init, NEWTON.update)},
}  # fmt: skip


def grown(name):
    plan = fnn.Plan(NET, fnn.SoftmaxCrossEntropy(), **ASKING[name])
    state = roomy(plan, fnn.start(plan, KEY), ROWS)
    leaves, form = jax.tree.flatten(state.optimizer_state)
    leaves = [a + i for i, a in enumerate(leaves, 1)]
    return plan, state._replace(optimizer_state=form.unflatten(leaves), key=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", ASKING)
def test_a_state_that_has_grown_comes_back_by_its_plan(name, tmp_path):
    plan, state = grown(name)
    assert len(jax.tree.leaves(state)) > len(jax.tree.leaves(fnn.start(plan, None, state.params)))
    save(tmp_path / "a", state, plan=plan)
    found = load(tmp_path / "a", plan)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    chex.assert_trees_all_equal(found, state)
    fresh = fnn.start(plan, None, state.params)  # before it grows
    save(tmp_path / "b", fresh, plan=plan)
    chex.assert_trees_all_equal(load(tmp_path / "b", plan), fresh)


@pytest.mark.parametrize(
    "said",
    ["", "3", "[]", "[3, 4]", '[[], {"array": ["float99", []]}]', '[[], {"Rule": {}}]', "[[]]",
     '[[], {"Blocks": {}}]', '[[], {"Kronecker": 3}]', "[" * 4000, '[[], {"dict": [1]}]'],
)  # fmt: skip
def test_a_file_may_say_anything(said, tmp_path):
    plan, state = grown("cholesky")
    path = tmp_path / "a"
    save(path, state, plan=plan)
    tensors, texts = read(path)
    del texts["sha256"]
    write(path, tensors, texts | {"room": said})
    with pytest.raises(
        (CheckpointError, TypeError), match="a has no JSON|a: its room|load: a State"
    ):
        load(path, plan)


def test_shapes_that_the_file_does_not_have_are_told(tmp_path):
    plan, state = grown("cholesky")
    path = tmp_path / "a"
    save(path, state, plan=plan)
    tensors, texts = read(path)
    del texts["sha256"]
    room = json.loads(texts["room"])
    room[0]["dict"]["other"] = {"array": ["float64", [2]]}
    write(path, tensors, texts | {"room": json.dumps(room)})
    with pytest.raises(CheckpointError, match=r"optimizer_state\.factors\.other is missing"):
        load(path, plan)
