"""Rules of jax.numpy.linalg, jax.scipy.linalg and jax.lax.linalg."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as scipy
import numpy as np
from jax import lax

from benchmarks.conformance.case import Case, normal, positive, symmetric

A, B = normal(1, 4, 4) + 2 * np.eye(4), normal(2, 4, 2)
TALL, WIDE = normal(3, 5, 3), normal(4, 3, 5)
SPD = positive(5, 4)
linalg = jnp.linalg


def cases() -> list[Case]:
    """Decompositions, solutions, and functions of matrices."""
    return [*decompositions(), *solutions(), *functions()]


def decompositions() -> list[Case]:
    """Cholesky, QR, LU, eigenvalues, singular values."""
    return [
        Case("jax.numpy.linalg.cholesky", linalg.cholesky, (SPD,)),
        Case("jax.scipy.linalg.cholesky, lower", lower_cholesky, (SPD,), tangent=symmetric),
        Case("jax.numpy.linalg.qr, tall", linalg.qr, (TALL,)),
        Case("jax.numpy.linalg.qr, square", linalg.qr, (A,)),
        Case("jax.numpy.linalg.qr, wide", lambda a: linalg.qr(a)[1], (WIDE,)),
        Case("jax.numpy.linalg.eigh", eigh_free, (SPD,)),
        Case("jax.numpy.linalg.eigvalsh", linalg.eigvalsh, (SPD,)),
        Case("jax.lax.linalg.eigh, not symmetrized", raw_eigh, (SPD,), tangent=symmetric),
        Case("jax.numpy.linalg.svd, values", lambda a: linalg.svd(a, compute_uv=False), (TALL,)),
        Case("jax.numpy.linalg.svd, projections", svd_free, (TALL,)),
        Case("jax.numpy.linalg.svd, values, wide", lambda a: linalg.svd(a, full_matrices=False)[1],
             (WIDE,)),
        Case("jax.numpy.linalg.eigvals, real part", lambda a: linalg.eigvals(a).real, (A,)),
        Case("jax.scipy.linalg.lu", lambda a: scipy.lu(a)[1:], (A,)),
        Case("jax.lax.linalg.lu", lambda a: lax.linalg.lu(a)[0], (A,)),
        Case("jax.lax.linalg.lu with pivots", lax.linalg.lu, (A,)),
    ]  # fmt: skip


def solutions() -> list[Case]:
    """Systems of equations."""
    lower = np.tril(A) + 2 * np.eye(4)
    d = np.array([3.0, 4.0, 5.0, 3.5])
    return [
        Case("jax.numpy.linalg.solve", linalg.solve, (A, B), plain=lambda a, b: linalg.inv(a) @ b),
        Case("jax.numpy.linalg.solve, batch", linalg.solve,
             (np.stack([A, A.T]), normal(7, 2, 4, 1))),
        Case("jax.numpy.linalg.inv", linalg.inv, (A,)),
        Case("jax.numpy.linalg.lstsq", lambda a, b: linalg.lstsq(a, b)[0], (TALL, normal(8, 5))),
        Case("jax.numpy.linalg.pinv, tall", linalg.pinv, (TALL,)),
        Case("jax.numpy.linalg.pinv, wide", linalg.pinv, (WIDE,)),
        Case("jax.scipy.linalg.solve_triangular",
             lambda a, b: scipy.solve_triangular(a, b, lower=True), (lower, B)),
        Case("jax.scipy.linalg.solve_triangular, trans",
             lambda a, b: scipy.solve_triangular(a, b, trans=1), (A, B)),
        Case("jax.lax.linalg.triangular_solve, unit diagonal", unit_solve, (lower, B)),
        Case("jax.scipy.linalg.cho_solve",
             lambda a, b: scipy.cho_solve((linalg.cholesky(a), True), b), (SPD, B)),
        Case("jax.scipy.linalg.lu_solve",
             lambda a, b: scipy.lu_solve(scipy.lu_factor(a), b), (A, B)),
        Case("jax.scipy.linalg.solve, pos", lambda a, b: scipy.solve(a, b, assume_a="pos"),
             (SPD, B), tangent=symmetric),
        Case("jax.lax.linalg.tridiagonal_solve", lax.linalg.tridiagonal_solve,
             (np.array([0.0, 1.0, -0.5, 0.3]), d, np.array([0.4, 0.2, 1.0, 0.0]), B)),
    ]  # fmt: skip


def functions() -> list[Case]:
    """Determinants, norms, and powers of matrices."""
    return [
        Case("jax.numpy.linalg.det", linalg.det, (A,)),
        Case("jax.numpy.linalg.det, 3 × 3", linalg.det, (normal(9, 3, 3),)),
        Case("jax.numpy.linalg.det, rank n − 1", linalg.det, (np.diag([1.0, 2.0, 0.0, 3.0]),),
             kinds=("one entry",)),
        Case("jax.numpy.linalg.slogdet", lambda a: linalg.slogdet(a)[1], (A,)),
        Case("jax.numpy.linalg.norm", linalg.norm, (A,)),
        Case("jax.numpy.linalg.norm, nuclear", lambda a: linalg.norm(a, "nuc"), (TALL,)),
        Case("jax.numpy.linalg.norm, spectral", lambda a: linalg.norm(a, 2), (TALL,)),
        Case("jax.numpy.linalg.norm, ord 3", lambda a: linalg.norm(a, 3), (B[:, 0],)),
        Case("jax.numpy.linalg.matrix_power, −2", lambda a: linalg.matrix_power(a, -2), (A,)),
        Case("jax.numpy.linalg.cond", linalg.cond, (A,)),
        Case("jax.scipy.linalg.expm", scipy.expm, (A / 3,)),
        Case("jax.scipy.linalg.expm_frechet",
             lambda a, e: scipy.expm_frechet(a, e, compute_expm=False), (A / 3, A.T / 3)),
    ]  # fmt: skip


def lower_cholesky(a: jax.Array) -> jax.Array:
    """Cholesky of a matrix that is taken to be symmetric."""
    return lax.linalg.cholesky(a, symmetrize_input=False)


def raw_eigh(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, and the projection on the largest, of a matrix taken to be symmetric."""
    v, w = lax.linalg.eigh(a, symmetrize_input=False)
    return w, jnp.outer(v[:, -1], v[:, -1])


def eigh_free(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, and the projection on two eigenvectors, which has no free sign."""
    w, v = linalg.eigh(a)
    return w, v[:, :2] @ v[:, :2].T


def svd_free(a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Projections on the first singular vectors, which have no free sign."""
    u, _, vt = linalg.svd(a, full_matrices=False)
    return u[:, :1] @ u[:, :1].T, vt[:1].T @ vt[:1]


def unit_solve(a: jax.Array, b: jax.Array) -> jax.Array:
    """A triangular system whose diagonal counts as ones."""
    return lax.linalg.triangular_solve(a, b, left_side=True, lower=True, unit_diagonal=True)
