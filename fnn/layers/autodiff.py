"""Autodiff: any JAX function as a layer, its backward that of jax.vjp.

    y = f(p, x)        dp, dx = dy ∂f        by jax.vjp(f, p, x)

It is the way in for code that has no backward of its own here: a module of Flax or Equinox, a
formula of one line. What jax.vjp would keep has params in it, and not the batch first; the cache
is x and the key, as in Recompute, and backward runs f again. Under jit XLA merges the second f
with the first, unless a loop such as Repeat lies between.

Source: Griewank & Walther (2008), Evaluating derivatives, chapter 3, for reverse mode.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax

from fnn.errors import check_key, speaking
from fnn.layer import Layer
from fnn.numerics import is_floating, like
from fnn.records import Key, PyTree


class AutodiffCache(NamedTuple):
    """The arguments of f."""

    x: Any  # [B, ...]
    key: Key | None


@dataclass(frozen=True)
class Autodiff(Layer[PyTree, AutodiffCache]):
    """y = f(params, x), or f(params, x, key).  x [B, ...] → y [B, ...], pytrees of such.

        square = fnn.Autodiff(lambda params, x: x**2 * params, lambda key: jnp.ones(()))

    f is pure, and every row of y depends on its own row of x. `begin`, key → params, draws the
    params, pytrees of floating-point arrays; without it there are none. Two are equal where both
    functions are the same; one at the top of its module pickles.

    Args:
        f: the function.
        begin: draws its params.
        key: whether f takes a key.
        mixing: whether a row of y depends on other rows of x.
        steps: whether f treats every position by itself, so that a Sequence may come.

    Raises:
        TypeError: for what is no function; from forward, where f does not take what came.
    """

    f: Callable[..., Any]
    begin: Callable[[Key], PyTree] | None = None
    key: bool = field(default=False, kw_only=True)
    mixing: bool = field(default=False, kw_only=True)
    steps: bool = field(default=False, kw_only=True)

    def __post_init__(self):
        """Say what the contract asks."""
        super().__post_init__()
        facts = {"draws": self.key, "mixes_examples": self.mixing}
        facts |= {"sequences": "positions" if self.steps else "refused"}
        for name, fact in facts.items():
            object.__setattr__(self, name, fact)

    def __repr__(self):
        """The name of f, and what is said of it."""
        said = [f"{n}=True" for n in ("key", "mixing", "steps") if getattr(self, n)]
        return f"Autodiff({', '.join([getattr(self.f, '__name__', type(self.f).__name__), *said])})"

    def init(self, key):
        """Those that `begin` draws."""
        check_key(self, key)
        return () if self.begin is None else self.begin(key)

    def call(self, params: PyTree, x: Any, key: Key | None) -> Any:
        """f(p, x), or f(p, x, key)."""
        return self.f(params, x, key) if self.key else self.f(params, x)

    def forward(self, params, x, *, key=None):
        """y = f(p, x)."""
        key = key if self.key else None
        with speaking(self, "f must take these params and x"):
            return self.call(params, x, key), AutodiffCache(x, key)

    def backward(self, params, cache, dy):
        """dp, dx = dy ∂f; None where x has no derivative."""
        y, pull = jax.vjp(lambda p, x: self.call(p, x, cache.key), params, cache.x)
        grads, dx = pull(like(dy, y))
        return grads, jax.tree.map(lambda x, d: d if is_floating(x) else None, cache.x, dx)
