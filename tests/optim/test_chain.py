"""Tests of fnn.optim.chain."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax

import fnn


def test_chain_descends_like_optax():
    ours = fnn.optim.Chain(fnn.optim.ClipByNorm(0.7), fnn.optim.Momentum(0.1))
    theirs = optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.1, momentum=0.9))
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_optax_works_inside_chain():
    ours = fnn.optim.Chain(optax.clip_by_global_norm(0.7), fnn.optim.SGD(0.1))
    theirs = optax.chain(optax.clip_by_global_norm(0.7), optax.sgd(0.1))
    with jax.numpy_dtype_promotion("standard"):
        chex.assert_trees_all_close(
            descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
        )


def test_what_is_no_optimizer_is_refused():
    with pytest.raises(TypeError, match="Chain: the optimizer must have init and update, got 3"):
        fnn.optim.Chain(3)
    with pytest.raises(ValueError, match="Chain: give at least one optimizer"):
        fnn.optim.Chain()


def test_every_link_sees_params():
    from optimizers import PARAMS, descend

    ours = fnn.optim.Chain(fnn.optim.ClipByNorm(1e9), fnn.optim.AdamW(0.1))
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend(fnn.optim.AdamW(0.1), PARAMS), rtol=1e-12
    )


def test_the_rate_is_that_of_the_last_link_that_has_one():
    chain = fnn.optim.Chain(fnn.optim.SGD(2.0), fnn.optim.Adam(0.1), fnn.optim.ClipByNorm(1.0))
    assert chain.rate(chain.init({"a": jnp.ones(2)})) == 0.1
