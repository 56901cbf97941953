"""Tests of fnn.layers.prelu."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise

from fnn.driver import fold
from fnn.layers.activations import LeakyReLU, ReLU
from fnn.layers.prelu import PReLU, PReLUParams
from fnn.losses.regression import SquaredError
from fnn.penalties import weight_mask
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(0)
CASES = [(PReLU(3), (5, 3)), (PReLU(4), (2, 3, 4)), (PReLU(), (5, 3)), (PReLU(), (2, 3, 4))]


@pytest.mark.parametrize(("layer", "shape"), CASES, ids=str)
def test_contract(layer, shape):
    check_layer(layer, noise(*shape))


@pytest.mark.parametrize("layer", [PReLU(3), PReLU()], ids=str)
def test_contract_of_sequences(layer):
    check_sequence(layer, Sequence(noise(2, 5, 3), MASK))


X = jnp.array([[1.0, -2.0], [-3.0, -4.0]])
DY = jnp.array([[1.0, 10.0], [2.0, 20.0]])


def test_by_hand():
    params = PReLUParams(jnp.array([0.5, 0.25]))
    y, cache = PReLU(2).forward(params, X)
    np.testing.assert_array_equal(y, [[1, -0.5], [-1.5, -1]])
    grads, dx = PReLU(2).backward(params, cache, DY)
    np.testing.assert_array_equal(grads.slope, [-3 * 2, -2 * 10 - 4 * 20])
    np.testing.assert_array_equal(dx, [[1, 2.5], [1, 5]])


def test_one_slope_for_all_by_hand():
    params = PReLUParams(jnp.array([0.5]))
    y, cache = PReLU().forward(params, X)
    np.testing.assert_array_equal(y, [[1, -1], [-1.5, -2]])
    grads, dx = PReLU().backward(params, cache, DY)
    np.testing.assert_array_equal(grads.slope, [-20 - 6 - 80])
    np.testing.assert_array_equal(dx, [[1, 5], [1, 10]])


def test_with_a_slope_that_stays_it_is_leaky_relu_and_with_0_relu():
    x, dy = noise(5, 3), noise(5, 3, seed=2)
    for slope, other in ((0.1, LeakyReLU(0.1)), (0.0, ReLU())):
        layer = PReLU(3, slope)
        y, cache = layer.forward(layer.init(KEY), x)
        want, other_cache = other.forward((), x)
        np.testing.assert_allclose(y, want, rtol=1e-15)
        _, dx = layer.backward(layer.init(KEY), cache, dy)
        np.testing.assert_allclose(dx, other.backward((), other_cache, dy)[1], rtol=1e-15)


def test_slopes_begin_at_a_quarter_and_are_no_weights():
    params = PReLU(3).init(KEY)
    np.testing.assert_array_equal(params.slope, [0.25] * 3)
    assert weight_mask("test", params) == PReLUParams(False)


def test_at_0_dx_is_the_value_from_the_left_and_nan_is_not_hidden():
    params = PReLU().init(KEY)
    y, cache = PReLU().forward(params, jnp.array([[0.0, jnp.nan]]))
    _, dx = PReLU().backward(params, cache, jnp.ones((1, 2)))
    np.testing.assert_array_equal(y, [[0, jnp.nan]])
    np.testing.assert_array_equal(dx, [[0.25, jnp.nan]])


def test_a_slope_of_half_precision_sums_in_single_precision():
    params = PReLUParams(jnp.ones(1, "bfloat16"))
    x = -jnp.ones((300, 1), "bfloat16")  # 256 + 1 is 256 in bfloat16
    grads, _ = PReLU().backward(params, PReLU().forward(params, x)[1], jnp.ones_like(x))
    assert (float(grads.slope[0]), grads.slope.dtype) == (-300, "bfloat16")


def test_norms_of_examples_are_those_of_each_alone():
    layer, x, target = PReLU(3), noise(5, 2, 3), noise(5, 2, 3, seed=2)
    params = layer.init(KEY)
    norms = fold(layer, SquaredError(), params, x, target, rule=example_norms).result
    for b in range(5):
        one = fold(layer, SquaredError(), params, x[b : b + 1], target[b : b + 1]).result
        np.testing.assert_allclose(norms[b], (one.slope**2).sum(), rtol=1e-12)


def test_errors():
    with pytest.raises(ValueError, match=r"^PReLU\(n=0, slope=0.25\): n must be at least 1\.$"):
        PReLU(0)
    with pytest.raises(ValueError, match="^PReLU: slope must be finite, got inf"):
        PReLU(slope=float("inf"))
    with pytest.raises(ValueError, match=r"x must have shape \[B, ..., 3\], got \[2, 4\]"):
        PReLU(3).forward(PReLU(3).init(KEY), noise(2, 4))
    with pytest.raises(TypeError, match="x must be floating, got int64"):
        PReLU().forward(PReLU().init(KEY), jnp.ones((2, 3), int))
    with pytest.raises(ValueError, match=r"params\.slope must have shape \[3\], got \[1\]"):
        PReLU(3).forward(PReLU().init(KEY), noise(2, 3))
