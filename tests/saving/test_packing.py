"""Tests of fnn.saving.packing, beyond those of fnn.checkpoints."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from training import NET, plan

import fnn
from fnn.files import CheckpointError, Contents
from fnn.saving import packing


def test_a_tree_is_tensors_and_texts():
    tree = {"w": jnp.arange(3), "key": jax.random.key(1)}
    tensors, texts = packing.packed("save", tree, None, {"a": 1}, packing.TREE)
    assert tensors["key"].tolist() == [0, 1]
    assert texts.pop("fnn")
    assert texts == {
        "format": "pt", "layout": "1", "holds": "tree", "keys": '{"key": "threefry2x32"}',
        "notes": '{"a": 1}',
    }  # fmt: skip


def test_shapes_that_only_a_step_shows_are_asked_for():
    kfac = plan(fnn.optim.KFAC(0.1))
    with pytest.raises(TypeError, match="load: a State of KFAC has factors .*, load.path, state"):
        packing.state_like(kfac, None)


def test_the_state_of_a_run_is_what_stands_under_its_name():
    tensors = {"state.w": 1, "history.loss": 2, "seen.0": 3}
    assert packing.state_in(Contents(tensors, {"holds": "run"})) == {"w": 1}
    assert packing.state_in(Contents(tensors, {"holds": "tree"})) == tensors


def test_a_plan_has_the_state_that_it_starts_with():
    ours = plan(fnn.optim.Adam(0.1))
    like = packing.state_like(ours, jax.random.key(0))
    want = jax.eval_shape(lambda k: fnn.start(ours, k, NET.init(k)), jax.random.key(0))
    assert like == want
    assert packing.state_like(ours, None).key is None


@pytest.mark.parametrize("impl", [None, 3, "no", "__class__"])
def test_a_key_draws_as_jax_knows(impl):
    with pytest.raises(CheckpointError, match="a: w is no key of "):
        packing.revived("a", "w", {"w": np.arange(2, dtype=np.uint32)}, impl)
    with pytest.raises(CheckpointError, match="a: w is no key of 'rbg'"):
        packing.revived("a", "w", {}, "rbg")
