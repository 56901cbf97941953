"""Rules of optimistix: roots, fixed points and minima, differentiated at the solution."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal

A, START = np.array([1.7, -0.4, 0.9]), np.zeros(3)
STOPS = "an iteration that stops at a tolerance"
TIGHT = {"rtol": 1e-10, "atol": 1e-10}


def root(x: jax.Array, a: jax.Array) -> jax.Array:
    """Zero at the solution."""
    return x**3 + x + 0.1 * jnp.sum(x) - a


def residual(x: jax.Array, a: jax.Array) -> jax.Array:
    """Small at the solution."""
    return jnp.concatenate([root(x, a), 0.3 * x])


def cost(x: jax.Array, a: jax.Array) -> jax.Array:
    """Least at the solution."""
    return jnp.sum(residual(x, a) ** 2)


def solution(kind: Callable, f: Callable, solver, **options) -> Callable:
    """The solution as a function of a."""
    return lambda a: kind(f, solver, jnp.zeros(3), a, max_steps=2000, **options).value


def cases() -> list[Case]:
    """By the kind of problem."""

    def halved(a: jax.Array) -> jax.Array:
        solver = optx.Bisection(**TIGHT)
        return optx.root_find(
            lambda x, a: x**3 + x - a, solver, jnp.array(0.0), a,
            options={"lower": -5.0, "upper": 5.0}).value  # fmt: skip

    def through(a: jax.Array) -> jax.Array:
        adjoint = optx.RecursiveCheckpointAdjoint()
        return optx.root_find(root, optx.Newton(**TIGHT), jnp.zeros(3), a, max_steps=30,
                              adjoint=adjoint).value  # fmt: skip

    def fixed(x: jax.Array, a: jax.Array) -> jax.Array:
        return 0.3 * jnp.cos(x) + 0.1 * a

    kinds = [
        ("root_find, Newton", solution(optx.root_find, root, optx.Newton(**TIGHT)), (A,)),
        ("root_find, Bisection", halved, (np.array(1.7),)),
        ("root_find, Newton, checkpointed", through, (A,)),
        ("fixed_point", solution(optx.fixed_point, fixed, optx.FixedPointIteration(**TIGHT)), (A,)),
        ("least_squares, LevenbergMarquardt",
         solution(optx.least_squares, residual, optx.LevenbergMarquardt(**TIGHT)), (A,)),
        ("least_squares, GaussNewton",
         solution(optx.least_squares, residual, optx.GaussNewton(**TIGHT)), (A,)),
        ("least_squares, Dogleg",
         solution(optx.least_squares, residual, optx.Dogleg(**TIGHT)), (A,)),
        ("minimise, BFGS", solution(optx.minimise, cost, optx.BFGS(**TIGHT)), (A,)),
        ("minimise, NonlinearCG", solution(optx.minimise, cost, optx.NonlinearCG(**TIGHT)), (A,)),
    ]  # fmt: skip
    found = [Case(f"optimistix.{n}", f, args, inexact=STOPS) for n, f, args in kinds]
    norms = [Case("optimistix.rms_norm", optx.rms_norm, (normal(1, 4),)),
             Case("optimistix.two_norm at 0", optx.two_norm, (START,)),
             Case("optimistix.max_norm", optx.max_norm, (normal(1, 4),))]  # fmt: skip
    return found + norms
