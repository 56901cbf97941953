"""Repeat: n copies of one block, one after another.

    y = f(p_n, ... f(p_2, f(p_1, x)))        dx = dy ∂f(p_n) ... ∂f(p_1)

The n parameters, caches, states, gradients and results of rules are stacked on a new
leading axis; the block is traced once forward and once backward, whatever n is, as one
`lax.scan` and one reversed `lax.scan`. What two layers of the block keep, as y of a ReLU that is
x of the next Dense, is stacked once, and not at all where it is y of the block: that is x of the
next copy, which the way back has just come from. What a rule puts in the place of params (in_place)
is written where they stand.
"""

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.composite import Wrapper
from fnn.errors import check_key
from fnn.layer import Layer
from fnn.layers.in_place import begun, ended, present, written
from fnn.loops import scan
from fnn.records import Static
from fnn.sequence import Sequence, add, memory_of, renewed, state_of, value
from fnn.sharding import whole_rows


class RepeatCache(NamedTuple):
    """The caches of all copies, and what they share."""

    inner: Any  # [n, ...] each
    x: Any  # of every copy, [n, ...], where some layer keeps y of the block, else None
    y: Any  # of the last one
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
            a = whole_rows(a)
            y, cache = self.inner.forward(p, renewed(x, x=a, state=s) if lifted else a, key=k)
            check_kept(a, value(y))
            return value(y), (*once(cache, a, value(y), memory), state_of(y))

        lifted, memory = isinstance(x, Sequence), memory_of(x)
        keys = None if key is None else own_keys(self.n, key)
        inputs = params, state_of(x), keys
        y, (inner, xs, states) = scan(step, value(x), inputs, length=self.n)
        cache = RepeatCache(inner, xs, None if xs is None else y, memory)
        return renewed(x, x=y, state=states) if lifted else y, cache

    def backward_with(self, rule, params, cache, dy):
        """dx ← f ← ... ← f ← dy."""

        def step(carry, inputs):
            (d, dmemory, y, places), (p, kept, s, i) = carry, inputs
            c, a = whole(kept, y, cache.memory)
            d = whole_rows(d)
            d = renewed(dy, x=d, state=s, memory=None) if lifted else d
            out, dx = rule(self.inner, present(p, places), c, d)
            out, places = written(out, places, form, i)
            dmemory = add(memory_of(dx), dmemory) if shared else None
            return (value(dx), dmemory, a, places), (out, state_of(dx))

        lifted, shared = isinstance(dy, Sequence), cache.memory is not None
        dmemory = add(jax.tree.map(jnp.zeros_like, cache.memory), memory_of(dy))
        params, places, form = begun(params)
        i = jnp.arange(self.n) if places.whole else None
        inputs = params, (cache.inner, cache.x), state_of(dy), i
        (dx, dmemory, _, places), (out, states) = scan(
            step, (value(dy), dmemory, cache.y, places), inputs, length=self.n, reverse=True
        )
        out = ended(out, places, form)
        return out, renewed(dy, x=dx, state=states, memory=dmemory) if lifted else dx


@dataclass(frozen=True)
class Same(Static):
    """An array that is kept elsewhere, by its number: first the memory, then y, then the rest."""


def once(cache: Any, x: Any, y: Any, memory: Any) -> tuple[Any, Any]:
    """What one copy keeps, each array in one place, those of the memory and of y in none.

    x comes with it if some layer keeps y, else None.
    """
    kept = {id(a) for a in jax.tree.leaves(cache)}
    needed = any(id(a) in kept for a in jax.tree.leaves(y))
    known = jax.tree.leaves((memory, y if needed else None))
    numbers = {id(a): i for i, a in enumerate(known)}

    def leaf(a):
        if id(a) in numbers:
            return Same(numbers[id(a)])
        numbers[id(a)] = len(numbers)
        return a

    return jax.tree.map(leaf, (cache, x if needed else None))


def whole(kept: tuple[Any, Any], y: Any, memory: Any) -> tuple[Any, Any]:
    """The cache and x of one copy, every array in all of its places."""

    def is_same(a):
        return isinstance(a, Same)

    own = [a for a in jax.tree.leaves(kept, is_leaf=is_same) if not is_same(a)]
    known = [*jax.tree.leaves((memory, y)), *own]
    return jax.tree.map(lambda a: known[a.value] if is_same(a) else a, kept, is_leaf=is_same)


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
