"""Rules of lineax: solutions of linear equations by every solver, norms without NaN."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import lineax as lx  # pyright: ignore[reportMissingImports]
import numpy as np

from benchmarks.conformance.case import Case, normal, positive

A, B, SPD = normal(1, 3, 3) + 2 * np.eye(3), normal(2, 3), positive(3, 3)
TALL, LONG = normal(4, 5, 3), normal(5, 5)
STOPS = "an iteration that stops at a tolerance"


def solve(solver, change: Callable = lambda a: a, tags: object = ()) -> Callable:
    """The solution of a x = b as a function of both."""

    def f(a: jax.Array, b: jax.Array) -> jax.Array:
        return lx.linear_solve(lx.MatrixLinearOperator(change(a), tags), b, solver).value

    return f


def cases() -> list[Case]:
    """Square, symmetric, triangular, least squares; norms."""

    def sym(a: jax.Array) -> jax.Array:
        return (a + a.T) / 2

    tight = {"rtol": 1e-12, "atol": 1e-12}
    inverse = lambda a, b: jnp.linalg.inv(a) @ b  # noqa: E731
    positive_tag, lower = lx.positive_semidefinite_tag, lx.lower_triangular_tag
    return [
        Case("lineax.LU", solve(lx.LU()), (A, B), plain=inverse),
        Case("lineax.QR, square", solve(lx.QR()), (A, B), plain=inverse),
        Case("lineax.QR, tall", solve(lx.QR()), (TALL, LONG)),
        Case("lineax.QR, wide", solve(lx.QR()), (TALL.T.copy(), B)),
        Case("lineax.SVD", solve(lx.SVD()), (A, B)),
        Case("lineax.SVD, tall", solve(lx.SVD()), (TALL, LONG)),
        Case("lineax.AutoLinearSolver", solve(lx.AutoLinearSolver(well_posed=True)), (A, B)),
        Case("lineax.Cholesky", solve(lx.Cholesky(), sym, positive_tag), (SPD, B)),
        Case("lineax.Triangular", solve(lx.Triangular(), jnp.tril, lower), (A, B)),
        Case("lineax.Diagonal", diagonal, (B + 3.0, normal(6, 3))),
        Case("lineax.Tridiagonal", tridiagonal, (B + 4.0, B[:2], B[1:], normal(6, 3))),
        Case("lineax.CG", solve(lx.CG(**tight), sym, positive_tag), (SPD, B), inexact=STOPS),
        Case("lineax.GMRES", solve(lx.GMRES(**tight)), (A, B), inexact=STOPS),
        Case("lineax.BiCGStab", solve(lx.BiCGStab(**tight)), (A, B), inexact=STOPS),
        Case("lineax.Normal of Cholesky", solve(lx.Normal(lx.Cholesky())), (TALL, LONG)),
        Case("lineax.LSMR", solve(lx.LSMR(**tight)), (TALL, LONG), inexact=STOPS),
        Case("lineax.JacobianLinearOperator", jacobian, (B, normal(6, 3))),
        Case("lineax.internal.two_norm", norm("two_norm"), (B,)),
        Case("lineax.internal.two_norm at 0", norm("two_norm"), (0 * B,)),
        Case("lineax.internal.rms_norm", norm("rms_norm"), (B,)),
        Case("lineax.internal.max_norm", norm("max_norm"), (B,)),
    ]  # fmt: skip


def norm(name: str) -> Callable:
    """A norm of lineax.internal."""
    return getattr(lx.internal, name)


def diagonal(d: jax.Array, b: jax.Array) -> jax.Array:
    """A diagonal system."""
    return lx.linear_solve(lx.DiagonalLinearOperator(d), b, lx.Diagonal()).value


def tridiagonal(d: jax.Array, low: jax.Array, up: jax.Array, b: jax.Array) -> jax.Array:
    """A tridiagonal system."""
    operator = lx.TridiagonalLinearOperator(d, low, up)
    return lx.linear_solve(operator, b, lx.Tridiagonal()).value


def jacobian(x: jax.Array, b: jax.Array) -> jax.Array:
    """A system with the Jacobian of a function."""
    operator = lx.JacobianLinearOperator(lambda x, _: x**3 + 4 * x + jnp.sum(x), x)
    return lx.linear_solve(operator, b, lx.LU()).value
