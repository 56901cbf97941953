"""Rules of tensorflow-probability on JAX: matrices, distributions, differential equations."""

import jax
import jax.numpy as jnp
import numpy as np
from tensorflow_probability.substrates import jax as tfp  # pyright: ignore[reportMissingImports]
from tensorflow_probability.substrates.jax import distributions as tfd  # pyright: ignore[reportMissingImports]
from tensorflow_probability.substrates.jax.experimental.distributions import marginal_fns  # pyright: ignore[reportMissingImports]
from tensorflow_probability.substrates.jax.math.psd_kernels.internal import util  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, normal, positive, symmetric

A = positive(1, 3)
X, Q = np.array([0.3, 1.2, 2.5]), np.array([0.2, 0.5, 0.85])
DF = np.array([1.5, 3.0, 7.5])
STOPS = "an iteration or series that stops"


def cases() -> list[Case]:
    """Matrices, distributions, others."""
    return [*matrices(), *distributions(), *others()]


def matrices() -> list[Case]:
    """Quadratic forms with a symmetric positive definite matrix."""
    m = tfp.math

    def at(f, *args):
        return lambda a, *args: f((a + a.T) / 2, *args)

    return [
        Case("tfp.math.hpsd_logdet", at(m.hpsd_logdet), (A,)),
        Case("tfp.math.hpsd_logdet, on symmetric matrices", m.hpsd_logdet, (A,),
             tangent=symmetric),
        Case("tfp.math.hpsd_solve", at(m.hpsd_solve), (A, normal(2, 3, 2))),
        Case("tfp.math.hpsd_solvevec", at(m.hpsd_solvevec), (A, normal(2, 3))),
        Case("tfp.math.hpsd_quadratic_form_solve, one column", at(m.hpsd_quadratic_form_solve),
             (A, normal(2, 3, 1))),
        Case("tfp.math.hpsd_quadratic_form_solve, two columns", at(m.hpsd_quadratic_form_solve),
             (A, normal(2, 3, 2))),
        Case("tfp.math.hpsd_quadratic_form_solvevec", at(m.hpsd_quadratic_form_solvevec),
             (A, normal(2, 3))),
        Case("tfp.math.fill_triangular", m.fill_triangular, (normal(3, 6),)),
        Case("tfp.math.cholesky_concat",
             lambda c, x: m.cholesky_concat(c, x), (np.linalg.cholesky(positive(4, 2)),
             np.linalg.cholesky(A))),
        Case("tfp.experimental.distributions.marginal_fns.retrying_cholesky",
             lambda a: marginal_fns.retrying_cholesky((a + a.T) / 2)[0], (A,)),
    ]  # fmt: skip


