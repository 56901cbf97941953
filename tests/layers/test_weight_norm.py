"""Tests of fnn.layers.weight_norm."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

import fnn
from fnn.initializers import zeros
from fnn.layers.weight_norm import WeightNorm, WeightNormParams
from fnn.numerics import cast
from fnn.penalties import weight_mask
from fnn.sequence import Sequence

KEY = jax.random.key(0)
X = noise(5, 3)
SLOW = pytest.mark.slow
CASES = [
    (fnn.Dense(3, 4), (5, 3)),
    pytest.param(fnn.Conv2d(4, 6, (3, 2), groups=2, bias=False), (2, 5, 7, 4), marks=SLOW),
    pytest.param(fnn.ConvTranspose1d(3, 4, 2), (2, 5, 3), marks=pytest.mark.long),
    pytest.param(fnn.GLU(4, 6), (2, 3, 4), marks=pytest.mark.long),
    pytest.param(fnn.Attention(4, 2), (2, 5, 4), marks=SLOW),
]


@pytest.mark.parametrize(("inner", "shape"), CASES)
def test_contract(inner, shape):
    check_layer(WeightNorm(inner), noise(*shape))


@pytest.mark.slow
def test_contract_of_sequences():
    x = Sequence(noise(2, 5, 3), MASK)
    check_sequence(WeightNorm(fnn.Dense(3, 4)), x)
    check_sequence(WeightNorm(fnn.LSTM(3, 4)), x.with_fields(state=states(4, 4)))


def test_by_hand():
    layer = WeightNorm(fnn.Dense(2, 1))
    v, b = jnp.array([[3.0], [4.0]]), jnp.array([1.0])
    params = WeightNormParams(fnn.DenseParams(v, b), {"w": jnp.array([10.0])})
    y, cache = layer.forward(params, jnp.array([[1.0, 2.0]]))
    np.testing.assert_allclose(y, [[6 + 16 + 1]], rtol=1e-15)
    grads, dx = layer.backward(params, cache, jnp.array([[1.0]]))
    np.testing.assert_allclose(dx, [[6, 8]], rtol=1e-15)
    np.testing.assert_allclose(grads.scale["w"], [0.6 + 1.6], rtol=1e-14)
    np.testing.assert_allclose(grads.inner.w, [[2 * (1 - 1.32)], [2 * (2 - 1.76)]], rtol=1e-12)
    np.testing.assert_array_equal(grads.inner.b, [1])


def test_it_begins_as_the_inner_layer_does_and_inference_gives_that_layer():
    layer, params = WeightNorm(fnn.Conv1d(3, 4, 2)), WeightNorm(fnn.Conv1d(3, 4, 2)).init(KEY)
    bare = layer.inner.init(KEY)
    chex.assert_trees_all_equal(params.inner, bare)
    chex.assert_trees_all_close(layer.weighted(params), bare, rtol=1e-14)
    params = params._replace(scale={"w": jnp.arange(1.0, 5.0)})
    net, made = fnn.inference(fnn.Serial(layer), (params,))
    assert net == fnn.Serial(layer.inner)
    np.testing.assert_allclose((made[0].w ** 2).sum((0, 1)), jnp.arange(1.0, 5.0) ** 2, rtol=1e-14)


def test_the_gradient_of_v_is_at_right_angles_to_v_so_that_its_length_never_shrinks():
    """The source, section 2.1."""
    layer, x = WeightNorm(fnn.Dense(3, 4)), noise(5, 3)
    params = layer.init(KEY)
    _, cache = layer.forward(params, x)
    grads, _ = layer.backward(params, cache, noise(5, 4, seed=2))
    np.testing.assert_allclose((grads.inner.w * params.inner.w).sum(0), 0, atol=1e-13)
    after = params.inner.w - 0.1 * grads.inner.w
    assert ((after**2).sum(0) > (params.inner.w**2).sum(0)).all()


def test_lengths_are_what_penalties_see_and_their_squares_are_those_of_w():
    layer = WeightNorm(fnn.Dense(3, 4))
    params = layer.init(KEY)
    mask = weight_mask("test", params)
    assert mask == WeightNormParams(fnn.DenseParams(False, False), {"w": True})
    np.testing.assert_allclose(fnn.L2(0.3).value(params), fnn.L2(0.3).value(params.inner))


def test_a_v_of_zeros_counts_as_one_of_length_1():
    layer = WeightNorm(fnn.Dense(3, 2))
    params = layer.init(KEY)
    params = WeightNormParams(
        params.inner._replace(w=params.inner.w.at[:, 0].set(0)), {"w": jnp.array([2.0, 3.0])}
    )
    y, cache = layer.forward(params, X)
    grads, dx = layer.backward(params, cache, jnp.ones((5, 2)))
    np.testing.assert_array_equal(y[:, 0], 0)
    np.testing.assert_allclose(grads.inner.w[:, 0], 2 * X.sum(0), rtol=1e-13)
    assert grads.scale["w"][0] == 0
    assert np.isfinite(dx).all()


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_directions_of_any_length_keep_their_digits(size):
    layer = WeightNorm(fnn.Dense(3, 4))
    params = cast(layer.init(KEY), "float32")
    long = params._replace(inner=params.inner._replace(w=params.inner.w * size))
    for a, b in zip(layer.weighted(long), layer.weighted(params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_errors():
    layer = WeightNorm(fnn.Dense(3, 2))
    with pytest.raises(ValueError, match=r"‖w‖ must be above 0, got 0\.0 at index 0"):
        WeightNorm(fnn.Dense(3, 2, zeros)).init(KEY)
    with pytest.raises(TypeError, match="params must be WeightNormParams, got DenseParams"):
        layer.forward(fnn.Dense(3, 2).init(KEY), X)
    with pytest.raises(TypeError, match=r"params\.scale must be a dict of w, got"):
        layer.forward(layer.init(KEY)._replace(scale={}), X)
    with pytest.raises(ValueError, match=r"params\.scale\.w must have shape \[2\], got \[3\]"):
        layer.forward(layer.init(KEY)._replace(scale={"w": jnp.ones(3)}), X)
    with pytest.raises(ValueError, match=r"Dense\(n_in=3, n_out=2\): x must have shape"):
        layer.forward(layer.init(KEY), noise(5, 4))
