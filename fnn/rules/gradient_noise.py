"""How noisy a gradient is: its variance over the examples, and the batch that would average it out.

The gradient of a batch is g = Σ_b s_b g_b, with g_b the gradient of example b's own loss and s_b
its share in the loss, Σ_b s_b = 1; without weights s_b = 1/B. Where all g_b are drawn alike, with
mean G and covariance Σ, and independently of s,

    E ‖g‖²            = ‖G‖² + q tr Σ        q = Σ_b s_b²
    E Σ_b s_b ‖g_b‖²  = ‖G‖² + tr Σ

so that without bias, for any shares,

    tr Σ ≈ (Σ_b s_b ‖g_b‖² − ‖g‖²) / (1 − q)        ‖G‖² ≈ ‖g‖² − q tr Σ

With B = tr Σ / ‖G‖² equal examples the noise of g is as large as G: this is the simple noise
scale. Of fewer examples a step learns in proportion to their number, of more than B hardly more.
Estimates of ‖G‖² scatter and may be below 0: average both numbers over steps, then divide.

dy stays that of the batch, so that the factors of a layer (fnn/factors.py) are of u_b = s_b g_b:
their sum is the gradient, which backprop makes, too, and ‖g_b‖² = ‖u_b‖² / s_b².

Source: McCandlish, Kaplan, Amodei et al. (2018), arXiv:1812.06162, eqs. 2.7 to 2.9 and appendix
A.1, where the two expectations are those of a small and a large batch.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.arrays import check_arrays
from fnn.factors import is_factor
from fnn.layers.frozen import Held
from fnn.numerics import ratio
from fnn.records import Array, PyTree
from fnn.rules.per_example import example_factors, square_norms
from fnn.ruling import rule


class GradientNoise(NamedTuple):
    """Estimates from one batch, or sums and averages of such."""

    variance: Array  # tr Σ, of the gradients of single examples
    square: Array  # ‖G‖², of the gradient without noise

    @property
    def scale(self) -> Array:
        """tr Σ / ‖G‖², the simple noise scale, in examples; not above 0 where ‖G‖² is not."""
        return self.variance / self.square

    @property
    def signal_to_noise(self) -> Array:
        """‖G‖² / tr Σ of a single example; of B together B times that."""
        return self.square / self.variance


@rule(per_example=True, shares=True)
def noise_scale(layer, params, cache, dy, share):
    """tr Σ and ‖G‖² of any layer with params, a GradientNoise.

    NaN from a batch in which fewer than two examples count: one alone shows no variance.
    Raises NotImplementedError as example_norms does.
    """
    found, dx = example_factors(layer, params, cache, dy)
    factors = jax.tree.leaves(found, is_leaf=is_factor)
    if not factors:
        return (), dx
    squares = square_norms(found, dy)
    s = jnp.ones_like(squares) / squares.size if share is None else share.astype(squares.dtype)
    mean = ratio(squares, s).sum()
    square = sum((f.gradient().astype(s.dtype) ** 2).sum() for f in factors)
    rest = jnp.where((s != 0).sum() > 1, (s * (1 - s)).sum(), jnp.nan)  # 1 − q
    variance = jnp.maximum(mean - square, 0) / rest  # below 0 by rounding alone
    return GradientNoise(variance, square - (s**2).sum() * variance), dx


@noise_scale.register(Held)
def _(layer, params, cache, dy, share):
    """Nothing: what is frozen is not trained."""
    return (), layer.backward(params, cache, dy)[1]


def total_noise(found: PyTree) -> GradientNoise:
    """Those of the whole net: the sums over its layers, and over the copies of a Repeat.

    Raises:
        TypeError: for what noise_scale did not find.
        ValueError: where it found nothing, in a net without params.
    """
    check_arrays("total_noise", found, "found")
    layers = jax.tree.leaves(found, is_leaf=is_noise)
    if not layers:
        raise ValueError("total_noise: found has no layer; give what noise_scale found.")
    if not all(map(is_noise, layers)):
        raise TypeError(
            f"total_noise: found must hold a GradientNoise per layer, got {layers[0]!r:.60}; "
            "give what noise_scale found."
        )
    variances, squares = zip(*layers, strict=True)
    return GradientNoise(summed(variances), summed(squares))


def summed(arrays: tuple[Array, ...]) -> Array:
    """All their entries together."""
    return functools.reduce(jnp.add, map(jnp.sum, arrays))


def is_noise(a: Any) -> bool:
    """Whether `a` is what noise_scale finds of a layer."""
    return isinstance(a, GradientNoise)
