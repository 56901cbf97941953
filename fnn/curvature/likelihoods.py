"""Losses as negative log-likelihoods: what distribution of targets a net's y stands for.

    ℓ(z, t) = −log p(t | z) + what does not depend on z

    SoftmaxCrossEntropy, KLDivergence   one class, softmax(z)           drawn as labels
    CrossEntropy                        one class, z
    SigmoidBinaryCrossEntropy           n times yes or no, σ(z)
    BinaryCrossEntropy                  n times yes or no, z
    SquaredError(c)                     n numbers, N(z, 1/(2 c))
    AbsoluteError                       n numbers, Laplace(z, 1)
    PoissonNLL                          n counts, Poisson(e^z)
    GaussianNLL                         n numbers, N(m, e^s)

`drawn` samples targets. `expected` gives targets with their weights, so that

    F = E_{t ~ p} ∂²ℓ/∂z² = Σ_k weight_k ∂²ℓ/∂z² (z, t_k)

exactly: the target itself where the second derivative does not depend on it, t = z where it is
linear in t, as of probabilities, and m ± e^s/2 where it is quadratic.

Source: Martens (2020), arXiv:1412.1193, sections 9.1 and 9.2.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp

from fnn.loss import Loss, check_loss_type
from fnn.losses.binary import BinaryCrossEntropy, SigmoidBinaryCrossEntropy
from fnn.losses.categorical import Categorical, CrossEntropy, SoftmaxCrossEntropy
from fnn.losses.divergence import KLDivergence
from fnn.losses.likelihood import GaussianNLL, PoissonNLL
from fnn.losses.regression import AbsoluteError, SquaredError
from fnn.numerics import wide
from fnn.records import Array, Key

Points = list[tuple[float, Array]]  # weight, target


def itself(loss: Any, z: Array, target: Array) -> Points:
    """The target: any has the same second derivative."""
    return [(1.0, target)]


@dataclass(frozen=True)
class Likelihood:
    """The distribution of targets that a loss is −log of.

    Register that of a loss of yours: fnn.curvature.likelihood.register(MyLoss)(f), f a function
    loss → Likelihood.
    """

    loss: Loss[Any]  # −log p, whose derivative at a drawn target is the score
    drawn: Callable[[Key, Array], Array]  # (key, z) → target
    expected: Callable[[Any, Array, Array], Points] | None = itself  # None: not by ∂²ℓ/∂z²


@functools.singledispatch
def likelihood(loss: Any) -> Likelihood:
    """The distribution of which this loss is the negative log-likelihood.

    Raises:
        TypeError: for what is not a loss.
        NotImplementedError: for a loss of which none is known.
    """
    check_loss_type("likelihood", loss)
    raise NotImplementedError(
        f"{loss}: no Fisher matrix here: this loss is −log of no distribution that is known; "
        "gauss_newton_product needs none, and fnn.curvature.likelihood.register takes one."
    )


def plain(loss: Categorical) -> Any:
    """The loss without smoothing, which is no part of the model."""
    return replace(loss, label_smoothing=0.0)


@likelihood.register(SoftmaxCrossEntropy)
def _(loss):
    return Likelihood(plain(loss), classes_of_logits)


@likelihood.register(KLDivergence)
def _(loss):
    return Likelihood(SoftmaxCrossEntropy(), classes_of_logits)


@likelihood.register(CrossEntropy)
def _(loss):
    return Likelihood(
        plain(loss), lambda key, z: classes_of_logits(key, jnp.log(z)), lambda _, z, t: [(1.0, z)]
    )


@likelihood.register(SigmoidBinaryCrossEntropy)
def _(loss):
    return Likelihood(loss, lambda key, z: coins(key, jax.nn.sigmoid(z)))


@likelihood.register(BinaryCrossEntropy)
def _(loss):
    return Likelihood(loss, coins, lambda _, z, t: [(1.0, z)])


@likelihood.register(SquaredError)
def _(loss):
    def drawn(key, z):
        return z + jax.random.normal(key, z.shape, z.dtype) * (2 * loss.scale) ** -0.5

    return Likelihood(loss, drawn)


@likelihood.register(AbsoluteError)
def _(loss):
    return Likelihood(loss, lambda key, z: z + jax.random.laplace(key, z.shape, z.dtype), None)


@likelihood.register(PoissonNLL)
def _(loss):
    return Likelihood(loss, lambda key, z: jax.random.poisson(key, jnp.exp(z)).astype(z.dtype))


@likelihood.register(GaussianNLL)
def _(loss):
    def drawn(key, z):
        m, s = jnp.split(z, 2, -1)
        return m + jnp.exp(s / 2) * jax.random.normal(key, m.shape, m.dtype)

    def expected(_, z, target):
        m, s = jnp.split(z, 2, -1)
        return [(0.5, m + jnp.exp(s / 2)), (0.5, m - jnp.exp(s / 2))]

    return Likelihood(loss, drawn, expected)


def classes_of_logits(key: Key, z: Array) -> Array:
    """Labels of the classes, drawn from softmax(z)."""
    return jax.random.categorical(key, z).astype(jnp.int32)


def coins(key: Key, p: Array) -> Array:
    """1 with probability p, else 0."""
    return jax.random.bernoulli(key, p).astype(p.dtype)


def by_position(likely: Likelihood, key: Key, z: Array, places: Array) -> Array:
    """Targets of z [N, n], those of position i drawn by fold_in(key, i): so of any chunk of them.

    z is computed with in at least float32.
    """
    z = z.astype(wide(z.dtype))
    return jax.vmap(lambda i, z: likely.drawn(jax.random.fold_in(key, i), z))(places, z)
