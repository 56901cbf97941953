"""What predictions and gradients cost: operations, products of matrices, seconds."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn

LOSS = fnn.SquaredError()


class Cost(NamedTuple):
    """What a compiled program takes."""

    operations: float
    products: int  # of matrices
    seconds: float


NOTHING = Cost(0.0, 0, 0.0)


class Setting(NamedTuple):
    """What the networks are measured with."""

    rows: int  # examples
    seed: int
    repeats: int  # of every time


class Case(NamedTuple):
    """One network: its size, and what its prediction and its gradients take."""

    parameters: int
    forward: Cost
    both: Cost  # forward and backward
    other: Cost = NOTHING  # the gradient in a worse way


def cost(f: Callable[..., Any], arguments: tuple[Any, ...], repeats: int) -> Cost:
    """Compile f, count, and time it."""
    compiled = jax.jit(f).lower(*arguments).compile()
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    counted, text = compiled.cost_analysis() or {}, compiled.as_text() or ""
    return Cost(float(counted["flops"]), text.count(" dot("), float(np.median(times[1:])))


class Problem(NamedTuple):
    """A network of `n_layers` layers of one width, and examples."""

    net: fnn.Serial
    params: Any
    x: Any
    target: Any

    def forward(self, params: Any, x: Any, target: Any) -> Any:
        """C, the mean loss."""
        y, _ = self.net.forward(params, x)
        return LOSS.forward(y, target)[0].mean()

    def both(self, params: Any, x: Any, target: Any) -> Any:
        """C and its gradient."""
        return fnn.value_and_grad(self.net, LOSS, params, x, target)

    def quotients(self, params: Any, x: Any, target: Any) -> Any:
        """C and a difference quotient for every parameter."""
        w, unflatten = ravel_pytree(params)
        shifted = w + 1e-3 * jnp.eye(len(w), dtype=w.dtype)
        moved = jax.vmap(lambda w: self.forward(unflatten(w), x, target))(shifted)
        c = self.forward(params, x, target)
        return c, (moved - c) / 1e-3

    def arguments(self) -> tuple[Any, ...]:
        """Of the functions above."""
        return self.params, self.x, self.target


def problem(width: int, n_layers: int, setting: Setting) -> Problem:
    """Random weights and examples."""
    k_init, k_x, k_t = jax.random.split(jax.random.key(setting.seed), 3)
    net = fnn.mlp([width] * (n_layers + 1), activation=fnn.Tanh())
    x, target = (jax.random.normal(k, (setting.rows, width)) for k in (k_x, k_t))
    return Problem(net, net.init(k_init), x, target)


def case(width: int, n_layers: int, setting: Setting, other: str = "") -> Case:
    """Count and time one network; `other`: quotients, layers or nothing."""
    p = problem(width, n_layers, setting)
    size = sum(leaf.size for leaf in jax.tree.leaves(p.params))
    found = [cost(f, p.arguments(), setting.repeats) for f in (p.forward, p.both)]
    if other == "quotients":
        found.append(cost(p.quotients, p.arguments(), setting.repeats))
    if other == "layers":
        found.append(layer_by_layer(p, setting.repeats))
    return Case(size, *found)


def layer_by_layer(p: Problem, repeats: int) -> Cost:
    """The gradient of every layer by a program of its own, that shares nothing."""
    dense = [i for i, layer in enumerate(p.net.layers) if isinstance(layer, fnn.Dense)]
    costs = [cost(lambda *args, i=i: p.both(*args)[1][i], p.arguments(), repeats) for i in dense]
    return Cost(*(sum(parts) for parts in zip(*costs, strict=True)))
