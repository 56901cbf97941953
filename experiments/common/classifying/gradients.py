"""The proof on the spot: hand-written gradients beside those of jax.grad."""

from typing import Any

import jax
import numpy as np

import fnn
from fnn.named import by_name


def gradient_errors(
    net: fnn.Layer[Any, Any],
    loss: fnn.Loss[Any],
    params: Any,
    x: Any,
    target: Any,
    *,
    dtype: type,
    key: Any = None,
    penalty: tuple[Any, ...] = (),
) -> dict[str, tuple[float, float]]:
    """name of a parameter → (largest |hand-written − jax.grad|, largest |jax.grad|).

    Everything is computed in `dtype`, np.float32 or np.float64, from the same values and
    the same random draws; JAX's global precision stays as it was. The two gradients are
    compiled apart, so that no computation is shared.
    """

    def hand(params, x, target):
        return fnn.value_and_grad(net, loss, params, x, target, key=key, penalty=penalty)[1]

    def objective(params, x, target):
        y, _ = net.forward(params, x, key=key)
        losses, _ = loss.forward(y, target)
        return losses.mean() + sum(p.value(params) for p in penalty)

    with jax.enable_x64(dtype is np.float64):
        values = jax.tree.map(lambda a: cast(a, dtype), (params, x, target))
        ours, theirs = jax.jit(hand)(*values), jax.jit(jax.grad(objective))(*values)
        return {
            name: (float(np.abs(a - b).max()), float(np.abs(b).max()))
            for (name, a), b in zip(by_name(ours).items(), jax.tree.leaves(theirs), strict=True)
        }


def cast(a: Any, dtype: type) -> np.ndarray:
    """`a` in `dtype`; integers stay as they are."""
    a = np.asarray(a)
    return a.astype(dtype) if a.dtype.kind == "f" else a
