"""Rules of jax.scipy: special functions and distributions."""

import jax
import jax.numpy as jnp
import jax.scipy.special as special
import jax.scipy.stats as stats
import numpy as np
from jax import lax

from benchmarks.conformance.case import Case, guarded, normal, uniform

X = np.array([0.3, -0.7, 1.2, -2.5, 3.1])
P = np.array([0.4, 1.3, 2.7, 5.0, 0.05])
U = np.array([0.1, 0.35, 0.5, 0.72, 0.93])


def cases() -> list[Case]:
    """Functions of one argument, of several, and densities."""
    return [*of_one(), *of_more(), *of_stats()]


def of_one() -> list[Case]:
    """Functions of one argument."""
    names = [
        ("gammaln", P), ("digamma", P), ("erf", X), ("erfc", X), ("erfinv", 2 * U - 1),
        ("i0", X), ("i0e", X), ("i1", X), ("i1e", X), ("i0e", np.array([0.0, 1.0])),
        ("i1e", np.array([0.0, 1.0])), ("entr", P), ("ndtr", X), ("ndtri", U), ("log_ndtr", X),
        ("log_ndtr", np.array([-30.0, -8.0, 0.0, 8.0])), ("logit", U), ("expit", X),
        ("exp1", P), ("expi", X), ("gamma", P), ("gamma", np.array([-0.5, -1.7, 0.3])),
        ("spence", P), ("fresnel", X), ("log_softmax", X),
    ]  # fmt: skip
    seen: dict[str, int] = {}
    found = []
    for name, x in names:
        seen[name] = seen.get(name, 0) + 1
        again = f", {seen[name]}" if seen[name] > 1 else ""
        kinds = ("another function",) if name == "i0" else ()  # at 0
        full = f"jax.scipy.special.{name}{again}"
        found.append(Case(full, getattr(special, name), (x,), kinds=kinds))
    return [
        *found,
        Case("jax.scipy.special.gammaln, x < 0", special.gammaln, (np.array([-0.5, -1.7]),)),
        Case("jax.scipy.special.spence at 1", special.spence, (np.array([1.0, 2.0]),)),
        Case("jax.lax.bessel_i1e", lax.bessel_i1e, (X,)),
        Case("jax.lax.lgamma", lax.lgamma, (P,)),
    ]


def of_more() -> list[Case]:
    """Functions of several arguments."""
    s = special
    return [
        Case("jax.scipy.special.xlogy", s.xlogy, (P, U), plain=lambda x, y: x * jnp.log(y)),
        Case("jax.scipy.special.xlog1py", s.xlog1py, (P, U)),
        Case("jax.scipy.special.xlogy, x = 0", s.xlogy, (np.zeros(2), np.array([0.5, 2.0]))),
        Case("jax.scipy.special.rel_entr", s.rel_entr, (P, U)),
        Case("jax.scipy.special.kl_div", s.kl_div, (P, U)),
        Case("jax.scipy.special.betaln", s.betaln, (P, U)),
        Case("jax.scipy.special.beta", s.beta, (P, U)),
        Case("jax.scipy.special.betainc, x", lambda x: s.betainc(2.0, 3.0, x), (U,)),
        Case("jax.scipy.special.gammainc", s.gammainc, (P, P[::-1].copy())),
        Case("jax.scipy.special.gammaincc", s.gammaincc, (P, P[::-1].copy())),
        Case("jax.scipy.special.gammainc, x", lambda x: s.gammainc(2.0, x), (P,)),
        Case("jax.scipy.special.multigammaln", lambda a: s.multigammaln(a, 3), (P + 2,)),
        Case("jax.scipy.special.zeta", lambda q: s.zeta(3.0, q), (P,)),
        Case("jax.scipy.special.zeta, x too", s.zeta, (P + 1.5, P)),
        Case("jax.scipy.special.polygamma", lambda x: s.polygamma(2, x), (P,)),
        Case("jax.scipy.special.poch", guarded(s.poch, lambda z, m: z > 0), (P, U)),
        Case("jax.scipy.special.poch, z = 0", s.poch, (0 * P, U)),
        Case("jax.scipy.special.logsumexp, signs", with_signs, (normal(1, 3, 4),)),
        Case("jax.scipy.special.hyp1f1", s.hyp1f1, (U, P, X)),
        Case("jax.scipy.special.sph_harm_y", harmonics, (U, X)),
        Case("jax.scipy.special.boxcox", s.boxcox, (P, U)),
        Case("jax.scipy.special.boxcox, λ = 0", s.boxcox, (P, 0 * U)),
        Case("jax.random.gamma", gamma_sample, (P,), only_here=True,
             intended="implicit reparameterization of a rejection sampler"),
    ]  # fmt: skip


def with_signs(x: jax.Array) -> jax.Array:
    """A logsumexp with negative weights, its sign left out."""
    b = np.array([1.0, -0.5, 2.0, 1.0])
    return special.logsumexp(x, -1, b, return_sign=True)[0]


def harmonics(theta: jax.Array, phi: jax.Array) -> jax.Array:
    """The real part of spherical harmonics."""
    n, m = jnp.array([2]), jnp.array([1])
    return jnp.real(special.sph_harm_y(n, m, theta, phi, n_max=3))


def gamma_sample(alpha: jax.Array) -> jax.Array:
    """A sample of the gamma distribution, differentiated through its parameter."""
    return jax.random.gamma(jax.random.key(3), alpha)


def of_stats() -> list[Case]:
    """Densities and distribution functions."""
    return [
        Case("jax.scipy.stats.norm.logcdf", stats.norm.logcdf, (X,)),
        Case("jax.scipy.stats.norm.logsf", stats.norm.logsf, (X,)),
        Case("jax.scipy.stats.norm.ppf", stats.norm.ppf, (U,)),
        Case("jax.scipy.stats.gamma.logcdf", stats.gamma.logcdf, (P, P[::-1].copy())),
        Case("jax.scipy.stats.beta.logpdf", stats.beta.logpdf, (U, P, P[::-1].copy())),
        Case("jax.scipy.stats.t.logpdf", stats.t.logpdf, (X, P)),
        Case("jax.scipy.stats.dirichlet.logpdf", stats.dirichlet.logpdf,
             (np.array([0.2, 0.3, 0.5]), np.array([1.5, 2.0, 0.7]))),
        Case("jax.scipy.stats.vonmises.logpdf", stats.vonmises.logpdf, (X, P)),
        Case("jax.scipy.stats.nbinom.logpmf",
             lambda n, p: stats.nbinom.logpmf(np.array([1, 2, 0, 4, 3]), n, p), (P, U)),
        Case("jax.scipy.stats.truncnorm.logpdf",
             lambda x: stats.truncnorm.logpdf(x, -1.0, 2.0), (uniform(2, -0.9, 1.9, 4),)),
    ]  # fmt: skip
