"""Mistakes of a whole net's backward: the right formulas, led the wrong way.

A `Route` changes what one layer of a Serial does with its cotangent: nothing, twice, with
another layer's cache or weights, or into another layer's gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

import fnn


@dataclass(frozen=True)
class Route:
    """A mistake at layer `at`, which may involve layer `other`."""

    row: str  # the row of the table
    kinds: tuple[str, ...]  # the right diagnoses
    how: str  # a key of HOW
    at: int
    other: int = -1
    says: str = ""  # a pattern that the text must match

    @property
    def what(self) -> str:
        """What exactly."""
        return f"layer {self.at}" + (f" by layer {self.other}" if self.other >= 0 else "")


Step = Callable[..., tuple[Any, Any]]


def skipped(layers, i, j, params, caches, dy):
    """dx = dy."""
    return params[i], dy


def again(layers, i, j, params, caches, dy):
    """dx = dy f′ f′."""
    grads, dx = layers[i].backward(params[i], caches[i], dy)
    return grads, layers[i].backward(params[i], caches[i], dx)[1]


def cached_elsewhere(layers, i, j, params, caches, dy):
    """With the cache of layer j, for the gradients and for dx."""
    return layers[i].backward(params[i], caches[j], dy)


def weighted_elsewhere(layers, i, j, params, caches, dy):
    """dx through the weights of layer j."""
    grads, _ = layers[i].backward(params[i], caches[i], dy)
    return grads, layers[i].backward(params[j], caches[i], dy)[1]


def untransposed(layers, i, j, params, caches, dy):
    """dx = dy w."""
    grads, _ = layers[i].backward(params[i], caches[i], dy)
    return grads, dy @ params[i].w


def fed_output(layers, i, j, params, caches, dy):
    """dw = Σ yᵀ dy with the activation behind layer i in place of the one in front of it."""
    _, dx = layers[i].backward(params[i], caches[i], dy)
    behind = caches[i]._replace(x=caches[j].a)
    return layers[i].backward(params[i], behind, dy)[0], dx


HOW: dict[str, Step] = {
    "skipped": skipped,
    "again": again,
    "cached elsewhere": cached_elsewhere,
    "weighted elsewhere": weighted_elsewhere,
    "untransposed": untransposed,
    "fed output": fed_output,
}


def misled(route: Route, net: Any, params: Any, caches: Any, dy: Any) -> tuple[Any, Any]:
    """The backward of a Serial with this mistake."""
    grads: list[Any] = [()] * len(net.layers)
    for i in reversed(range(len(net.layers))):
        if i == route.at and route.how in HOW:
            step = HOW[route.how]
            grads[i], dy = step(net.layers, i, route.other, params, caches, dy)
        else:
            grads[i], dy = net.layers[i].backward(params[i], caches[i], dy)
    if route.how == "swapped":
        i, j = route.at, route.other
        grads[i], grads[j] = grads[j], grads[i]
    return tuple(grads), dy


def routes(net: Any, params: Any, x: Any) -> list[Route]:
    """All that this Serial allows."""
    if not isinstance(net, fnn.Serial):
        return []
    _, caches = jax.eval_shape(net.forward, params, x)
    shapes = [jax.tree.map(lambda a: a.shape, p) for p in params]
    dense = [i for i, f in enumerate(net.layers) if isinstance(f, fnn.Dense)]
    bends = [i for i, f in enumerate(net.layers) if not jax.tree.leaves(params[i])]
    found = [
        *[Route("a missing activation derivative", ("missing derivative",), "skipped", i)
          for i in bends],
        *[Route("an extra activation derivative", ("extra derivative",), "again", i)
          for i in bends],
        *[Route("another layer's activation", ("other activation",), "cached elsewhere", i, j)
          for i in bends for j in bends if i != j
          and net.layers[i] == net.layers[j] and alike(caches[i], caches[j])],
        *[Route("another layer's activation", ("other activation",), "cached elsewhere", i, j)
          for i in dense for j in dense if i < j and alike(caches[i], caches[j])],
        *[Route("another layer's activation", ("other activation",), "fed output", i, i + 1)
          for i in dense if i + 1 in bends and behind(net, params, x, i)],
    ]  # fmt: skip
    pairs = [(i, j) for i in dense for j in dense if i < j and shapes[i] == shapes[j]]
    found += [
        Route("another layer's weight", ("other weight",), "weighted elsewhere", i, j)
        for i, j in pairs
    ]
    found += [Route("swapped leaves", ("swapped",), "swapped", i, j) for i, j in pairs]
    found += [
        Route("untransposed w", ("transposed", "other weight"), "untransposed", i)
        for i in dense
        if len({*shapes[i].w}) == 1 < shapes[i].w[0]
    ]  # fmt: skip
    return found


def alike(a: Any, b: Any) -> bool:
    """Whether two caches have one structure and the same shapes."""
    same = jax.tree.structure(a) == jax.tree.structure(b)
    return same and all(
        p.shape == q.shape for p, q in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


def behind(net: Any, params: Any, x: Any, i: int) -> bool:
    """Whether the activation behind Dense i has the shape of the one in front of it."""
    caches = jax.eval_shape(net.forward, params, x)[1]
    return len({*params[i].w.shape}) == 1 and hasattr(caches[i + 1], "a")


def inside(net: Any, i: int, child: Any) -> Any:
    """The Serial with another layer i."""
    return fnn.Serial(*net.layers[:i], child, *net.layers[i + 1 :])
