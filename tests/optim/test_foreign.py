"""Tests of fnn.optim.foreign."""

import chex
import jax
import optax
import pytest
from optimizers import PARAMS, gradient

import fnn
from fnn.optim.foreign import as_optimizer


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


def test_a_class_is_no_optimizer():
    with pytest.raises(TypeError, match=r"f: .* got <class .*Adam'>; build it: Adam\(\.\.\.\)"):
        as_optimizer("f", fnn.optim.Adam)
