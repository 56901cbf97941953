"""The whole of backpropagation: forward, loss, and a fold over the net.

    y, cache   = net.forward(params, x)
    losses, dy = loss.value_and_backward(y, target, dl)        dl = w / Σ w
    grads, dx  = rule(net, params, cache, dy)
    L          = Σ dl losses + penalty(params)

With `backprop`, the default, the fold computes ∂L/∂params. Another rule computes
something else from the same values: all deltas, norms per example, another learning
rule's updates.

Equations: risk.empirical, risk.gradient, bp.goal, bp.batch-average, bp.training-cycle.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_floating, check_key
from fnn.layer import Layer, backprop
from fnn.loss import Loss, check_loss_type, mean, merge_weights, normalized
from fnn.numerics import wide
from fnn.penalties import members
from fnn.types import Array, Key, PyTree


class Pass(NamedTuple):
    """What one forward and one backward pass compute."""

    loss: Array  # L, a scalar of at least float32
    result: PyTree  # of the rule: with backprop the gradients, like params
    y: PyTree  # [B, ..., n]
    w: Array  # the weight of every prediction, [B, ...]


def value_and_grad(
    net: Layer[Any, Any],
    loss: Loss[Any],
    params: PyTree,
    x: PyTree,
    target: Array,
    *,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
    rule: Callable[..., Any] = backprop,
) -> tuple[Array, PyTree]:
    """The loss L = Σ w l / Σ w + penalty, and its hand-written gradient, like params.

    Args:
        net: the network, a layer.
        loss: compares y with target, one number per prediction.
        params: of the net, as from net.init(key).
        x: the inputs, [B, ...].
        target: what y should be; its shape is the loss's matter.
        key: for layers that draw at random (Dropout).
        weights: of the predictions, in the shape of the losses or [B]; default 1. What
            has weight 0 is left out, even where its loss is NaN.
        penalty: L1, L2 or a tuple of such, added once.
        rule: what the fold computes; the second result is then that. It is a function:
            for jit, jax.jit(value_and_grad, static_argnames="rule").

    Raises:
        ValueError: for shapes that do not fit, an empty batch, weights that sum to 0,
            and values that are out of range where they are known.
        TypeError: for dtypes that are not floating, keys that are not typed.
    """
    done = forward_and_fold(
        net, loss, params, x, target, key=key, weights=weights, penalty=penalty, rule=rule
    )
    return done.loss, done.result


def forward_and_fold(
    net, loss, params, x, target, *, key=None, weights=None, penalty=None, rule=backprop
) -> Pass:
    """`value_and_grad`, with everything that it saw."""
    x = jax.tree.map(jnp.asarray, x) if isinstance(x, tuple) else as_array("x", x)
    target = as_array("target", target)
    check_arrays(params)
    check_loss_type("value_and_grad", loss)
    if key is not None:
        check_key("value_and_grad", key)

    y, cache = net.forward(params, x, key=key)
    shape = loss.shape(y)
    dtype = wide(jax.tree.leaves(y)[0].dtype)
    if weights is not None:
        weights = as_array("weights", weights)
    w = merge_weights(shape, weights, loss.counted(target), dtype)
    dl = normalized(w)
    per_example = getattr(rule, "per_example", False)
    dl_rule = normalized(w, per_example=True) if per_example else dl
    losses, dy = loss.value_and_backward(y, target, dl_rule)
    result, _ = rule(net, params, cache, dy)

    value = mean(losses, dl)
    for p in members(penalty):
        value = value + p.value(params).astype(value.dtype)
        result = add_gradient(result, p.gradient(params))
    return Pass(value, result, y, w)


def add_gradient(result: PyTree, gradient: PyTree) -> PyTree:
    """result + gradient, for rules whose result is like params."""
    if jax.tree.map(jnp.shape, result) != jax.tree.map(jnp.shape, gradient):
        raise ValueError(
            "value_and_grad: a penalty needs a rule whose result is like params; "
            "leave the penalty out, or use rule=backprop."
        )
    return jax.tree.map(jnp.add, result, gradient)


def as_array(name: str, a: Any) -> Array:
    """`a` as an array of real numbers, or an error that names it."""
    if not isinstance(a, jax.Array):
        if isinstance(a, np.ma.MaskedArray):
            raise TypeError(f"{name} is a masked array; give weights, 0 where it is masked.")
        try:
            array = np.asarray(a)
        except ValueError:
            raise ValueError(f"{name} is ragged: its rows differ in length.") from None
        if array.dtype.kind in "OUS":
            raise TypeError(
                f"{name} must hold numbers, got {array.dtype} "
                f"(first entry {array.ravel().tolist()[0]!r}); "
                f"convert it with {name}.astype(float)."
            )
        a = jnp.asarray(array.astype(array.dtype.newbyteorder("="), copy=False))
        if a.dtype.kind in "iu" and a.size:
            low, high = jnp.iinfo(a.dtype).min, jnp.iinfo(a.dtype).max
            if array.min() < low or array.max() > high:
                raise ValueError(f"{name} has values beyond {a.dtype}, such as {array.max()}.")
    if jnp.issubdtype(a.dtype, jnp.complexfloating):
        raise TypeError(f"{name} must hold real numbers, got {a.dtype}.")
    return a


def check_arrays(params: PyTree) -> None:
    """Raise a TypeError for a leaf of params that is no floating array, by its path."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0]:
        check_floating("value_and_grad", f"params{jax.tree_util.keystr(path)}", leaf)
