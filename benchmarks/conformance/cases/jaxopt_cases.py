"""Rules of jaxopt: projections, isotonic regression, implicit differentiation of solvers."""

import jax
import jax.numpy as jnp
import jaxopt  # pyright: ignore[reportMissingImports]
import numpy as np
from jaxopt import isotonic, loss, perturbations, projection, prox  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal, positive

X, Y = normal(1, 5), normal(2, 5)
A, B = normal(3, 6, 3), normal(4, 6)
STOPS = "a solver that stops at a tolerance"


def cases() -> list[Case]:
    """Projections, proximal operators, losses, solvers."""
    return [*projections(), *of_losses(), *solvers()]


def projections() -> list[Case]:
    """Projections, proximal operators and isotonic regression."""
    p = projection
    return [
        Case("jaxopt.projection.projection_simplex", p.projection_simplex, (X,)),
        Case("jaxopt.projection.projection_simplex, value", p.projection_simplex,
             (X, np.array(1.3))),
        Case("jaxopt.projection.projection_sparse_simplex",
             lambda x: p.projection_sparse_simplex(x, 3), (X,)),
        Case("jaxopt.projection.projection_l1_ball", p.projection_l1_ball, (X,)),
        Case("jaxopt.projection.projection_l2_ball", p.projection_l2_ball, (2 * X,)),
        Case("jaxopt.projection.projection_l1_sphere", p.projection_l1_sphere, (X,)),
        Case("jaxopt.projection.projection_hyperplane",
             lambda x, a: p.projection_hyperplane(x, (a, 1.0)), (X, Y)),
        Case("jaxopt.projection.projection_box_section", box_section, (X,), inexact=STOPS),
        Case("jaxopt.projection.kl_projection_transport",
             lambda x: p.kl_projection_transport(x, (np.ones(3) / 3, np.ones(2) / 2)),
             (normal(5, 3, 2),), inexact=STOPS),
        Case("jaxopt.isotonic.isotonic_l2_pav", isotonic.isotonic_l2_pav, (X,), inexact="1e-8 in "
             "the rule's denominator"),
        Case("jaxopt.prox.prox_lasso", prox.prox_lasso, (X, np.full(5, 0.3))),
        Case("jaxopt.prox.prox_elastic_net",
             lambda x: prox.prox_elastic_net(x, (0.3, 0.5)), (X,)),
        Case("jaxopt.prox.prox_group_lasso", prox.prox_group_lasso, (X, np.array(0.4))),
        Case("jaxopt.prox.make_prox_from_projection",
             prox.make_prox_from_projection(p.projection_simplex), (X,)),
        Case("jaxopt.perturbations.make_perturbed_argmax", perturbed, (X,),
             intended="an estimator", only_here=True),
    ]  # fmt: skip


def box_section(x: jax.Array) -> jax.Array:
    """The projection on a box cut by a plane."""
    return projection.projection_box_section(x, (np.zeros(5), np.ones(5), np.ones(5), 2.0))


def of_losses() -> list[Case]:
    """Losses, some of them by a projection."""
    label = jnp.asarray(2)
    return [
        Case("jaxopt.loss.multiclass_logistic_loss",
             lambda x: loss.multiclass_logistic_loss(label, x), (X,)),
        Case("jaxopt.loss.multiclass_sparsemax_loss",
             lambda x: loss.multiclass_sparsemax_loss(label, x), (X,)),
        Case("jaxopt.loss.binary_sparsemax_loss",
             lambda x: jax.vmap(lambda a: loss.binary_sparsemax_loss(1, a))(x), (X,)),
        Case("jaxopt.loss.make_fenchel_young_loss",
             lambda x: loss.make_fenchel_young_loss(jax.nn.logsumexp)(jax.nn.one_hot(2, 5), x),
             (X,)),
        Case("jaxopt.loss.huber_loss", loss.huber_loss, (X, Y)),
    ]  # fmt: skip


def perturbed(x: jax.Array) -> jax.Array:
    """An argmax smoothed by noise of one key."""
    f = perturbations.make_perturbed_argmax(
        lambda x: jax.nn.one_hot(jnp.argmax(x), 5), num_samples=50, sigma=0.5
    )
    return f(x, jax.random.key(0))


def ridge(w: jax.Array, strength: jax.Array, b: jax.Array) -> jax.Array:
    """A quadratic loss with a penalty."""
    return 0.5 * jnp.mean((A @ w - b) ** 2) + 0.5 * strength * jnp.sum(w**2)


def solution(kind, **options):
    """Ridge regression by a solver, as a function of its strength and targets."""
    return lambda s, b: (
        kind(fun=ridge, tol=1e-10, maxiter=500, **options).run(jnp.zeros(3), s, b).params
    )


def fixed(b: jax.Array) -> jax.Array:
    """x = 0.3 cos x + b."""
    solver = jaxopt.FixedPointIteration(lambda x, b: 0.3 * jnp.cos(x) + b, tol=1e-12)
    return solver.run(jnp.zeros(5), b).params


def quadratic(q: jax.Array, c: jax.Array) -> jax.Array:
    """The smallest value of a quadratic function whose arguments sum to 1."""
    rows = (jnp.ones((1, 3)), jnp.ones(1))
    solver = jaxopt.EqualityConstrainedQP(tol=1e-12)
    return solver.run(params_obj=(q @ q.T + jnp.eye(3), c), params_eq=rows).params.primal


def bisected(a: jax.Array) -> jax.Array:
    """x³ + x = a."""
    solver = jaxopt.Bisection(
        lambda x, a: x**3 + x - a, -5.0, 5.0, tol=1e-12, maxiter=80, check_bracket=False
    )
    return solver.run(None, a).params


def lasso(s: jax.Array, b: jax.Array) -> jax.Array:
    """The lasso of strength s."""

    def f(w, b):
        return 0.5 * jnp.mean((A @ w - b) ** 2)

    solver = jaxopt.ProximalGradient(f, prox.prox_lasso, tol=1e-10, maxiter=500)
    return solver.run(jnp.zeros(3), s, b).params


def solvers() -> list[Case]:
    """The solution of a problem as a function of what it holds."""
    start, strength = np.zeros(3), np.array(0.7)
    return [
        Case("jaxopt.GradientDescent", solution(jaxopt.GradientDescent), (strength, B),
             inexact=STOPS),
        Case("jaxopt.LBFGS", solution(jaxopt.LBFGS), (strength, B), inexact=STOPS),
        Case("jaxopt.BFGS", solution(jaxopt.BFGS), (strength, B), inexact=STOPS),
        Case("jaxopt.ProximalGradient, lasso", lasso, (np.array(0.05), B), inexact=STOPS),
        Case("jaxopt.FixedPointIteration", fixed, (X,), inexact=STOPS),
        Case("jaxopt.EqualityConstrainedQP", quadratic, (positive(6, 3), start + 0.5),
             inexact=STOPS),
        Case("jaxopt.Bisection", bisected, (np.array(1.7),), inexact=STOPS),
    ]  # fmt: skip
