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
    """The caches of all copies, and the form of the memory that they share."""

    inner: Any  # [n, ...] each
    memory: Static  # None, or its structure and the shapes and dtypes of its arrays


@dataclass(frozen=True, init=False, repr=False)
class Repeat(Wrapper[RepeatCache]):
    """y = inner applied n times.  x [B, ...] → y [B, ...]; inner keeps shape and dtype.

    Repeat(12, block).
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
        check_key("Repeat", key)
        return jax.vmap(self.inner.init)(jax.random.split(key, self.n))

    def forward(self, params, x, *, key=None):
        """x → f → ... → f → y."""
        check_stacked(self.n, params)

        def step(a, inputs):
            p, s, k = inputs
            y, cache = self.inner.forward(p, renewed(x, x=a, state=s) if lifted else a, key=k)
            check_kept(a, value(y))
            return value(y), (cache, state_of(y))

        lifted = isinstance(x, Sequence)
        keys = None if key is None else jax.random.split(key, self.n)
        inputs = params, state_of(x), keys
        y, (cache, states) = jax.lax.scan(step, value(x), inputs, length=self.n)
        return renewed(x, x=y, state=states) if lifted else y, RepeatCache(cache, form(x))

    def backward_with(self, rule, params, cache, dy):
        """dx ← f ← ... ← f ← dy."""

        def step(carry, inputs):
            (d, dmemory), (p, c, s) = carry, inputs
            d = renewed(dy, x=d, state=s, memory=None) if lifted else d
            out, dx = rule(self.inner, p, c, d)
            return (value(dx), add(memory_of(dx), dmemory) if shared else None), (out, state_of(dx))

        lifted, shared = isinstance(dy, Sequence), cache.memory.value is not None
        dmemory = add(zeros(cache.memory), memory_of(dy))
        inputs = params, cache.inner, state_of(dy)
        (dx, dmemory), (out, states) = jax.lax.scan(
            step, (value(dy), dmemory), inputs, length=self.n, reverse=True
        )
        return out, renewed(dy, x=dx, state=states, memory=dmemory) if lifted else dx


def form(x: Any) -> Static:
    """What `zeros` needs to begin the sum of the memory's cotangents."""
    memory = memory_of(x)
    if memory is None:
        return Static(None)
    leaves, tree = jax.tree.flatten(memory)
    return Static((tree, tuple((a.shape, a.dtype.name) for a in leaves)))


def zeros(form: Static) -> Any:
    """0 for every array of the memory; None where there is no memory."""
    if form.value is None:
        return None
    tree, arrays = form.value
    return tree.unflatten(jnp.zeros(shape, dtype) for shape, dtype in arrays)


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
