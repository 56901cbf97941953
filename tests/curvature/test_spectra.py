"""Tests of fnn.curvature.spectra."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from curved import dense

import fnn
from fnn.curvature import Density, hessian_product, spectral_density, top_eigenvalues, trace
from fnn.curvature.spectra import free, whole_tree

KEY = jax.random.key(0)
LIKE = {"a": jnp.zeros((2, 3)), "b": jnp.zeros(3)}
HALF = noise(9, 9)
A = HALF + HALF.T


def times(a):
    def product(v):
        w = a @ jnp.concatenate([v["a"].reshape(-1), v["b"]])
        return {"a": w[:6].reshape(2, 3), "b": w[6:]}

    return product


@jax.jit
def run(a, key):
    product = times(a)
    return (
        top_eigenvalues(product, LIKE, 3, key=key, steps=9),
        spectral_density(product, LIKE, key=key, steps=9, starts=400),
        trace(product, LIKE, key=key, samples=400),
    )


@jax.jit
def other(a, key):
    product = times(a)
    return (
        top_eigenvalues(product, LIKE, 2, key=key, steps=9, which="smallest"),
        top_eigenvalues(product, LIKE, 1, key=key, steps=5),
    )


def test_eigenvalues_density_and_trace_are_those_of_the_matrix():
    true = np.linalg.eigvalsh(A)
    top, density, found = run(A, KEY)
    np.testing.assert_allclose(top.values, true[::-1][:3], rtol=1e-10)
    v = vectors(top)
    np.testing.assert_allclose(v @ A, top.values[:, None] * v, atol=1e-9)
    np.testing.assert_allclose(v @ v.T, np.eye(3), atol=1e-12)
    assert abs(found.value - true.sum()) < 5 * found.error
    assert 0.2 < found.error / (2 * (A**2).sum() - 2 * (jnp.diag(A) ** 2).sum()) ** 0.5 * 20 < 5
    np.testing.assert_allclose(density.weights.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(density.mean(jnp.square), (true**2).mean(), rtol=0.1)
    grid = jnp.linspace(-20, 20, 201)
    bells = np.exp(-(((np.array(grid)[:, None] - true) / 1.5) ** 2) / 2).mean(1)
    bells /= 1.5 * (2 * np.pi) ** 0.5
    np.testing.assert_allclose(density.at(grid, 1.5), bells, atol=0.15 * bells.max())


def vectors(found):
    return np.concatenate([found.vectors["a"].reshape(-1, 6), found.vectors["b"]], 1)


@pytest.mark.slow
def test_the_smallest_and_the_residual_of_few_steps():
    true = np.linalg.eigvalsh(A)
    low, rough = other(A, KEY)
    np.testing.assert_allclose(low.values, true[:2], rtol=1e-10)
    (w,) = vectors(rough)
    left = np.linalg.norm(A @ w - rough.values * w)
    np.testing.assert_allclose(left, rough.residuals[0], rtol=1e-8)
    assert abs(true - float(rough.values[0])).min() < rough.residuals[0]


def test_where_the_krylov_space_ends_a_new_direction_is_drawn():
    a = jnp.diag(jnp.array([3.0, 3, 3, 3, 3, 3, 1, 1, 0]))
    top, density, found = run(a, KEY)
    np.testing.assert_allclose(top.values, [3, 3, 3], atol=1e-12)
    np.testing.assert_allclose(found.value, 20, rtol=1e-12)  # a diagonal matrix, whatever z is
    np.testing.assert_allclose(density.mean(lambda t: t > 2), 6 / 9, atol=0.05)
    v = vectors(run(jnp.zeros((9, 9)), KEY)[0])  # which makes 0 of the first vector
    np.testing.assert_allclose(v @ v.T, np.eye(3), atol=1e-12)


def test_by_hand_two_steps():
    nodes, weights = jnp.array([[1.0, 3.0]]), jnp.array([[0.25, 0.75]])
    density = Density(nodes, weights)
    np.testing.assert_allclose(density.mean(lambda t: t), 2.5)
    bell = [np.exp(-((2 - a) ** 2) / 2 / 0.25) / (0.5 * (2 * np.pi) ** 0.5) for a in (1, 3)]
    np.testing.assert_allclose(density.at(2.0, 0.5), 0.25 * bell[0] + 0.75 * bell[1], rtol=1e-12)


@pytest.mark.slow
def test_of_a_net_they_are_those_of_jaxs_hessian():
    net, loss = fnn.mlp([3, 4, 4], fnn.Tanh()), fnn.SoftmaxCrossEntropy()
    params, x, target = net.init(KEY), noise(5, 3), jnp.array([0, 1, 3, 2, 1])

    @jax.jit
    def run(params, key):
        product = functools.partial(hessian_product, net, loss, params, x, target)
        top = top_eigenvalues(product, params, 3, key=key, steps=30)
        return dense(product, params), top, trace(product, params, key=key, samples=300)

    def value(p):
        return loss.forward(net.forward(p, x)[0], target)[0].mean()

    start, tree = jax.flatten_util.ravel_pytree(params)
    matrix, top, found = run(params, KEY)
    want = jax.jit(jax.hessian(lambda p: value(tree(p))))(start)
    np.testing.assert_allclose(matrix, want, atol=1e-12)
    np.testing.assert_allclose(top.values, np.linalg.eigvalsh(want)[::-1][:3], rtol=1e-9)
    assert abs(found.value - jnp.trace(want)) < 5 * found.error


def test_errors():
    for f in (top_eigenvalues, spectral_density, trace):
        name = f.__name__
        with pytest.raises(TypeError, match=f"{name}: product must be a function"):
            f(A, LIKE, key=KEY)
        with pytest.raises(ValueError, match=rf"{name}: product\(v\).b must have shape \[3\]"):
            f(lambda v: {**v, "b": v["b"][:1]}, LIKE, key=KEY)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        top_eigenvalues(times(A), LIKE, key=KEY, steps=0)
    with pytest.raises(ValueError, match="k must be at least 1 and at most 4, got 5"):
        top_eigenvalues(times(A), LIKE, 5, key=KEY, steps=4)
    with pytest.raises(ValueError, match="which must be largest or smallest, got 'top'"):
        top_eigenvalues(times(A), LIKE, key=KEY, steps=4, which="top")
    with pytest.raises(ValueError, match="trace: samples must be at least 2, got 1"):
        trace(times(A), LIKE, key=KEY, samples=1)
    with pytest.raises(ValueError, match="Density: width must be in"):
        Density(jnp.ones((1, 1)), jnp.ones((1, 1))).at(0.0, 0.0)


def test_what_is_frozen_has_no_part_in_the_spectrum():
    net = fnn.Serial(fnn.Frozen(fnn.Dense(3, 2)), fnn.Tanh(), fnn.Dense(2, 3, bias=False))
    params, args = net.init(KEY), (noise(5, 3), jnp.arange(5) % 3)
    of = net, fnn.SoftmaxCrossEntropy(), params, *args
    product = functools.partial(hessian_product, *of, penalty=fnn.L2(1.0))  # none is 0 that learns

    @jax.jit
    def run(params):
        least = top_eigenvalues(product, params, 6, key=KEY, which="smallest")
        return dense(lambda v: product(whole_tree(params, v)), free(params)), least

    matrix, least = run(params)
    np.testing.assert_allclose(least.values, np.linalg.eigvalsh(matrix[-6:, -6:]), rtol=1e-9)
    assert not any(a.any() for a in jax.tree.leaves(least.vectors[0]))
