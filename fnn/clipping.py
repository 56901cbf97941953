"""Sums of clipped gradients: no example moves the parameters further than max_norm.

With g_b the gradient of example b's own loss, the weighted mean of its own predictions,

    n_b = ‖g_b‖        c_b = min(1, max_norm / n_b)        G = Σ_b c_b g_b

n_b is taken larger by what rounding may hide of it where the steps of an example cancel, so that
the bound holds (example_sums.py says how G is made). Per layer, n_b and c_b are those of the
layer's own part of g_b. An example whose norm is not finite, or whose weights are all 0, has
c_b = 0: it is left out. One example more or less changes G by at most

    S = max_norm, per layer max_norm √(number of layers with params)

to which Gaussian noise of a private gradient is in proportion,

    (G + σ S ξ) / expected_batch_size        ξ ~ N(0, 1)

Source: Abadi et al. (2016), arXiv:1607.00133, algorithm 1; Bu, Wang, Zha & Karypis (2023),
arXiv:2210.00038, section 2.3, for a sum from what one backward kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from fnn.driver import Pass
from fnn.errors import check_number, check_one
from fnn.example_sums import weighed_gradient
from fnn.layer import Layer
from fnn.loss import Loss
from fnn.microbatches import counted
from fnn.numerics import wide
from fnn.penalties import is_frozen, members
from fnn.records import Array, Data, Key, PyTree, flag
from fnn.ruling import companion


def clipped_grad(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    max_norm: float | Callable[[Array], Array],
    *,
    per_layer: bool = False,
    norms: bool = False,
    microbatch: int | None = None,
    key: Key | None = None,
    weights: Array | None = None,
) -> tuple[Any, ...]:
    """(loss, G): the mean loss, and the sum of every example's gradient, clipped to max_norm.

    Args:
        net: whose layers do not mix examples.
        loss: gives every example's own loss, the weighted mean of its predictions.
        params: of the net.
        x: the inputs, [B, ...], as in value_and_grad.
        target: what y should be.
        max_norm: the longest that an example's part of the sum can be, per layer of each part;
            or a function n [B] → c [B] of yours, which bounds nothing by itself.
        per_layer: whether every layer is clipped by itself; under Repeat every copy is one.
        norms: whether to return n_b besides, [B], per layer nested like params. Examples that are
            not finite and were left out are those where it is not.
        microbatch: how many examples have a forward and a backward at a time, one microbatch after
            the other: the same G by rounding, in the memory of so many; x without a state.
        key: for layers that draw at random; microbatch i draws from jax.random.fold_in(key, i).
        weights: as in value_and_grad. An example whose weights are all 0 is not there: so a
            batch of a random size is one of a fixed shape.

    Raises:
        ValueError, TypeError: as value_and_grad, and for a max_norm that is not above 0.
        NotImplementedError: for a layer that mixes examples.
    """
    c = max_norm if callable(max_norm) else bounded(max_norm)
    shown = flag("clipped_grad: norms", norms)
    run = {"per_layer": flag("clipped_grad: per_layer", per_layer), "key": key, "weights": weights}
    run["microbatch"] = counted("clipped_grad", microbatch)
    found = weighed_gradient("clipped_grad", c, net, loss, params, x, target, **run)
    return (found.loss, found.gradient, found.norms)[: 3 if shown else 2]


@dataclass(frozen=True)
class Clipping(Data):
    """Clipped gradients, with noise private ones, as the rule of a Plan.

    Plan(net, loss, optimizer, rule=Clipping(1.0, noise=1.1, expected_batch_size=64)). Its numbers
    are data: another one compiles nothing. How private a run was is for an accountant to say, such
    as Google's dp_accounting, of σ, the share of the data in a batch, and the number of steps.

    Raises:
        ValueError: for a max_norm or expected_batch_size that is not above 0, a negative noise;
            from a step, for noise without a key.
    """

    max_norm: float | Array  # of an example's part, or per layer of each
    noise: float | Array | None = field(default=None, kw_only=True)  # σ, the noise multiplier
    expected_batch_size: float | Array = field(default=1.0, kw_only=True)  # never the one that came
    per_layer: bool = field(default=False, kw_only=True, metadata={"static": True})
    microbatch: int | None = field(default=None, kw_only=True, metadata={"static": True})

    def __post_init__(self):
        """Reject numbers that mean nothing."""
        for name in ("max_norm", "expected_batch_size"):
            check_number("Clipping", name, getattr(self, name), 0, open_low=True)
        if self.noise is not None:
            check_number("Clipping", "noise", self.noise, 0)
        object.__setattr__(self, "per_layer", flag("Clipping: per_layer", self.per_layer))
        object.__setattr__(self, "microbatch", counted("Clipping", self.microbatch))

    def sensitivity(self, net: Layer[Any, Any], params: PyTree) -> Any:
        """S: how far one example more or less moves G."""
        return self.max_norm * math.sqrt(n_layers(net, params)) if self.per_layer else self.max_norm

    def run(self, net, loss, params, x, target, *, key=None, weights=None, penalty=None) -> Pass:
        """One step's gradient, (G + σ S ξ) / expected_batch_size, with the penalty's."""
        if key is None and self.noise is not None:
            raise ValueError("Clipping: noise needs a key; give fnn.start one.")
        key, k_noise = (None, None) if key is None else jax.random.split(key)
        run = {"per_layer": self.per_layer, "key": key, "weights": weights}
        run["microbatch"] = self.microbatch
        c = bounded(self.max_norm)
        found = weighed_gradient("Clipping", c, net, loss, params, x, target, **run)
        gradient = found.gradient
        if self.noise is not None and k_noise is not None:
            gradient = noisy(gradient, self.noise * self.sensitivity(net, params), k_noise)
        gradient = jax.tree.map(lambda g: g / number(self.expected_batch_size, g), gradient)
        value, extra = found.loss, jnp.zeros((), found.losses.dtype)
        for p in members("Clipping", penalty):
            extra = extra + p.value(params).astype(extra.dtype)
            gradient = jax.tree.map(jnp.add, gradient, p.gradient(params))
        y, weights, losses = found.y, found.weights, found.losses
        return Pass(value + extra, gradient, y, weights, losses, extra, None, None)


def bounded(max_norm: Any) -> Callable[[Array], Array]:
    """n → c = min(1, max_norm / n)."""
    check_one("clipped_grad", "max_norm", max_norm, 0, open_low=True)
    most = jnp.where(jnp.asarray(max_norm) > 0, max_norm, jnp.nan)
    return lambda n: jnp.minimum(1, number(most, n) / jnp.where(n == 0, 1, n))


def number(value: Any, a: Array) -> Array:
    """A number in the dtype of a."""
    return jnp.asarray(value).astype(a.dtype)


def noisy(tree: PyTree, std: Any, key: Key) -> PyTree:
    """tree + std ξ, drawn in at least float32; what is frozen stays as it is."""
    leaves, form = jax.tree.flatten(tree, is_leaf=is_frozen)
    keys = jax.random.split(key, max(len(leaves), 1))

    def leaf(a, key):
        if is_frozen(a):
            return a
        b = jax.random.normal(key, a.shape, wide(a.dtype))
        return (a + number(std, b) * b).astype(a.dtype)

    return form.unflatten([leaf(a, k) for a, k in zip(leaves, keys, strict=False)])


def n_layers(net: Layer[Any, Any], params: PyTree) -> int:
    """How many layers have params that learn, every copy under Repeat for one."""

    def one(_, params):
        return jnp.zeros(()) if jax.tree.leaves(params) else ()

    learned = jax.tree.map(lambda p: () if is_frozen(p) else p, params, is_leaf=is_frozen)
    layers = jax.eval_shape(lambda params: companion(net, one, params), learned)
    return sum(math.prod(a.shape) for a in jax.tree.leaves(layers))
