"""Rules of distrax: products and powers without NaN, the von Mises distribution, bijectors."""

import distrax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np
from distrax._src.distributions import von_mises  # pyright: ignore[reportMissingImports]
from distrax._src.utils import math  # pyright: ignore[reportMissingImports]

from benchmarks.conformance.case import Case, guarded, normal, uniform

X, Y = normal(1, 4), normal(2, 4)
P = np.array([0.1, 0.2, 0.3, 0.4])


def cases() -> list[Case]:
    """Functions, densities, bijectors."""
    return [*functions(), *densities(), *bijectors()]


def functions() -> list[Case]:
    """Products and powers without NaN."""
    return [
        Case("distrax.utils.math.multiply_no_nan", math.multiply_no_nan, (X, Y),
             plain=lambda x, y: x * y),
        Case("distrax.utils.math.multiply_no_nan, y = 0", math.multiply_no_nan, (X, 0 * Y)),
        Case("distrax.utils.math.power_no_nan", math.power_no_nan, (np.abs(X) + 0.1, Y)),
        Case("distrax.utils.math.power_no_nan, y = 0", math.power_no_nan,
             (np.abs(X) + 0.1, 0 * Y)),
        Case("distrax.utils.math.power_no_nan, x < 0, y whole",
             lambda x: math.power_no_nan(x, jnp.array([2.0, 3.0, 1.0, 0.0])), (-np.abs(X),)),
        Case("distrax.utils.math.power_no_nan, x = 0",
             lambda x: math.power_no_nan(x, jnp.array([2.0, 3.0, 1.0, 0.0])), (0 * X,)),
        Case("distrax.utils.math.mul_exp", math.mul_exp, (X, Y)),
        Case("distrax.utils.math.normalize", lambda x: math.normalize(logits=x), (X,)),
    ]  # fmt: skip


def densities() -> list[Case]:
    """Of distributions, with their entropies."""
    return [
        Case("distrax.VonMises.cdf", guarded(cdf, lambda x, c: c > 0),
             (X, np.abs(Y) + 0.5), inexact="a series of 20 terms"),
        Case("distrax.VonMises.cdf, large concentration", guarded(cdf, lambda x, c: c > 0),
             (X / 5, np.abs(Y) + 20.0), inexact="a normal approximation"),
        Case("distrax.VonMises.entropy", guarded(
            lambda c: distrax.VonMises(0.0, c).entropy(), lambda c: c > 0),
             (np.abs(Y) + 0.5,)),
        Case("distrax.VonMises.log_prob", guarded(
            lambda x, c: distrax.VonMises(0.0, c).log_prob(x), lambda x, c: c > 0),
             (X, np.abs(Y) + 0.5)),
        Case("distrax.VonMises.sample", von_mises_sample, (np.abs(Y) + 0.5,), only_here=True,
             intended="implicit reparameterization of a rejection sampler"),
        Case("distrax.Multinomial.log_prob", lambda p: distrax.Multinomial(
            5, probs=p / p.sum()).log_prob(jnp.array([1.0, 0.0, 3.0, 1.0])), (P,)),
        Case("distrax.Categorical.entropy",
             lambda x: distrax.Categorical(logits=x).entropy(), (X,)),
        Case("distrax.Categorical.kl_divergence", lambda x, y: distrax.Categorical(
            logits=x).kl_divergence(distrax.Categorical(logits=y)), (X, Y)),
        Case("distrax.Bernoulli.entropy", lambda x: distrax.Bernoulli(logits=x).entropy(), (X,)),
    ]  # fmt: skip


def bijectors() -> list[Case]:
    """Splines and squashing functions; a sample that goes straight through."""
    bend = {"boundary_slopes": "unconstrained"}
    return [
        Case("distrax.RationalQuadraticSpline",
             lambda x, p: distrax.RationalQuadraticSpline(p, -2.0, 2.0, **bend).forward(x),
             (uniform(3, -2.5, 2.5, 6), normal(4, 6, 13)), kinds=("factor",)),
        Case("distrax.RationalQuadraticSpline, inverse",
             lambda x, p: distrax.RationalQuadraticSpline(p, -2.0, 2.0, **bend).inverse(x),
             (uniform(3, -2.5, 2.5, 6), normal(4, 6, 13)), kinds=("factor",)),
        Case("distrax.Sigmoid", lambda x: distrax.Sigmoid().forward_and_log_det(x), (X,)),
        Case("distrax.Tanh", lambda x: distrax.Tanh().forward_and_log_det(x), (X,)),
        Case("distrax.Gumbel.log_prob", lambda x, s: distrax.Gumbel(0.3, s).log_prob(x),
             (X, np.abs(Y) + 0.5)),
        Case("distrax.straight_through_wrapper", straight_through, (X,),
             intended="straight-through", only_here=True),
    ]  # fmt: skip


def cdf(x: jax.Array, concentration: jax.Array) -> jax.Array:
    """The distribution function around 0."""
    return distrax.VonMises(0.0, concentration).cdf(x)


def von_mises_sample(concentration: jax.Array) -> jax.Array:
    """Samples of one key."""
    sample = von_mises._von_mises_sample  # its rule is its own
    return sample(concentration.shape, concentration, jax.random.key(0), concentration.dtype)


def straight_through(logits: jax.Array) -> jax.Array:
    """A one-hot sample that goes back as its probabilities."""
    kind = distrax.straight_through_wrapper(distrax.OneHotCategorical)
    return kind(logits=logits, dtype=logits.dtype).sample(seed=jax.random.key(0))
