"""Penalties on the size of weights, with their gradients and proximal maps.

    L1    λ Σ |w|         gradient λ sign w      proximal  sign w max(|w| − s λ, 0)
    L2    (λ/2) Σ w²      gradient λ w           proximal  w / (1 + s λ)

The proximal map of a step s is argmin_v ‖v − w‖²/2 + s penalty(v). Penalties see
weights only: what the class of a layer's params declares as such, as in `weights = ("w",)`;
biases, scales and tables are none. Params of no declared class (arrays, dicts) have none
either, of which a warning tells. A tuple of penalties is a penalty, and None is none.

Sources: L2: Krogh & Hertz (1991), NIPS 4, eq. 2; L1: Tibshirani (1996), JRSS B 58, eq.
1; proximal maps: Parikh & Boyd (2014), Foundations and Trends in Optimization 1, section 6.5.
"""

import abc
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.arrays import as_array, check_arrays
from fnn.errors import check_number, check_shape, dotted
from fnn.numerics import wide
from fnn.records import Array, Data, PyTree

Select = Callable[[str], bool]  # path of a leaf, "blocks.attention.wq" → whether it is a weight


def weight_mask(owner: str, params: PyTree, select: Select | None = None) -> PyTree:
    """Which leaves are weights, as booleans nested like params.

    They are the fields that a params class names in `weights`, or what `select` says of a
    leaf's path, such as "blocks.attention.wq", but never what is frozen. A warning tells of
    leaves that belong to no class with such a declaration.
    """
    if select is not None:
        if not callable(select):
            raise TypeError(f"{owner}: select must be a function of a path, got {select!r:.60}.")

        def chosen(path, p):
            if is_frozen(p):
                return jax.tree.map(lambda _: False, p)
            return bool(select(dotted("", path)))

        return jax.tree_util.tree_map_with_path(chosen, params, is_leaf=is_frozen)
    undeclared = []

    def declares(p):
        return isinstance(getattr(type(p), "weights", None), tuple)

    def node(path, p):
        if not declares(p):
            undeclared.append(dotted("params", path))
            return False
        weights = [name in p.weights for name in p._fields]
        pairs = zip(weights, p, strict=True)
        return type(p)(*(jax.tree.map(lambda _, w=w: w, a) for w, a in pairs))

    mask = jax.tree_util.tree_map_with_path(node, params, is_leaf=declares)
    if undeclared:
        warnings.warn(
            f"{owner}: {undeclared[0]} belongs to no params class that declares its weights, so it "
            f"counts as none ({len(undeclared)} such); write weights = (...) in the class, or give "
            "select=lambda path: ...",
            stacklevel=2,
        )
    return mask


def is_frozen(p: Any) -> bool:
    """Whether the class of these params says that they stay as they are, as FrozenParams does."""
    return getattr(type(p), "frozen", False) is True


@dataclass(frozen=True)
class Penalty(Data, abc.ABC):
    """λ times a sum over the weights; `select` (path → bool) may say what those are.

    Raises:
        ValueError: for a known strength that is negative or not finite.
        TypeError: for a strength that is not a number.
    """

    strength: float | Array  # λ
    select: Select | None = field(default=None, kw_only=True, repr=False, metadata={"static": True})

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
        pairs = zip(jax.tree.leaves(self.mask(params)), jax.tree.leaves(params), strict=True)
        sums = [self.in_wide(self.f, p).sum() for chosen, p in pairs if chosen]
        return sum(sums[1:], start=sums[0]) if sums else jnp.zeros(())

    def gradient(self, params: PyTree) -> PyTree:
        """∂value/∂params: like params, 0 for what is not a weight."""

        def leaf(chosen, p):
            return self.in_wide(self.df, p).astype(p.dtype) if chosen else jnp.zeros_like(p)

        return jax.tree.map(leaf, self.mask(params), params)

    def proximal(self, params: PyTree, step: Any) -> PyTree:
        """argmin_v ‖v − params‖²/2 + step · value(v)."""
        step = as_array(type(self).__name__, "step", step)
        check_shape(type(self).__name__, "step", step, ())

        def leaf(chosen, p):
            return self.in_wide(self.shrunk, p, step).astype(p.dtype) if chosen else p

        return jax.tree.map(leaf, self.mask(params), params)

    def mask(self, params: PyTree) -> PyTree:
        """Which leaves are weights, as booleans nested like params."""
        check_arrays(type(self).__name__, params)
        return weight_mask(type(self).__name__, params, self.select)

    def in_wide(self, f: Callable[[Array, Array], Array], w: Array, step: Any = 1.0) -> Array:
        """f(w, step · λ), in at least float32."""
        dtype = wide(w.dtype)
        strength = self.numbers(dtype).strength * jnp.asarray(step).astype(dtype)
        return f(w.astype(dtype), strength)


@dataclass(frozen=True)
class L1(Penalty):
    """λ Σ |w|, its gradient λ sign w: weights get to exactly 0 where `Proximal` applies it."""

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
    """(λ/2) Σ w², its gradient λ w: shrinks weights in proportion to their size.

    Keras has no ½: its L2(l) is L2(2 l).
    """

    def f(self, w, strength):
        """λ w² / 2."""
        return strength * w * (w / 2)  # w² alone may be beyond the largest number

    def df(self, w, strength):
        """λ w."""
        return strength * w

    def shrunk(self, w, strength):
        """w / (1 + λ)."""
        return w / (1 + strength)


def members(owner: str, penalty: Any) -> tuple[Penalty, ...]:
    """The penalties in `penalty`: None, one, or a tuple of such."""
    if penalty is None:
        return ()
    if isinstance(penalty, tuple | list):
        return tuple(p for part in penalty for p in members(owner, part))
    if not isinstance(penalty, Penalty):
        raise TypeError(f"{owner}: penalty must be L1, L2 or a tuple of such, got {penalty!r:.60}.")
    return (penalty,)
