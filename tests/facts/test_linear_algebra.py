"""Facts of linear algebra that the texts build on."""

import jax
import jax.numpy as jnp
import numpy as np
from contract import noise

import fnn
from fnn.optim.clip_by_norm import global_norm

EXACT = {"rtol": 1e-10, "atol": 1e-12}
X, Y, Z = (np.asarray(noise(5, seed=s)) for s in (1, 2, 3))


def test_the_inner_product_is_symmetric_and_bilinear_with_gradient_y():
    product = X @ Y
    np.testing.assert_allclose(product, sum(X[i] * Y[i] for i in range(5)), **EXACT)
    np.testing.assert_allclose(X[None, :] @ Y[None, :].T, [[product]], **EXACT)  # row times column
    np.testing.assert_allclose(Y @ X, product, **EXACT)
    np.testing.assert_allclose((2 * X - 3 * Z) @ Y, 2 * product - 3 * (Z @ Y), **EXACT)
    np.testing.assert_allclose(jax.grad(jnp.dot)(jnp.asarray(X), jnp.asarray(Y)), Y, **EXACT)


def test_a_matrix_vector_product_by_its_sums_and_its_jacobian():
    w = np.asarray(noise(5, 3))
    by_sums = [sum(X[i] * w[i, j] for i in range(5)) for j in range(3)]
    params = fnn.DenseParams(jnp.asarray(w), jnp.zeros(3))

    def product(x):
        return fnn.Dense(5, 3).forward(params, x[None])[0][0]

    np.testing.assert_allclose(jax.jit(product)(X), by_sums, **EXACT)
    np.testing.assert_allclose(w.T @ X, by_sums, **EXACT)  # the column form, W^T in place of W
    np.testing.assert_allclose(jax.jit(jax.jacobian(product))(X), w.T, **EXACT)


def test_the_euclidean_norm_its_gradient_and_its_inequalities():
    def norm(x):
        return sum(x[i] ** 2 for i in range(5)) ** 0.5

    gradient = jax.jit(jax.grad(lambda x: jnp.sqrt((x**2).sum())))(X)
    np.testing.assert_allclose(gradient, X / norm(X), **EXACT)
    for ours in (np.linalg.norm(X), global_norm({"x": jnp.asarray(X)})):
        np.testing.assert_allclose(ours, norm(X), **EXACT)
    np.testing.assert_allclose(norm(-3 * X), 3 * norm(X), **EXACT)
    assert norm(X + Y) < norm(X) + norm(Y)
    assert abs(X @ Y) < norm(X) * norm(Y)
    np.testing.assert_allclose(abs(X @ (-2 * X)), norm(X) * norm(2 * X), **EXACT)


def test_the_1_norm_its_subgradient_and_its_bounds():
    def norm(x):
        return sum(abs(x[i]) for i in range(5))

    gradient = jax.jit(jax.grad(lambda x: abs(x).sum()))(X)
    np.testing.assert_allclose(gradient, np.sign(X), **EXACT)
    for ours in (np.linalg.norm(X, 1), fnn.L1(1.0).value(fnn.UnembedParams(jnp.asarray(X)))):
        np.testing.assert_allclose(ours, norm(X), **EXACT)
    for at_zero in (-1.0, 0.0, 0.7, 1.0):  # every slope in [−1, 1] stays below at a zero
        x, g = np.array([0, *X[1:]]), np.array([at_zero, *np.sign(X[1:])])
        assert all(norm(x + d) >= norm(x) + g @ d - 1e-12 for d in (Y, -Y, Z, -Z))
    for x in (X, Y, Z):
        assert np.linalg.norm(x) <= norm(x) <= np.sqrt(5) * np.linalg.norm(x)
    np.testing.assert_allclose(norm(np.eye(5)[2]), 1)  # the left bound is attained
    np.testing.assert_allclose(norm(np.ones(5)), np.sqrt(5) * np.linalg.norm(np.ones(5)))


def test_the_frobenius_norm_as_sum_trace_and_singular_values():
    w = np.asarray(noise(4, 3))
    squared = sum(w[i, j] ** 2 for i in range(4) for j in range(3))
    np.testing.assert_allclose(np.trace(w.T @ w), squared, **EXACT)
    np.testing.assert_allclose((np.linalg.svd(w)[1] ** 2).sum(), squared, **EXACT)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda w: (w**2).sum()))(w), 2 * w, **EXACT)
    ours = fnn.L2(2.0).value(fnn.UnembedParams(jnp.asarray(w)))
    np.testing.assert_allclose(ours, squared, **EXACT)


def test_eigenpairs_solve_their_equation_and_give_trace_and_determinant():
    a = np.array([[2.0, 1], [1, 2]])
    for value, vector in ((3, [1, 1]), (1, [1, -1])):  # by hand
        np.testing.assert_array_equal(a @ vector, value * np.array(vector))
        assert np.isclose(np.linalg.eigvals(a), value).sum() == 1
    a = np.asarray(noise(4, 4))
    values, vectors = np.linalg.eig(a)
    for k in range(4):
        v = vectors[:, k]
        assert np.linalg.norm(v) > 0.5
        np.testing.assert_allclose(a @ v, values[k] * v, **EXACT)
    np.testing.assert_allclose(values.sum(), np.trace(a), **EXACT)
    np.testing.assert_allclose(values.prod(), np.linalg.det(a), **EXACT)


def test_the_singular_value_decomposition_rebuilds_its_matrix():
    a = np.asarray(noise(4, 3))
    u, s, vt = np.linalg.svd(a, full_matrices=False)
    np.testing.assert_allclose(u @ np.diag(s) @ vt, a, **EXACT)
    np.testing.assert_allclose(u.T @ u, np.eye(3), **EXACT)
    np.testing.assert_allclose(vt @ vt.T, np.eye(3), **EXACT)
    assert (s >= 0).all()
    np.testing.assert_allclose(np.sort(s**2), np.linalg.eigvalsh(a.T @ a), **EXACT)
    for k in range(3):
        np.testing.assert_allclose(a @ vt[k], s[k] * u[:, k], **EXACT)
