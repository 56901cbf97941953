"""AdamW: Adam with weight decay that does not go through the moments.

    update = −η m̂ / (ŝ + ε) − η λ w

The decay falls on weights only, as their params classes declare them (penalties.py). With plain
gradient descent this is the L2 penalty; with Adam it is not, since there the penalty's
gradient is divided by ŝ like any other.

Source: Loshchilov & Hutter (2019), arXiv:1711.05101, algorithm 2, with its schedule
multiplier in η.
"""

from dataclasses import dataclass, field
from typing import ClassVar

import jax

from fnn.errors import check_number
from fnn.numerics import wide
from fnn.optim.adam import Adam
from fnn.penalties import Select, weight_mask
from fnn.records import Array


@dataclass(frozen=True)
class AdamW(Adam):
    """update = −η m̂ / (ŝ + ε) − η λ w; `select` (path → bool) may say what w is.

    Biases, scales and tables do not decay, where torch and optax let all params decay.

    Raises:
        ValueError: as Adam does, and for a known λ below 0; from update without params.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    weight_decay: float | Array = 1e-2  # λ
    select: Select | None = field(default=None, kw_only=True, repr=False, metadata={"static": True})

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        super().__post_init__()
        check_number("AdamW", "weight_decay", self.weight_decay, 0)

    def update(self, grads, state, params=None, *, value=None):
        """Adam's step, then −η λ w."""
        if params is None:
            raise ValueError("AdamW: update needs params, update(grads, state, params).")
        updates, state = super().update(grads, state)

        def leaf(chosen, u, p):
            if not chosen:
                return u
            dtype = wide(p.dtype)
            o = self.numbers(dtype)
            decay = o.learning_rate * o.weight_decay * p.astype(dtype)
            return (u.astype(dtype) - decay).astype(u.dtype)

        mask = weight_mask("AdamW", params, self.select)
        return jax.tree.map(leaf, mask, updates, params), state
