"""The contract every building block keeps.

A layer is a frozen record of Python values: sizes, rates, other layers. It holds no
arrays. Its methods are pure functions,

    params    = layer.init(key)
    y, cache  = layer.forward(params, x, key=key)
    grads, dx = layer.backward(params, cache, dy)

where dy = ∂L/∂y and, in the order of forward's arguments, grads = ∂L/∂params and
dx = ∂L/∂x. The cache is whatever forward saw that backward needs; it holds arrays, and
a shape or flag only as a `records.Static`. The batch is the first axis of x, of y and of
every array in a leaf's cache, but for statistics of the batch (BatchNorm). Gradients have the
dtypes of params, dx that of x.

Layers compare and hash by value and are static pytrees: they pass through jit, vmap
and scan as ordinary arguments, and an equal layer never compiles twice.

A class says the rest in words, so that its methods hold the formula alone:

    check_input(x)     raises unless x fits
    shapes()           the shape of every parameter by its name, None of one that must be None
    draws              whether forward draws at random and needs a key
    mixes_examples     whether a row of y depends on other rows of x
    sequences          what it makes of a Sequence: "refused", by name; "positions", every
                       step by itself; "own", the layer knows time and reads it itself

Before a forward runs these are checked, and numpy arrays become JAX's, in one place here;
a layer of positions sees the steps of a Sequence as an array, those left out as zeros.
"""

import abc
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Generic, Literal, TypeVar

import jax
import numpy as np

from fnn.errors import (
    FORWARDS,
    check_floating,
    check_key,
    check_leaves,
    check_params,
    dotted,
    pair,
    speaking,
)
from fnn.factors import Factor, is_factor
from fnn.numerics import owned
from fnn.records import Key, PyTree, Record, wrap_methods
from fnn.sequence import Sequence, over_positions, select, unmasked
from fnn.sharding import automatic

P = TypeVar("P")  # the layer's parameters; its gradients have the same type
C = TypeVar("C")  # the layer's cache


@dataclass(frozen=True)
class Layer(Record, abc.ABC, Generic[P, C]):
    """A function of (params, x) that knows its own derivative.

    Raises:
        ValueError: from forward, for shapes of x and params that do not fit, for known values
            that do not, and without a key where the layer draws; from backward, for a cache and
            a dy that are not those of a forward.
        TypeError: from both, for dtypes, keys and params of another kind, and for a Sequence
            where the layer has no meaning for one; for a class whose `sequences` is another.
    """

    sequences: ClassVar[Literal["refused", "positions", "own"]] = "refused"
    mixes_examples: ClassVar[bool] = False
    draws: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Put the checks in front of the class's forward, and the steps of a Sequence."""
        super().__init_subclass__(**kwargs)
        if cls.sequences not in ("refused", "positions", "own"):
            raise TypeError(
                f'{cls.__name__}: sequences must be "refused", "positions" or "own", '
                f"got {cls.sequences!r}."
            )
        wrap_methods(cls, Layer, {"forward": _forward, "backward": _backward})
        if "backward" in vars(cls) and "factors" not in vars(cls):
            cls.factors = Layer.factors  # those of a parent belong to the parent's backward

    def init(self, key: Key) -> P:
        """Draw the parameters; `()`, as here, of a layer without any."""
        none: Any = ()
        return none

    @abc.abstractmethod
    def forward(self, params: P, x: Any, *, key: Key | None = None) -> tuple[Any, C]:
        """y = f(params, x), and the cache that backward needs."""

    @abc.abstractmethod
    def backward(self, params: P, cache: C, dy: Any) -> tuple[P, Any]:
        """grads = dy ∂f/∂params, summed over the batch, and dx = dy ∂f/∂x."""

    @property
    def stands_for(self) -> tuple["Layer[Any, Any]", ...]:
        """Layers in whose place a rule meets this one, so that a formula of theirs is not asked."""
        return ()

    def factors(self, params: P, cache: C, dy: Any) -> tuple[Mapping[str, Factor], Any] | None:
        """The gradient of every array of params in factors, by its name, and dx; None if unsaid.

        What asks for the gradients of single examples asks for these; without them it
        calls backward once per example. A class with another backward has others, too.
        """
        return None

    def zero_state(self, params: P, n: int, capacity: int | None = None) -> PyTree:
        """x.state of n sequences before their first step, all zeros; () of a layer without one.

        `capacity` is the number of steps that attention can remember; the others need none.

        Raises:
            ValueError: for a layer that sees later steps, and without a capacity where one is
                needed.
            NotImplementedError: for a class that reads Sequences itself and does not say.
        """
        if self.sequences == "own":
            raise NotImplementedError(
                f"{self}: zero_state is missing; a class that reads Sequences itself defines it."
            )
        return ()

    def check_input(self, x: Any) -> None:
        """Raise unless x fits; shapes and dtypes always, values where they are known."""

    def shapes(self) -> Mapping[str, tuple[int, ...] | None]:
        """The shape of every parameter by its name; what is not named is not checked.

        None stands for a parameter that this layer does without: it must be None.
        """
        return {}


