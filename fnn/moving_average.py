"""The exponential moving average (EMA) of the params, to evaluate with.

Behind every step, with its params p and the decay m,

    w ← m w + 1 − m                      0 before the first step
    a ← a + (1 − m)/w (p − a)

After t steps w = 1 − mᵗ: step i has the weight (1 − m) mᵗ⁻ⁱ / w, and where training began has none;
before the first step a is what it begins with. a is kept in at least float32, where 1 − m is not
rounded away.

Source: Polyak & Juditsky (1992), SIAM J. Control Optim. 30(4), for averages of params; Kingma & Ba
(2015), arXiv:1412.6980, section 7.2, for these, and section 3 for what divides by 1 − mᵗ.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import like, wide
from fnn.records import Array, PyTree


class EMA(NamedTuple):
    """What a State with averaged params has of them."""

    weight: Array  # w
    params: PyTree  # a, like params, in at least float32


def check_decay(decay: Any) -> None:
    """Raise unless decay is None or, where it is known, in [0, 1)."""
    if decay is not None:
        check_number("Plan", "ema", decay, 0, 1)


def no_average(decay: Any, params: PyTree) -> EMA | None:
    """Before the first step; None where nothing is averaged."""
    if decay is None:
        return None
    begin = jax.tree.map(lambda p: p.astype(wide(p.dtype)), params)
    return EMA(jnp.zeros((), jnp.result_type(float)), begin)


def averaged(decay: Any, ema: EMA | None, params: PyTree) -> EMA | None:
    """The average with the params of one more step."""
    if decay is None or ema is None:
        return None
    m = jnp.asarray(decay).astype(ema.weight.dtype)
    w = m * ema.weight + (1 - m)

    def leaf(a, p):
        return a + ((1 - m) / w).astype(a.dtype) * (p.astype(a.dtype) - a)

    return EMA(w, jax.tree.map(leaf, ema.params, params))


def judged(params: PyTree, ema: EMA | None) -> PyTree:
    """The params to evaluate with: the averages, in the dtypes of params, where there are any."""
    return params if ema is None else like(ema.params, params)
