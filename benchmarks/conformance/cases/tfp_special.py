"""Rules of tensorflow-probability on JAX: Bessel and other special functions."""

import jax.numpy as jnp
import numpy as np
from tensorflow_probability.substrates.jax import math  # pyright: ignore[reportMissingImports]
from tensorflow_probability.substrates.jax.math import hypergeometric  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, guarded

X = np.array([0.3, 1.2, 2.5, 4.0])
V = np.array([0.5, 1.3, 2.0, 0.2])
U = np.array([0.1, 0.35, 0.6, 0.93])
SIGNED = np.array([-2.5, -0.3, 0.4, 3.0])


def cases() -> list[Case]:
    """Bessel functions, then others."""
    return [*bessel(), *others(), *inverses()]


def bessel() -> list[Case]:
    """Modified Bessel functions of fixed orders, small and large."""
    found = []
    for name in ("bessel_ive", "bessel_kve", "log_bessel_ive", "log_bessel_kve"):
        f = getattr(math, name)
        at = guarded(lambda z, f=f: f(V[:2], z), lambda z: z > 0)
        found.append(Case(f"tfp.math.{name}", at, (X[:2],)))
    large = guarded(lambda z: math.log_bessel_kve(V[:2] + 60.0, z), lambda z: z > 0)
    return [*found, Case("tfp.math.log_bessel_kve, order 60", large, (X[:2],))]


def others() -> list[Case]:
    """Functions around the gamma and error functions."""
    hyper = hypergeometric.hyp2f1_small_argument
    return [
        Case("tfp.math.log_cosh", math.log_cosh, (SIGNED,)),
        Case("tfp.math.log_cosh, large", math.log_cosh, (40 * SIGNED,)),
        Case("tfp.math.dawsn", math.dawsn, (SIGNED,)),
        Case("tfp.math.erfcx", math.erfcx, (SIGNED,)),
        Case("tfp.math.erfcinv", math.erfcinv, (U,)),
        Case("tfp.math.logerfc", math.logerfc, (SIGNED,)),
        Case("tfp.math.logerfcx", math.logerfcx, (SIGNED,)),
        Case("tfp.math.lambertw", math.lambertw, (X,)),
        Case("tfp.math.lambertw, z < 0", math.lambertw, (np.array([-0.3, -0.1]),)),
        Case("tfp.math.lambertw_winitzki_approx", math.lambertw_winitzki_approx, (X,)),
        Case("tfp.math.log_gamma_difference", math.log_gamma_difference, (V, X + 8.0)),
        Case("tfp.math.log_gamma_difference, small", math.log_gamma_difference, (V, X)),
        Case("tfp.math.lbeta", math.lbeta, (V, X)),
        Case("tfp.math.lbeta, large", math.lbeta, (V, X + 20.0)),
        Case("tfp.math.owens_t", math.owens_t, (SIGNED, V)),
        Case("tfp.math.owens_t, a < 0", math.owens_t, (X, -V)),
        Case("tfp.math.betainc", math.betainc, (V, X, U)),
        Case("tfp.math.hypergeometric.hyp2f1_small_argument, z",
             lambda z: hyper(0.5, 1.2, 2.3, z), (U - 0.4,)),
        Case("tfp.math.log1mexp", math.log1mexp, (X,)),
        Case("tfp.math.log_sub_exp", math.log_sub_exp, (X + 5.0, X)),
        Case("tfp.math.log_cumsum_exp", math.log_cumsum_exp, (SIGNED,)),
        Case("tfp.math.reduce_logmeanexp", math.reduce_logmeanexp, (SIGNED,)),
        Case("tfp.math.clip_by_value_preserve_gradient",
             lambda x: math.clip_by_value_preserve_gradient(x, -1.0, 1.0), (SIGNED,),
             intended="the gradient passes the clip"),
        Case("tfp.math.softplus_inverse", math.softplus_inverse, (X,)),
        Case("tfp.math.sqrt1pm1", math.sqrt1pm1, (X,)),
        Case("tfp.math.smootherstep", math.smootherstep, (U,)),
        Case("tfp.math.soft_threshold", lambda x: math.soft_threshold(x, 0.5), (SIGNED,)),
        Case("tfp.math.round_exponential_bump_function", math.round_exponential_bump_function,
             (U - 0.4,)),
    ]  # fmt: skip


def inverses() -> list[Case]:
    """Inverses of incomplete gamma and beta functions."""
    return [
        Case("tfp.math.betaincinv", math.betaincinv, (V, X, U)),
        Case("tfp.math.betaincinv, y", lambda y: math.betaincinv(2.0, 3.0, y), (U,)),
        Case("tfp.math.igammainv", math.igammainv, (V, U)),
        Case("tfp.math.igammacinv", math.igammacinv, (V, U)),
        Case("tfp.math.igammainv, p", lambda p: math.igammainv(jnp.asarray(2.0), p), (U,)),
    ]  # fmt: skip
