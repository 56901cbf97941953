"""Tests of fnn.example_sums."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import noise
from test_clipping import KEY, LOSS, norm

import fnn


def test_where_most_is_made_again_no_factors_are_kept():
    x, target = noise(16, 32, 16), jnp.arange(16) % 7
    block, head = fnn.mlp([16, 64, 16]), fnn.Serial(fnn.Last(), fnn.Dense(16, 7))

    def memory(inner):
        net = fnn.Serial(fnn.Repeat(24, inner), head)
        params = jax.eval_shape(net.init, KEY)
        run = jax.jit(lambda params: fnn.clipped_grad(net, LOSS, params, x, target, 0.3))
        return run.lower(params).compile().memory_analysis().temp_size_in_bytes

    assert memory(fnn.Recompute(block)) < memory(block) / 3


def test_where_little_is_made_again_the_factors_are_kept():
    x, target = noise(16, 32), jnp.arange(16) % 7

    def flops(inner):
        net = fnn.Serial(fnn.Dense(32, 64), inner, fnn.Dense(64, 64), fnn.Dense(64, 7))
        params = jax.eval_shape(net.init, KEY)
        run = jax.jit(lambda params: fnn.clipped_grad(net, LOSS, params, x, target, 0.3))
        return (run.lower(params).compile().cost_analysis() or {})["flops"]

    assert flops(fnn.Recompute(fnn.Tanh())) < 1.1 * flops(fnn.Tanh())


def test_where_the_steps_of_an_example_cancel_the_bound_holds_and_nothing_is_nan():
    with jax.enable_x64(False):
        net, loss = fnn.Dense(16, 16, bias=False), fnn.SquaredError()
        params, rng = net.init(KEY), np.random.default_rng(0)

        @jax.jit
        @jax.vmap
        def lengths(x, target):
            how = {"norms": True}
            _, g, n = fnn.clipped_grad(net, loss, params, x[None], target[None], 0.01, **how)
            return norm(g), n[0]

        for size in (1e-4, 1e-3, 3e-3):  # what is left of the two steps together
            x = np.tile(5 * rng.standard_normal((256, 1, 16)), (1, 2, 1))
            x = jnp.asarray(x + 1e-4 * rng.standard_normal(x.shape), "float32")
            d = 10 * rng.standard_normal((256, 1, 16)) * [[[1], [-1]]]
            d = jnp.asarray(d + size * rng.standard_normal(d.shape), "float32")
            clipped, n = lengths(x, net.forward(params, x)[0] + d)
            assert np.isfinite(n).all()
            assert clipped.max() <= 0.01 * (1 + 1e-5)
