"""Repeat: n copies of one block, one after another.

    y = f(p_n, ... f(p_2, f(p_1, x)))        dx = dy ∂f(p_n) ... ∂f(p_1)

The n parameters, caches, states, gradients and results of rules are stacked on a new
leading axis; the block is traced once forward and once backward, whatever n is, as one
`lax.scan` and one reversed `lax.scan`.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import Wrapper
from fnn.errors import check_key
from fnn.layer import Layer
from fnn.records import Static
from fnn.sequence import Sequence, add, memory_of, renewed, state_of, value


class RepeatCache(NamedTuple):
    """The caches of all copies, and the memory that they share."""

    inner: Any  # [n, ...] each
    memory: Any  # None without one


@dataclass(frozen=True, init=False, repr=False)
class Repeat(Wrapper[RepeatCache]):
    """y = inner applied n times.  x [B, ...] → y [B, ...]; inner keeps shape and dtype.

    Repeat(12, block). Every array of params has the copies on its first axis.

    Raises:
        ValueError: for n below 1; from forward, for an inner that makes another shape or dtype,
            and for params of another number of copies.
        TypeError: for what is not a layer.
    """

    n: int

    def __init__(self, n: int, inner: Layer[Any, Any]):
        """n copies of inner."""
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "inner", inner)
        self.__post_init__()
        if self.n < 1:
            raise ValueError(f"Repeat: n must be at least 1, got {self.n}.")

    def __repr__(self):
        """As it was written."""
        return f"Repeat({self.n}, {self.inner!r})"

    def each(self, f, *trees):
        """f(inner, *one slice of each tree), stacked."""
        return jax.vmap(functools.partial(f, self.inner), axis_size=self.n)(*trees)

    def init(self, key):
        """n independent draws, stacked."""
        return jax.vmap(self.inner.init)(own_keys(self.n, key))

    def forward(self, params, x, *, key=None):
        """x → f → ... → f → y."""
        check_stacked(self.n, params)

        def step(a, inputs):
            p, s, k = inputs
            y, cache = self.inner.forward(p, renewed(x, x=a, state=s) if lifted else a, key=k)
            check_kept(a, value(y))
            return value(y), (without(memory, cache), state_of(y))

        lifted, memory = isinstance(x, Sequence), jax.tree.leaves(memory_of(x))
        keys = None if key is None else own_keys(self.n, key)
        inputs = params, state_of(x), keys
        y, (cache, states) = jax.lax.scan(step, value(x), inputs, length=self.n)
        return renewed(x, x=y, state=states) if lifted else y, RepeatCache(cache, memory_of(x))

    def backward_with(self, rule, params, cache, dy):
        """dx ← f ← ... ← f ← dy."""

        def step(carry, inputs):
            (d, dmemory), (p, c, s) = carry, inputs
            d = renewed(dy, x=d, state=s, memory=None) if lifted else d
            out, dx = rule(self.inner, p, with_again(memory, c), d)
            return (value(dx), add(memory_of(dx), dmemory) if shared else None), (out, state_of(dx))

        lifted, shared = isinstance(dy, Sequence), cache.memory is not None
        memory = jax.tree.leaves(cache.memory)
        dmemory = add(jax.tree.map(jnp.zeros_like, cache.memory), memory_of(dy))
        inputs = params, cache.inner, state_of(dy)
        (dx, dmemory), (out, states) = jax.lax.scan(
            step, (value(dy), dmemory), inputs, length=self.n, reverse=True
        )
        return out, renewed(dy, x=dx, state=states, memory=dmemory) if lifted else dx


@dataclass(frozen=True)
class Held(Static):
    """An array of the memory in a copy's cache, by its number: all copies share it."""


def without(memory: list[Any], cache: Any) -> Any:
    """The cache of one copy, the arrays of the memory taken out."""
    numbers = {id(a): i for i, a in enumerate(memory)}
    return jax.tree.map(lambda a: Held(numbers[id(a)]) if id(a) in numbers else a, cache)


def with_again(memory: list[Any], cache: Any) -> Any:
    """The cache with the arrays of the memory back in their places."""

    def leaf(a):
        return memory[a.value] if isinstance(a, Held) else a

    return jax.tree.map(leaf, cache, is_leaf=lambda a: isinstance(a, Held))


def own_keys(n: int, key: Any) -> Any:
    """A key of its own for every copy."""
    check_key("Repeat", key)
    return jax.random.split(key, n)


def check_stacked(n: int, params: Any) -> None:
    """Raise a ValueError unless every array of params has n entries."""
    for leaf in jax.tree.leaves(params):
        if leaf.shape[:1] != (n,):
            raise ValueError(
                f"Repeat: every array of params must have shape [{n}, ...], got {list(leaf.shape)}."
            )


def check_kept(x: Any, y: Any) -> None:
    """Raise a ValueError unless the block made a value of the same shapes and dtypes."""
    made, given = ([(a.dtype, a.shape) for a in jax.tree.leaves(v)] for v in (y, x))
    if made != given:
        (made, given) = (", ".join(f"{d}{list(s)}" for d, s in v) for v in (made, given))
        raise ValueError(f"Repeat: inner must keep shape and dtype, it made {made} of {given}.")
