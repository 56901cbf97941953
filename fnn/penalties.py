"""Penalties on the size of weights, with their gradients and proximal maps.

    L1    λ Σ |w|         gradient λ sign w      proximal  sign w max(|w| − s λ, 0)
    L2    (λ/2) Σ w²      gradient λ w           proximal  w / (1 + s λ)

The proximal map of a step s is argmin_v ‖v − w‖²/2 + s penalty(v). Penalties see
weights only: leaves of params whose name begins with w (w, wx, wh, ...), not biases,
scales or tables. A tuple of penalties is a penalty, and None is none.

Sources: L2: Krogh & Hertz (1991), NIPS 4, eq. 2; L1: Tibshirani (1996), JRSS B 58, eq.
1; proximal maps: Parikh & Boyd (2014), Foundations and Trends in Optimization 1, section 6.5.
Equations: la.norm-frobenius, reg.l2, reg.l2-grad, reg.l1, reg.l1-grad, reg.l1-sparsity.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import wide
from fnn.types import Array, Data, PyTree


def is_weight(path: tuple[Any, ...]) -> bool:
    """Whether the leaf at this key path of params is a weight: its name begins with w."""
    last = path[-1] if path else None
    name = getattr(last, "name", getattr(last, "key", ""))
    return isinstance(name, str) and name.startswith("w")


@dataclass(frozen=True)
class Penalty(Data, abc.ABC):
    """λ times a sum over the weights; `select` (key path → bool) says what those are."""

    strength: float | Array  # λ
    select: Callable[[tuple[Any, ...]], bool] = field(
        default=is_weight, kw_only=True, repr=False, metadata={"static": True}
    )

    def __post_init__(self):
        """Reject a strength that rewards size."""
        check_number(type(self).__name__, "strength", self.strength, 0)

    @abc.abstractmethod
    def f(self, w: Array, strength: Array) -> Array:
        """The penalty of every entry."""

    @abc.abstractmethod
    def df(self, w: Array, strength: Array) -> Array:
        """Its derivative."""

    @abc.abstractmethod
    def shrunk(self, w: Array, strength: Array) -> Array:
        """Its proximal map, for s λ = strength."""

    def value(self, params: PyTree) -> Array:
        """The penalty of all weights, a scalar of at least float32."""
        paths = jax.tree_util.tree_flatten_with_path(params)[0]
        sums = [self.in_wide(self.f, p).sum() for path, p in paths if self.select(path)]
        return sum(sums[1:], start=sums[0]) if sums else jnp.zeros(())

    def gradient(self, params: PyTree) -> PyTree:
        """∂value/∂params: like params, 0 for what is not a weight."""

        def leaf(path, p):
            chosen = self.select(path)
            return self.in_wide(self.df, p).astype(p.dtype) if chosen else jnp.zeros_like(p)

        return jax.tree_util.tree_map_with_path(leaf, params)

    def proximal(self, params: PyTree, step: Any) -> PyTree:
        """argmin_v ‖v − params‖²/2 + step · value(v)."""

        def leaf(path, p):
            chosen = self.select(path)
            return self.in_wide(self.shrunk, p, step).astype(p.dtype) if chosen else p

        return jax.tree_util.tree_map_with_path(leaf, params)

    def in_wide(self, f: Callable[[Array, Array], Array], w: Array, step: Any = 1.0) -> Array:
        """f(w, step · λ), in at least float32."""
        dtype = wide(w.dtype)
        strength = self.numbers(dtype).strength * jnp.asarray(step).astype(dtype)
        return f(w.astype(dtype), strength)


@dataclass(frozen=True)
class L1(Penalty):
    """λ Σ |w|: draws weights to exactly 0 when it is applied by `Proximal`."""

    def f(self, w, strength):
        """λ |w|."""
        return strength * abs(w)

    def df(self, w, strength):
        """λ sign w, 0 at 0."""
        return strength * jnp.sign(w)

    def shrunk(self, w, strength):
        """sign w max(|w| − λ, 0)."""
        return jnp.sign(w) * jnp.maximum(abs(w) - strength, 0)


@dataclass(frozen=True)
class L2(Penalty):
    """(λ/2) Σ w²: shrinks weights in proportion to their size."""

    def f(self, w, strength):
        """λ w² / 2."""
        return strength * w**2 / 2

    def df(self, w, strength):
        """λ w."""
        return strength * w

    def shrunk(self, w, strength):
        """w / (1 + λ)."""
        return w / (1 + strength)


def members(penalty: Any) -> tuple[Penalty, ...]:
    """The penalties in `penalty`: None, one, or a tuple of such."""
    if penalty is None:
        return ()
    if isinstance(penalty, tuple | list):
        return tuple(p for part in penalty for p in members(part))
    if not isinstance(penalty, Penalty):
        raise TypeError(f"penalty must be L1, L2 or a tuple of such, got {penalty!r:.60}.")
    return (penalty,)
