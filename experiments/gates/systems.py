"""The smallest systems that learn: a factor, a neuron, a linear net, two layers.

System         a network, what it should learn, and at which rate
hand_written   params → (C, gradient), by one forward and one backward pass
quotient       params → (C, gradient), by forward passes alone
descend        plain descent along either
compare        where both end up from one start
count_starts   from how many starts XOR is learned, by hidden layer
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

import fnn


class FactorParams(NamedTuple):
    """The one weight of a Factor layer, and its gradient."""

    w: jax.Array  # []

    weights = ("w",)


class FactorCache(NamedTuple):
    """What backward needs of forward."""

    x: jax.Array  # [B, ...]


@dataclass(frozen=True)
class Factor(fnn.Layer[FactorParams, FactorCache]):
    """y = x w with one number w.  x [B, ...] → y [B, ...]."""

    def init(self, key):
        """w ~ U(0, 10)."""
        return FactorParams(jax.random.uniform(key, maxval=10.0))

    def forward(self, params, x, *, key=None):
        """y = x w."""
        return x * params.w, FactorCache(x)

    def backward(self, params, cache, dy):
        """dw = Σ x dy,  dx = dy w."""
        return FactorParams((cache.x * dy).sum()), dy * params.w


class System(NamedTuple):
    """A network and its task."""

    name: str
    net: fnn.Layer[Any, Any]
    x: np.ndarray  # [n, 1] or [n, 2]
    target: np.ndarray  # [n, 1]
    learning_rate: float


NUMBERS = np.array([[1.0], [2.0], [3.0], [4.0]])
CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
NEURON = fnn.mlp([2, 1], output=fnn.Sigmoid())
LINEAR = fnn.mlp([2, 3, 1], activation=fnn.Identity())
TWO_LAYERS = fnn.mlp([2, 3, 1], activation=fnn.Sigmoid(), output=fnn.Sigmoid())


def gate(*outputs: float) -> np.ndarray:
    """The target of the four corners, [4, 1]."""
    return np.array(outputs)[:, None]


XOR = gate(0, 1, 1, 0)
SYSTEMS = (
    System("twice", Factor(), NUMBERS, 2 * NUMBERS, 0.02),
    System("AND", NEURON, CORNERS, gate(0, 0, 0, 1), 2.0),
    System("OR", NEURON, CORNERS, gate(0, 1, 1, 1), 2.0),
    System("XOR, linear", LINEAR, CORNERS, XOR, 0.1),
    System("XOR, two layers", TWO_LAYERS, CORNERS, XOR, 2.0),
)
NO_BEND = "3 linear"
HIDDEN = {  # neurons of the hidden layer → network
    NO_BEND: fnn.mlp([2, 3, 1], activation=fnn.Identity(), output=fnn.Sigmoid()),
    "3 sigmoid": TWO_LAYERS,
    "3 tanh": fnn.mlp([2, 3, 1], activation=fnn.Tanh(), output=fnn.Sigmoid()),
    "3 ReLU": fnn.mlp([2, 3, 1], activation=fnn.ReLU(), output=fnn.Sigmoid()),
    "2 sigmoid": fnn.mlp([2, 2, 1], activation=fnn.Sigmoid(), output=fnn.Sigmoid()),
}
NEAR = 0.2  # an output this close to its target is right
METHODS = ("hand-written", "quotient")
Gradient = Callable[[Any], tuple[jax.Array, Any]]  # params → (C, gradient)


def hand_written(system: System) -> Gradient:
    """C and its gradient, by one forward and one backward pass."""
    net, x, target = system.net, jnp.asarray(system.x), jnp.asarray(system.target)
    return lambda params: fnn.value_and_grad(net, fnn.SquaredError(), params, x, target)


def quotient(system: System, epsilon: float) -> Gradient:
    """C and (C(w + ε) − C(w)) / ε for every parameter w, by forward passes alone."""
    x, target = jnp.asarray(system.x), jnp.asarray(system.target)

    def cost(params):
        y, _ = system.net.forward(params, x)
        losses, _ = fnn.SquaredError().forward(y, target)
        return losses.mean()

    def gradient(params):
        flat, unflatten = ravel_pytree(params)
        shifted = flat + epsilon * jnp.eye(len(flat))
        c = cost(params)
        moved = jax.vmap(lambda p: cost(unflatten(p)))(shifted)
        return c, unflatten((moved - c) / epsilon)

    return gradient


def descend(system: System, gradient: Gradient, start: Any, steps: int) -> Any:
    """Plain descent along `gradient`."""
    sgd = fnn.optim.SGD(system.learning_rate)

    def body(params, _):
        updates, _ = sgd.update(gradient(params)[1], sgd.init(params))
        return fnn.optim.apply_updates(params, updates), None

    return jax.lax.scan(body, start, None, length=steps)[0]


def difference(gradients: tuple[Gradient, Gradient], params: Any) -> Any:
    """The largest difference between two gradients at the same parameters."""
    a, b = (ravel_pytree(gradient(params)[1])[0] for gradient in gradients)
    return abs(a - b).max()


class Result(NamedTuple):
    """Where descent by one method ended."""

    params: Any
    cost: float  # C
    y: np.ndarray  # [n, 1]
    learned: bool  # whether every output is near its target


@jax.jit
def outputs(net: fnn.Layer[Any, Any], params: Any, x: Any) -> Any:
    """y [n, 1]."""
    return net.forward(params, x)[0]


def compare(
    system: System, epsilon: float, steps: int, seed: int
) -> tuple[tuple[Result, Result], float]:
    """Where both methods end, and how far apart their first gradients are."""
    gradients = hand_written(system), quotient(system, epsilon)

    @jax.jit
    def run(key):
        start = system.net.init(key)
        ends = [descend(system, gradient, start, steps) for gradient in gradients]
        return ends, difference(gradients, start)

    ends, gap = run(jax.random.key(seed))
    results = []
    for params in ends:
        y = np.asarray(outputs(system.net, params, jnp.asarray(system.x)))
        error = abs(y - system.target)
        results.append(Result(params, float((error**2).mean()), y, bool((error < NEAR).all())))
    return (results[0], results[1]), float(gap)


def count_starts(seeds: Sequence[int], steps: int) -> dict[str, int]:
    """Hidden layer → from how many of these seeds descent learns XOR."""
    found = {}
    for name, net in HIDDEN.items():
        system = System(name, net, CORNERS, XOR, 2.0)

        def end(seed, system=system):
            start = system.net.init(jax.random.key(seed))
            params = descend(system, hand_written(system), start, steps)
            return system.net.forward(params, jnp.asarray(CORNERS))[0]

        y = np.asarray(jax.jit(jax.vmap(end))(jnp.asarray(seeds)))
        found[name] = int((abs(y - XOR) < NEAR).all((1, 2)).sum())
    return found
