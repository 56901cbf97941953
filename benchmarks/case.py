"""A case: one row of a table, two programs that compute the same numbers.

A case is a name and a function that builds a Pair, called only when its turn comes. The
three helpers below build the usual pairs; a case of another kind builds its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

import fnn
from benchmarks.plain import plain, plain_losses

Net = fnn.Layer[Any, Any]


class Pair(NamedTuple):
    """Two functions of the same arguments whose results agree."""

    hand: Callable[..., Any]
    reference: Callable[..., Any]
    args: tuple[Any, ...]
    counted: Callable[..., Any] | None = None  # the one whose matrix products say how much is done


@dataclass(frozen=True)
class Case:
    """One row: `build` makes the pair, which must agree to `tolerance`."""

    name: str
    build: Callable[[], Pair]
    tolerance: float = 1e-4  # of the largest entry of the result


class Table(NamedTuple):
    """Rows under one title; `mean` asks for geometric means below them."""

    title: str
    note: str
    cases: tuple[Case, ...]
    mean: bool = False
    quick: tuple[Case, ...] = ()  # what --quick runs, by default the first row
    compiles: int = 3  # how often a row is compiled, to time it


def gradient(
    net: Net,
    loss: fnn.Loss[Any],
    x: Any,
    target: jax.Array,
    key: jax.Array | None = None,
    written: Net | None = None,
) -> Pair:
    """Loss and gradient of a net: fnn.value_and_grad against jax.value_and_grad.

    `written` is the net whose plain form jax.value_and_grad differentiates, by default the same.
    """

    def hand(params, x, target, key):
        return fnn.value_and_grad(net, loss, params, x, target, key=key)

    reference, args = autodiff(written or net, loss), (net.init(jax.random.key(0)), x, target, key)
    return Pair(hand, reference, args, counted=autodiff(net, loss))


def autodiff(net: Net, loss: fnn.Loss[Any]) -> Callable[..., Any]:
    """jax.value_and_grad of the plain net's mean loss."""

    def reference(params, x, target, key):
        def value(params):
            return plain_losses(loss, plain(net, params, x, key), target).mean()

        return jax.value_and_grad(value)(params)

    return reference


def loss_gradient(loss: fnn.Loss[Any], y: Any, target: jax.Array) -> Pair:
    """Mean loss and dy of a loss that stands alone."""

    def hand(y, target):
        shape = loss.shape(y)
        dl = jnp.full(shape, 1 / shape[0], jax.tree.leaves(y)[0].dtype)
        losses, dy = loss.value_and_backward(y, target, dl)
        return losses.mean(), dy

    def reference(y, target):
        return jax.value_and_grad(lambda y: plain_losses(loss, y, target).mean())(y)

    return Pair(hand, reference, (y, target))


def norms(net: Net, loss: fnn.Loss[Any], x: jax.Array, target: jax.Array) -> Pair:
    """Squared gradient norm of every example: the rule against jax.vmap of jax.grad."""

    def hand(params, x, target):
        done = fnn.fold(net, loss, params, x, target, rule=fnn.rules.example_norms)
        return fnn.rules.total(done.result)

    def reference(params, x, target):
        def one(x, target):
            def value(params):
                y = plain(net, params, x[None], None)
                return plain_losses(loss, y, target[None]).mean()

            return sum((g**2).sum() for g in jax.tree.leaves(jax.grad(value)(params)))

        return jax.vmap(one)(x, target)

    return Pair(hand, reference, (net.init(jax.random.key(0)), x, target))


def noise(net: Net, loss: fnn.Loss[Any], x: jax.Array, target: jax.Array) -> Pair:
    """Gradient and noise scale: two rules of one fold against jax.vmap of jax.grad."""

    def hand(params, x, target):
        rules = fnn.rules.backprop, fnn.rules.noise_scale
        grads, found = fnn.fold(net, loss, params, x, target, rule=rules).result
        return grads, tuple(fnn.rules.total_noise(found))

    def reference(params, x, target):
        def one(x, target):
            def value(params):
                y = plain(net, params, x[None], None)
                return plain_losses(loss, y, target[None]).mean()

            grads = jax.grad(value)(params)
            squares = jax.tree.map(lambda g: (g**2).sum(), grads)
            return grads, jax.tree.reduce(jnp.add, squares)

        each, squares = jax.vmap(one)(x, target)
        grads, n = jax.tree.map(lambda g: g.mean(0), each), len(target)
        square = sum((g**2).sum() for g in jax.tree.leaves(grads))
        variance = (squares.mean() - square) * n / (n - 1)
        return grads, (variance, square - variance / n)

    return Pair(hand, reference, (net.init(jax.random.key(0)), x, target))


def clipped(net: Net, loss: fnn.Loss[Any], x: jax.Array, target: jax.Array) -> Pair:
    """The sum of clipped gradients: fnn.clipped_grad against jax.vmap of jax.grad."""

    def hand(params, x, target):
        return fnn.clipped_grad(net, loss, params, x, target, 1.0)[1]

    def reference(params, x, target):
        def one(x, target):
            def value(params):
                y = plain(net, params, x[None], None)
                return plain_losses(loss, y, target[None]).mean()

            grads = jax.grad(value)(params)
            norm = jnp.sqrt(sum((g**2).sum() for g in jax.tree.leaves(grads)))
            return jax.tree.map(lambda g: g * jnp.minimum(1, 1 / norm), grads)

        return jax.tree.map(lambda g: g.sum(0), jax.vmap(one)(x, target))

    return Pair(hand, reference, (net.init(jax.random.key(0)), x, target))


def draw(*shape: int, seed: int = 1) -> jax.Array:
    """Standard normal numbers."""
    return jax.random.normal(jax.random.key(seed), shape)


def labels(*shape: int, classes: int) -> jax.Array:
    """Class labels."""
    return jax.random.randint(jax.random.key(2), shape, 0, classes)
