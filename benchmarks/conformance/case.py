"""A case: a function with a hand-written derivative, and where to ask."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

Tree = Any  # nested containers of arrays


@dataclass(frozen=True)
class Case:
    """A function that carries a rule of its own, and arguments for it."""

    name: str  # as its authors call it
    f: Callable[..., Tree]  # f(*args) → arrays, every argument differentiated if floating
    args: tuple[Tree, ...]
    plain: Callable[..., Tree] | None = None  # the same function without the rule, if there is one
    intended: str = ""  # why its derivative is meant to differ from that of its values
    inexact: str = ""  # why it can differ a little: values or rule of an iteration that stops
    tolerance: float = 1e-6  # up to which relative difference the rule counts as right
    tangent: Callable[[Tree], Tree] | None = None  # keeps a direction in the set of the arguments
    only_here: bool = False  # whether other points have no meaning (outside the domain)
    kinds: tuple[str, ...] = ()  # diagnoses that are right, beside those told from the numbers


def rule_of(f: Callable[..., Tree]) -> Callable[..., tuple[Tree, ...]]:
    """The backward that f itself carries: backward(*args, dy) → a cotangent for each argument."""

    def backward(*args_and_dy: Tree) -> tuple[Tree, ...]:
        *args, dy = args_and_dy
        y, pull = jax.vjp(f, *args)
        found = pull(jax.tree.map(cotangent, y, dy))
        return tuple(jax.tree.map(without, a, g) for a, g in zip(args, found, strict=True))

    return backward


def cotangent(y: Any, dy: Any) -> Any:
    """dy as jax.vjp wants it for y: in the dtype of y, of no size where y is an integer."""
    if jnp.issubdtype(jnp.result_type(y), jnp.inexact):
        return jnp.asarray(dy).astype(jnp.result_type(y))
    return np.zeros(np.shape(y), jax.dtypes.float0)


def without(a: Any, g: Any) -> Any:
    """The cotangent g, None for that of an integer."""
    return g if jnp.issubdtype(jnp.result_type(a), jnp.inexact) else None


def guarded(f: Callable[..., Tree], inside: Callable[..., Any]) -> Callable[..., Tree]:
    """F, NaN outside of its domain: where inside(*args) does not hold."""

    def g(*args: Tree) -> Tree:
        ok = jnp.all(jnp.stack([jnp.all(jnp.asarray(a)) for a in jax.tree.leaves(inside(*args))]))
        return jax.tree.map(lambda y: y * jnp.where(ok, 1.0, jnp.nan), f(*args))

    return g


def symmetric(tree: Tree) -> Tree:
    """A direction among symmetric matrices; what is not square is left as it is."""

    def one(a: Any) -> Any:
        square = np.ndim(a) > 1 and a.shape[-1] == a.shape[-2]
        return (a + np.swapaxes(a, -1, -2)) / 2 if square else a

    return jax.tree.map(one, tree)


def normal(seed: int, *shape: int) -> np.ndarray:
    """Random numbers for a case."""
    return np.random.default_rng(seed).normal(size=shape)


def uniform(seed: int, low: float, high: float, *shape: int) -> np.ndarray:
    """Random numbers between two bounds."""
    return np.random.default_rng(seed).uniform(low, high, size=shape)


def positive(seed: int, n: int) -> np.ndarray:
    """A symmetric positive definite matrix."""
    a = normal(seed, n, n)
    return a @ a.T + n * np.eye(n)
