"""The contract every building block keeps.

A layer is a frozen record of Python values: sizes, rates, other layers. It holds no
arrays. Its methods are pure functions,

    params    = layer.init(key)
    y, cache  = layer.forward(params, x, key=key)
    grads, dx = layer.backward(params, cache, dy)

where dy = ∂L/∂y and, in the order of forward's arguments, grads = ∂L/∂params and
dx = ∂L/∂x. The cache is whatever forward saw that backward needs; it holds arrays, and
a shape or flag only as a `types.Static`. The batch is the first axis of x, of y and of
every array in a leaf's cache. Gradients have the dtypes of params, dx that of x.

Layers compare and hash by value and are static pytrees: they pass through jit, vmap
and scan as ordinary arguments, and an equal layer never compiles twice.

Types are written here once; a layer names its params and cache in its class line, and
type checkers carry them into its methods.
"""

import abc
import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import jax

from fnn.errors import at, check_key
from fnn.types import Array, Key, PyTree, Record

P = TypeVar("P")  # the layer's parameters; its gradients have the same type
C = TypeVar("C")  # the layer's cache


@dataclass(frozen=True)
class Layer(Record, abc.ABC, Generic[P, C]):
    """A function of (params, x) that knows its own derivative."""

    mixes_examples: ClassVar[bool] = False  # whether a row of y depends on other rows of x

    @abc.abstractmethod
    def init(self, key: Key) -> P:
        """Draw the parameters; `()` for a layer without any."""

    @abc.abstractmethod
    def forward(self, params: P, x: Array, *, key: Key | None = None) -> tuple[Array, C]:
        """y = f(params, x), and the cache that backward needs."""

    @abc.abstractmethod
    def backward(self, params: P, cache: C, dy: Array) -> tuple[P, Array]:
        """grads = dy ∂f/∂params, summed over the batch, and dx = dy ∂f/∂x."""


Rule = Callable[[Layer[Any, Any], Any, Any, Array], tuple[PyTree, Array]]


@dataclass(frozen=True)
class Composite(Layer[tuple[Any, ...], C]):
    """A layer made of layers, with one entry of params per child.

    A composite says how values travel forward between its children and how cotangents
    travel back. What a child does with its cotangent is up to the rule.
    """

    @property
    @abc.abstractmethod
    def children(self) -> tuple[Layer[Any, Any], ...]:
        """The layers this one is made of, in the order of params."""

    @abc.abstractmethod
    def with_children(self, children: tuple[Layer[Any, Any], ...]) -> Self:
        """The same route over other layers."""

    @abc.abstractmethod
    def backward_with(
        self, rule: Rule, params: tuple[Any, ...], cache: C, dy: Array
    ) -> tuple[tuple[Any, ...], Array]:
        """Send dy back through the children, applying `rule` at each."""

    def init(self, key):
        """Each child's parameters, from a key of its own."""
        check_key(type(self).__name__, key)
        keys = jax.random.split(key, len(self.children))
        return tuple(f.init(k) for f, k in zip(self.children, keys, strict=True))

    def backward(self, params, cache, dy):
        """Backpropagation: the rule is each child's own backward."""
        return self.backward_with(backprop, params, cache, dy)

    def parts(self, params: tuple[Any, ...]) -> tuple[Any, ...]:
        """`params`, one entry per child."""
        name, n = type(self).__name__, len(self.children)
        if not isinstance(params, tuple):
            got = type(params).__name__
            raise TypeError(f"{name}: params must be a tuple, one entry per layer, got {got}.")
        if len(params) != n:
            raise ValueError(
                f"{name}: params must have one entry for each of its {n} layers, got {len(params)}."
            )
        return params


@dataclass(frozen=True)
class Wrapper(Composite[C]):
    """A composite of one child, `inner`."""

    inner: Layer[Any, Any]

    def __post_init__(self):
        """Refuse what is not a layer."""
        super().__post_init__()
        check_layer_type(type(self).__name__, self.inner)

    @property
    def children(self):
        """The one layer inside."""
        return (self.inner,)

    def with_children(self, children):
        """The same route around another layer."""
        return replace(self, inner=children[0])


def check_layer_type(owner: str, layer: Any) -> None:
    """Raise a TypeError unless `layer` is a layer."""
    if not isinstance(layer, Layer):
        remedy = f"; build it: {layer.__name__}(...)" if isinstance(layer, type) else ""
        raise TypeError(f"{owner} takes layers, got {layer!r:.80}{remedy}.")


def child(i: int) -> Any:
    """The context in which a composite calls child i: errors carry the path."""
    return at(f"layer {i}")


def backprop(layer: Layer[Any, Any], params: Any, cache: Any, dy: Array) -> tuple[PyTree, Array]:
    """The rule that computes gradients."""
    return layer.backward(params, cache, dy)


def rule(leaf: Rule | None = None, *, per_example: bool = False) -> Any:
    """Make `leaf` an open rule: dispatched on the layer's type, recursive in composites.

    The result is a `functools.singledispatch` function. Register a layer type to give
    it a formula of its own; register a composite type to stop the recursion there.

    With @rule(per_example=True) the driver sends back the derivative of every example's
    own loss instead of the batch's mean. The mark is an attribute of the rule: a function
    that wraps the rule must carry it too, `wrapper.per_example = True`.
    """
    if leaf is None:
        return functools.partial(rule, per_example=per_example)
    dispatch: Any = functools.singledispatch(leaf)
    dispatch.per_example = per_example

    @dispatch.register(Composite)
    def _(layer, params, cache, dy):
        return layer.backward_with(dispatch, params, cache, dy)

    return dispatch
