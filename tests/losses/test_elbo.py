"""Tests of fnn.losses.elbo."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import QUICK, check_loss, noise

import fnn
from fnn.losses.binary import SigmoidBinaryCrossEntropy
from fnn.losses.elbo import ELBO, excess
from fnn.losses.regression import SquaredError
from fnn.rules.per_example import example_norms

HALF = SquaredError(0.5)
KEY = jax.random.key(0)


class Guess(NamedTuple):
    reconstruction: jax.Array
    code: jax.Array


def chances(*shape):
    return jax.nn.sigmoid(noise(*shape, seed=2))


def test_contract():
    check_loss(ELBO(), (noise(5, 3), noise(5, 4, seed=3)), chances(5, 3))


@pytest.mark.slow
def test_contract_at_several_positions_with_a_beta_and_names():
    y = Guess(noise(2, 3, 5), noise(2, 3, 4, seed=3))
    check_loss(ELBO(SquaredError(), beta=3.0), y, noise(2, 3, 5, seed=2))


def test_by_hand():
    y, t = jnp.array([[3.0, 5.0]]), jnp.array([[1.0, 9.0]])
    code = jnp.array([[2.0, -4.0, 0.0, math.log(3.0)]])
    loss = ELBO(HALF, beta=10.0)
    losses, cache = loss.forward((y, code), t)
    kl = (2**2 + 4**2 + 3 - 1 - math.log(3)) / 2
    np.testing.assert_allclose(losses, [(4 + 16) / 2 + 10 * kl], rtol=1e-14)
    dy, dcode = loss.backward(cache, jnp.array([7.0]))
    np.testing.assert_allclose(dy, [[7 * 2, -7 * 4]], rtol=1e-14)
    np.testing.assert_allclose(dcode, [[70 * 2, -70 * 4, 0, 70 * (3 - 1) / 2]], rtol=1e-14)


def test_the_code_costs_the_mean_of_the_difference_of_two_log_densities():
    m, s = 0.8, -0.6
    z = m + math.exp(s / 2) * np.random.default_rng(0).standard_normal(400_000)
    of_code = -((z - m) ** 2) / (2 * math.exp(s)) - s / 2
    zero = jnp.zeros((1, 1))
    losses, _ = ELBO(HALF).forward((zero, jnp.array([[m, s]])), zero)
    np.testing.assert_allclose((of_code + z**2 / 2).mean(), losses[0], rtol=0.01)


def test_a_code_without_a_message_costs_nothing():
    y, t = noise(5, 3), chances(5, 3)
    losses, cache = ELBO().forward((y, jnp.zeros((5, 4))), t)
    np.testing.assert_array_equal(losses, SigmoidBinaryCrossEntropy().forward(y, t)[0])
    assert not np.any(ELBO().backward(cache, jnp.ones(5))[1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_cost_of_a_variance_near_1_is_right_to_roundings(dtype):
    import mpmath

    s = np.array([1e-12, -3e-7, 1e-3, -0.02, 0.3, -0.4999, 0.5001, 1.0, -5.0, 30.0], dtype)
    with mpmath.workdps(60):
        want = [float(mpmath.expm1(mpmath.mpf(float(v))) - mpmath.mpf(float(v))) for v in s]
    np.testing.assert_allclose(excess(jnp.asarray(s)), want, rtol=8 * np.finfo(dtype).eps)


def test_far_variances_overflow_to_infinity_and_nan_stays():
    s = jnp.array([1e4, jnp.inf, -jnp.inf, jnp.nan, -1e300])
    np.testing.assert_array_equal(excess(s), [jnp.inf, jnp.inf, jnp.inf, jnp.nan, 1e300])


def test_an_image_is_summed_over_its_rows_and_columns():
    y, code, t = noise(3, 4, 5, 2), noise(3, 6, seed=3), noise(3, 4, 5, 2, seed=2)
    loss, flat = ELBO(SquaredError()), (y.reshape(3, -1), code)
    losses, cache = loss.forward((y, code), t)
    want, flat_cache = loss.forward(flat, t.reshape(3, -1))
    np.testing.assert_allclose(losses, want, rtol=1e-12)
    assert losses.shape == loss.shape((y, code)) == (3,)
    dy, dcode = loss.backward(cache, jnp.arange(3.0))
    dflat, same = loss.backward(flat_cache, jnp.arange(3.0))
    np.testing.assert_allclose(dy.reshape(3, -1), dflat, rtol=1e-12)
    np.testing.assert_array_equal(dcode, same)


NET = fnn.Serial(
    fnn.Dense(5, 4),
    fnn.Parallel(fnn.Serial(fnn.Gaussian(), fnn.Dense(2, 5)), fnn.Identity(), join=None),
)


def test_a_variational_autoencoder_has_the_gradient_of_jax():
    x, params, loss = chances(7, 5), NET.init(KEY), ELBO(beta=0.5)

    def mean(params):
        y, code = NET.forward(params, x, key=KEY)[0]
        m, s = code[:, :2], code[:, 2:]
        kl = 0.5 * (m**2 + jnp.exp(s) - 1 - s).sum(-1)
        likelihood = x * jax.nn.log_sigmoid(y) + (1 - x) * jax.nn.log_sigmoid(-y)
        return (0.5 * kl - likelihood.sum(-1)).mean()

    run = jax.jit(fnn.value_and_grad, compiler_options=QUICK)
    found = run(NET, loss, params, x, x, key=KEY)
    want = jax.jit(jax.value_and_grad(mean), compiler_options=QUICK)(params)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_fit_and_evaluate_and_rows_that_are_left_out():
    x = chances(30, 5).at[3].set(jnp.nan)
    plan = fnn.Plan(NET, ELBO(), fnn.optim.Adam(0.01))
    data = x, x, jnp.ones(30).at[3].set(0)
    state, history = fnn.fit(plan, fnn.start(plan, KEY), data, epochs=30, batch_size=8)
    assert history["loss"][-1] < history["loss"][0]
    evaluated = fnn.evaluate(plan, state, data)["loss"]  # of the mean of every code
    net, params = fnn.inference(NET, state.params)
    rows = jnp.delete(x, 3, 0)
    losses, _ = ELBO().forward(net.forward(params, rows)[0], rows)
    np.testing.assert_allclose(evaluated, losses.mean(), rtol=1e-6)


@pytest.mark.slow
def test_norms_of_examples_go_through():
    x, params = chances(7, 5), NET.init(KEY)
    rules = (fnn.rules.backprop, example_norms)
    _, norms = fnn.fold(NET, ELBO(), params, x, x, key=KEY, rule=rules).result
    y, cache = NET.forward(params, x, key=KEY)
    _, loss_cache = ELBO().forward(y, x)
    for b in range(7):
        dy = ELBO().backward(loss_cache, jnp.zeros(7).at[b].set(1))
        grads, _ = NET.backward(params, cache, dy)
        want = sum((g**2).sum() for g in jax.tree.leaves(grads))
        np.testing.assert_allclose(fnn.rules.total(norms)[b], want, rtol=1e-10)


def test_errors():
    y, code, t = noise(5, 3), noise(5, 4), chances(5, 3)
    with pytest.raises(TypeError, match=r"^ELBO.*: y must be the pair .* got ArrayImpl|got an ar"):
        ELBO().forward(y, t)
    with pytest.raises(ValueError, match=r"^ELBO.*: code must have shape \[B, ..., 2 n\]"):
        ELBO().forward((y, noise(5, 3)), t)
    message = r"^ELBO.*reconstruction, \[5\], must begin with the axes of the code, \[4\]\.$"
    with pytest.raises(ValueError, match=message):
        ELBO().forward((y, noise(4, 4)), t)
    with pytest.raises(ValueError, match="^SigmoidBinary.*: target must have y's shape"):
        ELBO().forward((y, code), chances(5, 2))
    with pytest.raises(ValueError, match=r"^ELBO: beta must be in \[0, inf\), got -1"):
        ELBO(beta=-1.0)
    with pytest.raises(TypeError, match="^ELBO: loss must be a Loss, got <class .*; build it: Sq"):
        ELBO(SquaredError)


def test_what_the_reconstruction_leaves_out_is_left_out_whole():
    loss = ELBO(fnn.SoftmaxCrossEntropy(ignore_label=-1))
    guess, code = noise(5, 4), noise(5, 2, seed=2)
    labels, counts = jnp.array([0, 1, -1, 2, -1]), np.array([0, 1, 3])

    def value(rows):
        y = guess[rows], code[rows]
        return fnn.value_and_grad(fnn.Identity(), loss, (), y, labels[rows])[0]

    np.testing.assert_allclose(value(slice(None)), value(counts), rtol=1e-12)


def test_a_reconstruction_that_mixes_examples_is_refused():
    with pytest.raises(ValueError, match="loss of its own"):
        ELBO(fnn.InfoNCE())
