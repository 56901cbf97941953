"""Rules of ott-jax: matrix roots, softmin, regularized costs, Sinkhorn's fixed point."""

import jax
import jax.numpy as jnp
import numpy as np
from ott.geometry import costs, pointcloud, regularizers  # pyright: ignore[reportMissingImports]
from ott.math import matrix_square_root, utils  # pyright: ignore[reportMissingImports]
from ott.problems.linear import linear_problem  # pyright: ignore[reportMissingImports]
from ott.solvers.linear import semidiscrete, sinkhorn  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal, positive, symmetric

X, Y = normal(1, 4), normal(2, 4)
M = normal(3, 3, 4)
A = positive(4, 3)
STOPS = "an iteration that stops at a tolerance"


def cases() -> list[Case]:
    """Functions of numbers, of matrices, transport."""
    return [*numbers(), *matrices(), *of_costs(), *transport()]


def numbers() -> list[Case]:
    """ott.math.utils."""
    u = utils
    return [
        Case("ott.math.utils.softmin", lambda x: u.softmin(x, 0.7, -1), (M,)),
        Case("ott.math.utils.softmin, γ too", lambda x, g: u.softmin(x, g, -1),
             (M, np.array(0.7)), only_here=True,
             plain=lambda x, g: -g * jax.nn.logsumexp(-x / g, -1), kinds=("zero",)),
        Case("ott.math.utils.logsumexp", lambda x: u.logsumexp(x, 1), (M,)),
        Case("ott.math.utils.logsumexp, b", lambda x, b: u.logsumexp(x, 1, b=b),
             (M, np.abs(normal(5, 3, 4)))),
        Case("ott.math.utils.logsumexp, signs", signed, (M,)),
        Case("ott.math.utils.norm", u.norm, (X,)),
        Case("ott.math.utils.norm at 0", u.norm, (0 * X,)),
        Case("ott.math.utils.norm, rows, one of them 0", lambda x: u.norm(x, axis=1),
             (np.stack([X, 0 * X]),)),
        Case("ott.math.utils.lambertw", u.lambertw, (np.array([0.3, 1.2, 5.0]),), only_here=True),
        Case("ott.math.utils.safe_log", u.safe_log, (np.abs(X),)),
        Case("ott.math.utils.gen_kl", u.gen_kl, (np.abs(X), np.abs(Y)), only_here=True),
        Case("ott.math.utils.gen_ent", u.gen_ent, (np.abs(X),), only_here=True),
    ]  # fmt: skip


def signed(x: jax.Array) -> jax.Array:
    """A logsumexp with a negative weight."""
    b = jnp.array([[1.0, -0.5, 2.0, 1.0]]) * jnp.ones((3, 1))
    return utils.logsumexp(x, 1, b=b, return_sign=True)[0]


def matrices() -> list[Case]:
    """Matrix roots by Higham's iteration; Gaussians."""
    m, options = matrix_square_root, (1e-12, 0, 5, 200)

    def sym(a: jax.Array) -> jax.Array:
        return (a + a.T) / 2

    bures = costs.Bures(3)
    mean = np.concatenate([X[:3], A.ravel()])
    return [
        Case("ott.math.sqrtm, root", lambda a: m.sqrtm(sym(a), *options)[0], (A,), only_here=True,
             inexact=STOPS),
        Case("ott.math.sqrtm, inverse root", lambda a: m.sqrtm(sym(a), *options)[1], (A,),
             only_here=True, inexact=STOPS),
        Case("ott.math.sqrtm_only", lambda a: m.sqrtm_only(sym(a), *options), (A,), only_here=True,
             inexact=STOPS),
        Case("ott.math.sqrtm_only, on symmetric matrices", lambda a: m.sqrtm_only(a, *options),
             (A,), only_here=True, tangent=symmetric, inexact=STOPS),
        Case("ott.math.inv_sqrtm_only", lambda a: m.inv_sqrtm_only(sym(a), *options), (A,),
             only_here=True, inexact=STOPS),
        Case("ott.geometry.costs.Bures", lambda x, y: bures(x, y),
             (mean, np.concatenate([Y[:3], positive(6, 3).ravel()])), only_here=True,
             inexact=STOPS),
    ]  # fmt: skip


def of_costs() -> list[Case]:
    """Costs and their Legendre transforms."""
    r = regularizers

    def legendre(regularizer, **options):
        return costs.RegTICost(regularizer, **options).h_legendre

    return [
        Case("ott.geometry.costs.RegTICost.h_legendre, λ 1 ρ 1", legendre(r.L1()), (X,)),
        Case("ott.geometry.costs.RegTICost.h_legendre, λ 0.3", legendre(r.L1(), lam=0.3), (X,)),
        Case("ott.geometry.costs.RegTICost.h_legendre, ρ 2", legendre(r.L1(), rho=2.0), (X,),
             kinds=("one entry",)),
        Case("ott.geometry.costs.RegTICost.h_legendre, squared L2, λ 0.3 ρ 2",
             legendre(r.SqL2(), lam=0.3, rho=2.0), (X,)),
        Case("ott.geometry.costs.RegTICost.h", costs.RegTICost(r.L1()).h, (X,)),
        Case("ott.geometry.costs.Euclidean", costs.Euclidean(), (X, Y)),
        Case("ott.geometry.costs.Euclidean, x = y", costs.Euclidean(), (X, X)),
        Case("ott.geometry.costs.PNormP.h_legendre", costs.PNormP(1.5).h_legendre, (X,)),
        Case("ott.geometry.costs.Cosine", costs.Cosine(), (X, Y)),
        Case("ott.geometry.costs.ElasticL1 by RegTICost, h_transform", transformed, (X,)),
        Case("ott.geometry.costs.SoftDTW", costs.SoftDTW(gamma=0.7), (X, Y)),
    ]  # fmt: skip


def transformed(x: jax.Array) -> jax.Array:
    """The h-transform of a concave quadratic function."""
    cost = costs.RegTICost(regularizers.L1(), lam=0.3)
    return cost.h_transform(lambda z: -0.1 * jnp.sum(z**2))(x)


def transport() -> list[Case]:
    """Sinkhorn's algorithm, differentiated at its fixed point, and what is built on it."""
    x, y = normal(7, 5, 2), normal(8, 4, 2)

    def problem(x: jax.Array, y: jax.Array):
        return linear_problem.LinearProblem(pointcloud.PointCloud(x, y, epsilon=0.5))

    solver = sinkhorn.Sinkhorn(threshold=1e-9, max_iterations=2000)

    def semi(g: jax.Array) -> jax.Array:
        return semidiscrete._semidiscrete_loss(g, problem(jnp.asarray(x), jnp.asarray(y)))

    return [
        Case("ott Sinkhorn, cost", lambda x, y: solver(problem(x, y)).reg_ot_cost, (x, y),
             only_here=True, inexact=STOPS),
        Case("ott Sinkhorn, potentials", lambda x: solver(problem(x, jnp.asarray(y))).matrix, (x,),
             only_here=True, inexact=STOPS),
        Case("ott semidiscrete loss", semi, (Y,), only_here=True),
    ]  # fmt: skip