def _forward(f: Callable[..., Any]) -> Callable[..., Any]:
    """A forward behind its checks; of a layer of positions, over the steps of a Sequence."""

    @functools.wraps(f)
    def forward(self, params, x, *, key=None):
        if isinstance(x, Sequence) and self.sequences != "own":
            _check_sequence(self, x)
            y, cache = forward(self, params, select(x.mask, as_jax(x.x)), key=key)
            return x.with_fields(x=y, state=None), cache
        self.check_input(x)
        check_leaves(self, "x", x)
        check_params(self, params, self.shapes())
        check_leaves(self, "params", params)
        if self.draws:
            _check_draw(self, key)
        return pair(f"{self}: forward", "(y, cache)", f(self, params, as_jax(x), key=key))

    return automatic(forward)


def _backward(f: Callable[..., Any]) -> Callable[..., Any]:
    """A backward; of a layer of positions, over the steps of a Sequence."""

    @functools.wraps(f)
    def backward(self, params, cache, dy):
        def of(dy):
            with speaking(self, FORWARDS):
                found = f(self, params, cache, dy)
            return pair(f"{self}: backward", "(grads, dx)", found)

        check_params(self, params, self.shapes())
        check_cotangent(self, "dy", unmasked(dy))
        return of(dy) if self.sequences == "own" else over_positions(of, dy)

    return automatic(backward)


def check_cotangent(owner: Any, name: str, dy: PyTree) -> None:
    """Raise a TypeError unless `dy` is made of floating arrays and factors, one at least."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(dy, is_leaf=is_factor)
    for path, leaf in leaves or [((), dy)]:
        if not is_factor(leaf):
            check_floating(owner, dotted(name, path), leaf)


def as_jax(x: PyTree) -> PyTree:
    """`x` with its numpy arrays as JAX's, in memory of their own."""
    if not any(isinstance(a, np.ndarray) for a in jax.tree.leaves(x)):
        return x
    return jax.tree.map(lambda a: owned(a) if isinstance(a, np.ndarray) else a, x)


def _check_sequence(layer: Layer[Any, Any], x: Sequence) -> None:
    """Raise unless the layer takes the steps of x one by one, and x has no state for it."""
    if layer.sequences == "refused":
        raise TypeError(
            f"{layer}: x must be an array, got a Sequence: this layer has no meaning for a mask; "
            'a class that treats every step by itself says sequences = "positions".'
        )
    if jax.tree.leaves(x.state):
        raise TypeError(f"{layer}: x.state must be None, this layer has no state.")


def _check_draw(layer: Layer[Any, Any], key: Any) -> None:
    """Raise unless there is a typed key to draw with."""
    if key is None:
        raise ValueError(
            f"{layer}: forward needs a key; pass key=jax.random.key(0), "
            "or evaluate the net that fnn.inference(net, params) returns."
        )
    check_key(layer, key)


def check_layer_type(owner: str, layer: Any) -> None:
    """Raise a TypeError unless `layer` is a layer."""
    if not isinstance(layer, Layer):
        remedy = f"; build it: {layer.__name__}(...)" if isinstance(layer, type) else ""
        raise TypeError(f"{owner} takes layers, got {layer!r:.80}{remedy}.")


@dataclass(frozen=True)
class Around(Layer[P, C]):
    """A leaf that computes with another one: rules see one layer.

    Of Sequences, examples and keys it makes what inner makes of them.
    """

    inner: Layer[Any, Any]

    def __post_init__(self) -> None:
        """Refuse what is not a layer; say of this one what is said of inner."""
        super().__post_init__()
        check_layer_type(type(self).__name__, self.inner)
        for fact in ("sequences", "mixes_examples", "draws"):
            object.__setattr__(self, fact, getattr(self.inner, fact))

    def zero_state(self, params, n, capacity=None):
        """That of inner; of params the dtype alone matters."""
        return self.inner.zero_state(params, n, capacity)


def layers_in(layer: Layer[Any, Any]) -> list[Layer[Any, Any]]:
    """The layers that the fields of a layer hold, in tuples too."""
    values = [getattr(layer, f.name) for f in fields(layer)]
    leaves = jax.tree.leaves(values, is_leaf=lambda v: isinstance(v, Layer))
    return [v for v in leaves if isinstance(v, Layer)]
