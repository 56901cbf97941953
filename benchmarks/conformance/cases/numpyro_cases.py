"""Rules of numpyro: truncated power laws, log(1 − eˣ), densities on top of them."""

import jax
import numpy as np
import numpyro.distributions as dist  # pyright: ignore[reportMissingImports]
from numpyro.distributions import util  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, guarded, normal

X, Q = np.array([1.3, 2.1, 3.4]), np.array([0.2, 0.5, 0.8])
ALPHA, LOW, HIGH = np.array([1.5, -2.3, 0.4]), np.array([0.7, 0.9, 1.1]), np.array([4.0, 5.0, 3.9])
MINUS_ONE = np.array([-1.0, -1.0, -1.0])
KINDS = {  # what is wrong in the rules that are
    ("log_prob", ""): ("missing derivative",),
    ("log_prob", ", α = −1"): ("missing derivative",),
    ("cdf", ", α = −1"): ("sign",),
}


def cases() -> list[Case]:
    """Power laws, then others."""
    return [*power_laws(), *others()]


def power_laws() -> list[Case]:
    """Power laws bounded on both sides, and below."""

    def double(method):
        def inside(x, a, low, high):
            at = ((x > 0) & (x < 1)) if method == "icdf" else ((x > low) & (x < high))
            return (low > 0) & (high > low) & at

        return guarded(
            lambda x, a, low, high: getattr(
                dist.DoublyTruncatedPowerLaw(a, low, high, validate_args=False), method
            )(x),
            inside,
        )

    def lower(method):
        def inside(x, a, low):
            at = ((x > 0) & (x < 1)) if method == "icdf" else (x > low)
            return (low > 0) & (a < -1) & at

        return guarded(
            lambda x, a, low: getattr(
                dist.LowerTruncatedPowerLaw(a, low, validate_args=False), method
            )(x),
            inside,
        )

    both = "numpyro.distributions.DoublyTruncatedPowerLaw"
    below = "numpyro.distributions.LowerTruncatedPowerLaw"
    falling = np.array([-1.5, -2.3, -3.0])
    found = []
    for method in ("log_prob", "cdf", "icdf"):
        at = Q if method == "icdf" else X
        for alpha, note in ((ALPHA, ""), (MINUS_ONE, ", α = −1")):
            args = (at, alpha, LOW, HIGH)
            kinds = KINDS.get((method, note), ())
            found.append(Case(f"{both}.{method}{note}", double(method), args, kinds=kinds))
        found.append(Case(f"{below}.{method}", lower(method), (at, falling, LOW)))
    return found


def others() -> list[Case]:
    """Functions of numpyro.distributions.util, and densities."""
    counts = np.array([1, 0, 4])
    return [
        Case("numpyro.distributions.util.log1mexp", util.log1mexp, (np.array([-0.1, -0.69, -4.0]),),
             plain=lambda x: jax.numpy.log(1 - jax.numpy.exp(x))),
        Case("numpyro.distributions.util.logdiffexp", util.logdiffexp, (X + 1, X)),
        Case("numpyro.distributions.util.binary_cross_entropy_with_logits",
             lambda x: util.binary_cross_entropy_with_logits(x, Q), (normal(1, 3),),
             kinds=("another function",)),
        Case("numpyro.distributions.util.clamp_probs", util.clamp_probs, (Q,)),
        Case("numpyro.distributions.util.vec_to_tril_matrix", util.vec_to_tril_matrix,
             (normal(2, 6),)),
        Case("numpyro.distributions.util.logmatmulexp", util.logmatmulexp,
             (normal(3, 2, 3), normal(4, 3, 2))),
        Case("numpyro.distributions.util.safe_normalize", util.safe_normalize, (normal(5, 4),)),
        Case("numpyro.distributions.Binomial.log_prob",
             guarded(lambda p: dist.Binomial(5, probs=p).log_prob(counts),
                     lambda p: (p > 0) & (p < 1)), (Q,)),
        Case("numpyro.distributions.NegativeBinomial2.log_prob",
             lambda m, c: dist.NegativeBinomial2(m, c).log_prob(counts), (X, Q)),
        Case("numpyro.distributions.ZeroInflatedPoisson.log_prob",
             lambda g, r: dist.ZeroInflatedPoisson(g, r).log_prob(counts), (Q, X)),
        Case("numpyro.distributions.TruncatedNormal.log_prob",
             lambda x, m, s: dist.TruncatedNormal(m, s, low=0.0, high=5.0).log_prob(x),
             (X, X - 1, Q)),
        Case("numpyro.distributions.StudentT.cdf", lambda x, d: dist.StudentT(d).cdf(x),
             (normal(6, 3), X)),
    ]  # fmt: skip
