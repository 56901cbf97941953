"""Tests of fnn.layers.glu."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, noise

import fnn
from fnn.layers.glu import GLU, GLUParams

KEY = jax.random.key(0)


@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3)], ids=str)
def test_contract(shape):
    check_layer(GLU(3, 4), noise(*shape))


@pytest.mark.parametrize(
    "activation", [fnn.GELU(), fnn.Sigmoid(), fnn.Tanh(), fnn.Identity()], ids=str
)
def test_gradients_with_every_gate_are_those_of_jax(activation):
    layer = GLU(3, 4, activation)
    params, x, dy = layer.init(KEY), noise(2, 5, 3), noise(2, 5, 3, seed=2)
    _, vjp = jax.vjp(lambda p, x: layer.forward(p, x)[0], params, x)
    ours = layer.backward(params, layer.forward(params, x)[1], dy)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(vjp(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_by_hand():
    layer = GLU(1, 2, fnn.ReLU())
    params = GLUParams(jnp.array([[2.0, -1.0]]), jnp.array([[3.0, 4.0]]), jnp.array([[5.0], [7.0]]))
    y, cache = layer.forward(params, jnp.array([[2.0]]))  # g = 4, −2 and u = 6, 8
    np.testing.assert_array_equal(y, [[4 * 6 * 5]])
    grads, dx = layer.backward(params, cache, jnp.array([[10.0]]))  # da = 50, 70
    np.testing.assert_array_equal(grads.wd, [[240], [0]])
    np.testing.assert_array_equal(grads.wg, [[2 * 50 * 6, 0]])
    np.testing.assert_array_equal(grads.wu, [[2 * 50 * 4, 0]])
    np.testing.assert_array_equal(dx, [[2 * 300 + 3 * 200]])


def test_with_the_identity_it_is_quadratic_and_wg_and_wu_may_change_places():
    layer = GLU(3, 4, fnn.Identity())
    params, x = layer.init(KEY), noise(5, 3)
    y, _ = layer.forward(params, x)
    np.testing.assert_allclose(layer.forward(params, -2 * x)[0], 4 * y, rtol=1e-12)
    exchanged = GLUParams(params.wu, params.wg, params.wd)
    np.testing.assert_allclose(layer.forward(exchanged, x)[0], y, rtol=1e-12)


def test_a_sigmoid_without_weights_opens_half():
    layer = GLU(3, 4, fnn.Sigmoid())
    params, x = layer.init(KEY), noise(5, 3)
    params = params._replace(wg=jnp.zeros((3, 4)))
    y, cache = layer.forward(params, x)
    np.testing.assert_allclose(y, x @ params.wu @ params.wd / 2, rtol=1e-12)
    grads, _ = layer.backward(params, cache, noise(5, 3, seed=2))
    assert np.abs(grads.wg).min() > 0


def test_weights_start_at_their_own_draws_for_their_own_sizes():
    params = GLU(3, 4).init(KEY)
    assert [p.shape for p in params] == [(3, 4), (3, 4), (4, 3)]
    assert np.abs(params.wg - params.wu).min() > 0


def test_sums_over_many_places_are_not_rounded_to_half_precision():
    layer = GLU(1, 2, fnn.Identity())
    params = jax.tree.map(lambda p: jnp.ones_like(p, jnp.bfloat16), layer.init(KEY))
    x = jnp.ones((3, 1001, 1), jnp.bfloat16)
    grads, dx = layer.backward(params, layer.forward(params, x)[1], x)
    assert {g.dtype for g in grads} == {jnp.dtype("bfloat16")}
    assert dx.dtype == jnp.bfloat16
    exact = jnp.asarray(3003.0, jnp.bfloat16)
    assert all((g == exact).all() for g in grads)


def test_errors():
    layer = GLU(3, 4)
    params = layer.init(KEY)
    with pytest.raises(ValueError, match=r"GLU\(n=3, .*x must have shape \[B, ..., 3\], got"):
        layer.forward(params, noise(5, 4))
    with pytest.raises(ValueError, match=r"params.wd must have shape \[4, 3\], got \[3, 4\]"):
        layer.forward(params._replace(wd=params.wg), noise(5, 3))
    with pytest.raises(ValueError, match="n and n_hidden must be at least 1"):
        GLU(3, 0)
    with pytest.raises(TypeError, match=r"GLU takes layers, got .*; build it: SiLU\(\.\.\.\)"):
        GLU(3, 4, fnn.SiLU)
    with pytest.raises(TypeError, match=r"GLU's activation, Dense\(.*params must have a field w"):
        GLU(3, 4, fnn.Dense(4, 4)).forward(params, noise(5, 3))