def distributions() -> list[Case]:
    """Distribution functions, densities, and samples by implicit reparameterization."""
    sampled = "implicit reparameterization of a rejection sampler"
    one_key = {"seed": jax.random.key(0)}
    return [
        Case("tfp StudentT.cdf", lambda x, d: tfd.StudentT(d, 0.0, 1.0).cdf(x), (X, DF)),
        Case("tfp StudentT.quantile", lambda q, d: tfd.StudentT(d, 0.0, 1.0).quantile(q), (Q, DF),
             inexact=STOPS),
        Case("tfp VonMises.cdf", lambda x, c: tfd.VonMises(0.0, c).cdf(x), (X, DF), inexact=STOPS),
        Case("tfp VonMises.sample", lambda c: tfd.VonMises(0.0, c).sample(**one_key), (DF,),
             only_here=True, intended=sampled),
        Case("tfp Gamma.sample", lambda a, b: tfd.Gamma(a, b).sample(**one_key), (DF, X),
             only_here=True, intended=sampled),
        Case("tfp Beta.sample", lambda a, b: tfd.Beta(a, b).sample(**one_key), (DF, X),
             only_here=True, intended=sampled),
        Case("tfp InverseGaussian.sample", lambda a, b: tfd.InverseGaussian(a, b).sample(**one_key),
             (DF, X), only_here=True, intended=sampled),
        Case("tfp TwoPieceNormal.sample",
             lambda s, k: tfd.TwoPieceNormal(0.0, s, k).sample(**one_key), (X, DF), only_here=True,
             intended=sampled),
        Case("tfp TwoPieceNormal.log_prob",
             lambda x, s, k: tfd.TwoPieceNormal(0.1, s, k).log_prob(x), (X, X + 0.5, DF)),
        Case("tfp NoncentralChi2.log_prob",
             lambda x, d, n: tfd.NoncentralChi2(d, n).log_prob(x), (X, DF, X)),
        Case("tfp NoncentralChi2.cdf", lambda x, d, n: tfd.NoncentralChi2(d, n).cdf(x),
             (X, DF, X), inexact=STOPS),
        Case("tfp MixtureSameFamily.log_prob", mixture_density, (X, normal(6, 3))),
        Case("tfp MixtureSameFamily.sample, reparameterized", mixture_sample, (normal(6, 3),),
             only_here=True, intended="implicit reparameterization of a choice"),
        Case("tfp Kumaraswamy.entropy", lambda a, b: tfd.Kumaraswamy(a, b).entropy(), (DF, X)),
        Case("tfp GeneralizedNormal.cdf", lambda x, p: tfd.GeneralizedNormal(0.0, 1.0, p).cdf(x),
             (X, DF)),
        Case("tfp Gamma.quantile", lambda q, a: tfd.Gamma(a, 1.0).quantile(q), (Q, DF)),
        Case("tfp Beta.quantile", lambda q, a: tfd.Beta(a, 2.0).quantile(q), (Q, DF)),
        Case("tfp Poisson.cdf", lambda r: tfd.Poisson(r).cdf(jnp.array([0.0, 2.0, 3.0])), (DF,)),
    ]  # fmt: skip


def mixture(loc: jax.Array):
    """A mixture of normal distributions."""
    return tfd.MixtureSameFamily(
        tfd.Categorical(probs=jnp.array([0.2, 0.3, 0.5])), tfd.Normal(loc, 0.7), reparameterize=True
    )


def mixture_density(x: jax.Array, loc: jax.Array) -> jax.Array:
    """Its density."""
    return mixture(loc).log_prob(x)


def mixture_sample(loc: jax.Array) -> jax.Array:
    """Samples of one key."""
    return mixture(loc).sample(4, seed=jax.random.key(0))


def others() -> list[Case]:
    """Kernels, bijectors, differential equations, minimisers."""
    kernel = tfp.math.psd_kernels
    return [
        Case("tfp sqrt_with_finite_grads", util.sqrt_with_finite_grads, (X,)),
        Case("tfp sqrt_with_finite_grads at 0", util.sqrt_with_finite_grads,
             (np.array([0.0, 1.0]),)),
        Case("tfp MaternOneHalf", lambda x, y: kernel.MaternOneHalf(0.7, 1.3).apply(x, y),
             (normal(7, 3), normal(8, 3))),
        Case("tfp MaternThreeHalves", lambda x, y: kernel.MaternThreeHalves(0.7, 1.3).apply(x, y),
             (normal(7, 3), normal(8, 3))),
        Case("tfp MaternOneHalf, x = y", lambda x: kernel.MaternOneHalf(0.7, 1.3).matrix(x, x),
             (normal(9, 3, 2),)),
        Case("tfp Sigmoid bijector", lambda x: tfp.bijectors.Sigmoid(-1.0, 2.0).forward(x), (X,)),
        Case("tfp ScalarFunctionWithInferredInverse", inferred, (X,),
             inexact=STOPS),
        Case("tfp.math.ode.DormandPrince", ode, (np.array([1.0, 0.5]),),
             inexact=STOPS),
    ]  # fmt: skip


def inferred(y: jax.Array) -> jax.Array:
    """The inverse of x³ + x, found by a root search."""
    kind = tfp.experimental.bijectors.ScalarFunctionWithInferredInverse
    return kind(lambda x: x**3 + x, max_iterations=80).inverse(y)


def ode(y: jax.Array) -> jax.Array:
    """A pendulum, by the adjoint method."""
    solver = tfp.math.ode.DormandPrince(rtol=1e-9, atol=1e-9)
    return solver.solve(
        lambda t, y: jnp.stack([y[1], -jnp.sin(y[0])]), 0.0, y, jnp.array([0.5, 1.0])
    ).states
