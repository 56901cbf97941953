"""Tests of fnn.layers.gaussian."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

import fnn
from fnn.layers.dense import Dense
from fnn.layers.gaussian import Gaussian, GaussianCache, GaussianMean
from fnn.layers.repeat import Repeat
from fnn.layers.serial import Serial
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(0)


def test_contract():
    check_layer(Gaussian(), noise(2, 3, 4), key=KEY)


def test_contract_of_the_mean():
    check_layer(GaussianMean(), noise(2, 3, 4))


@pytest.mark.parametrize("layer", [Gaussian(), GaussianMean()], ids=repr)
def test_contract_of_sequences(layer):
    key = KEY if layer.draws else None
    check_sequence(layer, Sequence(noise(2, 5, 6), MASK), key=key, steps=False)


def test_by_hand():
    x = jnp.array([[3.0, 5.0, 0.0, 2 * np.log(4.0)]])  # means 3 and 5, deviations 1 and 4
    z, cache = Gaussian().forward((), x, key=KEY)
    e = jax.random.normal(KEY, (1, 2))
    np.testing.assert_allclose(z, [[3 + e[0, 0], 5 + 4 * e[0, 1]]], rtol=1e-12)
    np.testing.assert_allclose(cache.r, [[e[0, 0], 4 * e[0, 1]]], rtol=1e-12)
    _, dx = Gaussian().backward((), GaussianCache(jnp.array([[0.5, -6.0]])), jnp.ones((1, 2)) * 7)
    np.testing.assert_array_equal(dx, [[7, 7, 7 * 0.25, -7 * 3]])


def test_the_mean_by_hand():
    z, cache = GaussianMean().forward((), jnp.array([[3.0, 5.0, 1.0, 2.0]]))
    np.testing.assert_array_equal(z, [[3, 5]])
    _, dx = GaussianMean().backward((), cache, jnp.array([[7.0, 9.0]]))
    np.testing.assert_array_equal(dx, [[7, 9, 0, 0]])


def test_draws_have_the_means_and_variances_of_x():
    x = jnp.tile(jnp.array([[2.0, -1.0, np.log(9.0), np.log(0.25)]]), (20_000, 1))
    z, _ = Gaussian().forward((), x, key=KEY)
    np.testing.assert_allclose(z.mean(0), [2, -1], atol=0.08)
    np.testing.assert_allclose(z.std(0), [3, 0.5], rtol=0.03)
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.03


def test_gradients_are_unbiased_estimates_of_that_of_the_expectation():
    m, s = 0.7, np.log(0.5)  # of E z² = m² + e^s the derivatives are 2 m and e^s
    x = jnp.tile(jnp.array([[m, s]]), (40_000, 1))
    z, cache = Gaussian().forward((), x, key=KEY)
    _, dx = Gaussian().backward((), cache, 2 * z)
    np.testing.assert_allclose(dx.mean(0), [2 * m, np.exp(s)], rtol=0.04)


def test_copies_and_calls_draw_anew_and_a_key_draws_the_same_again():
    net, x = Repeat(2, Serial(Gaussian(), Dense(2, 4, bias=False))), noise(3, 4)
    _, cache = net.forward(net.init(KEY), x, key=KEY)
    first, second = cache.inner[0].r
    assert not np.any(first == second)
    z, _ = Gaussian().forward((), x, key=KEY)
    np.testing.assert_array_equal(Gaussian().forward((), x, key=KEY)[0], z)
    assert not np.any(Gaussian().forward((), x, key=jax.random.key(1))[0] == z)


def test_the_evaluation_net_takes_the_mean():
    net = Serial(code=Gaussian(), decoder=Dense(3, 2))
    evaluated, params = fnn.inference(net, net.init(KEY))
    assert evaluated == Serial(code=GaussianMean(), decoder=Dense(3, 2))
    chex.assert_trees_all_equal(params, net.init(KEY))
    np.testing.assert_array_equal(GaussianMean().forward((), noise(5, 6))[0], noise(5, 6)[:, :3])


def test_no_variance_is_the_mean_and_a_large_one_overflows_to_infinity():
    x = jnp.array([[2.0, -jnp.inf], [2.0, 3000.0], [jnp.nan, 0.0]])
    z, cache = Gaussian().forward((), x, key=KEY)
    assert z[0] == 2
    assert np.isinf(z[1])
    assert np.isnan(z[2])
    _, dx = Gaussian().backward((), cache, jnp.ones((3, 1)))
    np.testing.assert_array_equal(dx[0], [1, 0])


def test_half_precision_draws_in_single_precision():
    x = noise(200, 6).astype("bfloat16")
    z, cache = Gaussian().forward((), x, key=KEY)
    wide, _ = Gaussian().forward((), x.astype("float32"), key=KEY)
    assert {z.dtype, cache.r.dtype} == {jnp.dtype("bfloat16")}
    np.testing.assert_array_equal(z, wide.astype("bfloat16"))


@pytest.mark.slow
def test_norms_of_examples_are_those_of_each_alone():
    net, x, target = Serial(Dense(3, 4), Gaussian()), noise(5, 3), noise(5, 2, seed=2)
    params, loss = net.init(KEY), fnn.SquaredError()
    norms = fnn.fold(net, loss, params, x, target, rule=example_norms, key=KEY).result
    y, cache = net.forward(params, x, key=KEY)
    for b in range(5):
        dy = jnp.zeros_like(y).at[b].set(2 * (y - target)[b])
        grads, _ = net.backward(params, cache, dy)
        want = sum((g**2).sum() for g in jax.tree.leaves(grads))
        np.testing.assert_allclose(fnn.rules.total(norms)[b], want, rtol=1e-10)


@pytest.mark.parametrize("layer", [Gaussian(), GaussianMean()], ids=repr)
def test_errors(layer):
    name = type(layer).__name__
    message = rf"^{name}\(\): x must have shape \[B, \.\.\., 2 n\], n means .* got \[2, 5\]"
    with pytest.raises(ValueError, match=message):
        layer.forward((), noise(2, 5), key=KEY)
    with pytest.raises(TypeError, match=rf"^{name}\(\): x must be floating, got int64"):
        layer.forward((), jnp.ones((2, 4), int), key=KEY)


def test_a_draw_needs_a_key():
    with pytest.raises(ValueError, match=r"^Gaussian\(\): forward needs a key; pass key=jax"):
        Gaussian().forward((), noise(2, 4))
