"""What predictions and gradients cost: operations, products of matrices, seconds."""

import time
from collections.abc import Callable, Sequence
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


def costs(
    functions: Sequence[Callable[..., Any]], arguments: tuple[Any, ...], repeats: int
) -> list[Cost]:
    """Compile every function, count, and time them in turn: they see the same machine."""
    programs = [jax.jit(f).lower(*arguments).compile() for f in functions]
    times = np.empty((repeats + 1, len(programs)))
    for round_times in times:
        for k, program in enumerate(programs):
            began = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            round_times[k] = time.perf_counter() - began
    return [
        Cost(
            float((program.cost_analysis() or {})["flops"]),
            (program.as_text() or "").count(" dot("),
            float(seconds),
        )
        for program, seconds in zip(programs, np.median(times[1:], 0), strict=True)
    ]


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
    ways = [p.forward, p.both] + [p.quotients] * (other == "quotients")
    found = costs(ways, p.arguments(), setting.repeats)
    if other == "layers":
        found.append(layer_by_layer(p, setting.repeats))
    return Case(size, *found)


def layer_by_layer(p: Problem, repeats: int) -> Cost:
    """The gradient of every layer by a program of its own, that shares nothing."""
    dense = [i for i, layer in enumerate(p.net.layers) if isinstance(layer, fnn.Dense)]
    alone = [lambda *args, i=i: p.both(*args)[1][i] for i in dense]
    found = costs(alone, p.arguments(), repeats)
    return Cost(*(sum(parts) for parts in zip(*found, strict=True)))
