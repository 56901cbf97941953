"""The contract every optimizer keeps; optax's calling convention.

    state          = optimizer.init(params)
    updates, state = optimizer.update(grads, state, params)
    params         = apply_updates(params, updates)            params + updates

An optimizer is data: its hyperparameters are leaves that jit traces, vmap sweeps and a
schedule replaces, all without compiling again. Its arithmetic is at least float32 in
every leaf (`wide`), whatever the gradients and the hyperparameters are; the moments
are stored so, updates have the dtype of the gradients, params keep theirs.
"""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import jax
import jax.numpy as jnp

from fnn.errors import check_floating, check_like, dotted
from fnn.numerics import is_floating, wide
from fnn.records import Array, Data, PyTree

S = TypeVar("S")  # the optimizer's state


@dataclass(frozen=True)
class Optimizer(Data, abc.ABC, Generic[S]):
    """A pair of pure functions turning gradients into updates to add to params.

    Raises:
        ValueError: for known hyperparameters out of range; from update, for grads that are not
            like the state, by path.
        TypeError: for hyperparameters that are not numbers; from update, for grads that are not
            floating; from rate, where there is none.
    """

    @abc.abstractmethod
    def init(self, params: PyTree) -> S:
        """The state before the first step."""

    @abc.abstractmethod
    def update(
        self, grads: PyTree, state: S, params: PyTree | None = None, *, value: Any = None
    ) -> tuple[PyTree, S]:
        """The updates of one step, like params, and the next state.

        `value` is the loss, for optimizers that ask for it.
        """

    def rate(self, state: S) -> Array | float:
        """The learning rate of the next update."""
        rate = getattr(self, "learning_rate", None)
        if rate is None:
            raise TypeError(f"{type(self).__name__} has no learning rate.")
        return rate


def zeros(params: PyTree) -> PyTree:
    """0 for every parameter, in at least float32."""
    return jax.tree.map(lambda p: jnp.zeros(p.shape, wide(p.dtype)), params)


def leafwise(
    owner: Any, f: Callable[..., tuple[Array, ...]], grads: PyTree, *states: PyTree
) -> tuple[PyTree, ...]:
    """f(g, *s) → (update, *s′) at every leaf, in the state's dtype, as one tree each.

    Raises a ValueError, with the path, where grads are not like the states.
    """
    name = type(owner).__name__
    for state in states:
        check_like(name, "grads", grads, "its state", state)
    for path, g in jax.tree_util.tree_flatten_with_path(grads)[0]:
        check_floating(name, dotted("grads", path), g)
    leaves, tree = jax.tree.flatten(grads)
    columns = [jax.tree.leaves(state) for state in states]
    rows = []
    for g, *s in zip(leaves, *columns, strict=True):
        dtype = s[0].dtype if s else wide(g.dtype)
        update, *new = f(g.astype(dtype), *s)
        rows.append((update.astype(g.dtype), *new))
    return tuple(tree.unflatten(row[i] for row in rows) for i in range(1 + len(states)))


def next_step(step: Array) -> Array:
    """t + 1, which stays at the largest integer instead of wrapping to −2³¹."""
    return jnp.minimum(step, jnp.iinfo(step.dtype).max - 1) + 1


def apply_updates(params: PyTree, updates: PyTree) -> PyTree:
    """params + updates, added in at least float32; params keep their dtype.

    Raises:
        TypeError: for integer parameters, which no small step can move.
        ValueError: where updates are not like params, by path.
    """
    check_like("apply_updates", "updates", updates, "params", params)

    def leaf(path, p, u):
        if not is_floating(p):
            where = dotted("params", path)
            raise TypeError(f"apply_updates: {where} must be floating, got {p.dtype}.")
        dtype = wide(p.dtype)
        return (p.astype(dtype) + u.astype(dtype)).astype(p.dtype)

    return jax.tree_util.tree_map_with_path(leaf, params, updates)
