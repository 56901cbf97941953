"""Adam: steps scaled by running moments of the gradient.

At step t = 1, 2, ..., for every parameter with gradient g,

    m ← β₁ m + (1 − β₁) g            m̂ = m / (1 − β₁ᵗ)
    s ← √(β₂ s² + (1 − β₂) g²)       ŝ = s / √(1 − β₂ᵗ)

    update = −η m̂ / (ŝ + ε)

s is the root of the second moment, the source's √v: it exists for every gradient that exists,
where g² is beyond the largest number from 1.8e19 on, and would end all movement.

The moments and this arithmetic are at least float32, whatever the parameters are: in
bfloat16 β₂ = 0.999 is 1, and nothing would ever move.

Source: Kingma & Ba (2015), arXiv:1412.6980, algorithm 1.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.errors import check_number
from fnn.numerics import ratio
from fnn.optim.optimizer import Optimizer, leafwise, next_step, zeros
from fnn.records import Array, PyTree


class AdamState(NamedTuple):
    """What Adam remembers between steps."""

    step: Array  # t, the steps taken so far: int32 []
    m: PyTree  # first moment, like params, at least float32
    s: PyTree  # root of the second moment, like params, at least float32


@dataclass(frozen=True)
class Adam(Optimizer[AdamState]):
    """update = −η m̂ / (ŝ + ε).

    Raises:
        ValueError: for a known η that is not above 0, β₁ or β₂ outside [0, 1), ε below 0.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array = 1e-3  # η
    b1: float | Array = 0.9  # β₁
    b2: float | Array = 0.999  # β₂
    eps: float | Array = 1e-8  # ε

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        name = type(self).__name__
        check_number(name, "learning_rate", self.learning_rate, 0, open_low=True)
        check_number(name, "b1", self.b1, 0, 1)
        check_number(name, "b2", self.b2, 0, 1)
        check_number(name, "eps", self.eps, 0)

    def init(self, params):
        """t = 0, m = 0, s = 0."""
        return AdamState(step=jnp.zeros((), jnp.int32), m=zeros(params), s=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """One step of algorithm 1."""
        step = next_step(state.step)

        def leaf(g, m, s):
            o, t = self.numbers(m.dtype), step.astype(m.dtype)
            m = o.b1 * m + (1 - o.b1) * g
            s = jnp.hypot(jnp.sqrt(o.b2) * s, jnp.sqrt(1 - o.b2) * g)
            m_hat, s_hat = m / (1 - o.b1**t), s / jnp.sqrt(1 - o.b2**t)
            return -o.learning_rate * ratio(m_hat, s_hat + o.eps), m, s

        updates, m, s = leafwise(self, leaf, grads, state.m, state.s)
        return updates, AdamState(step, m, s)
