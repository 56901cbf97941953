"""Momentum: gradient descent with a velocity.

    heavy ball       v ← μ v + g                  update = −η v
    moving average   v ← μ v + (1 − μ) g          update = −η v

A constant gradient ends in steps of η g / (1 − μ) and of η g; the two are one method,
with η_heavy = (1 − μ) η_average. Nesterov's form looks one step ahead, putting the new
velocity through the same line once more: update = −η (μ v + g) or −η (μ v + (1 − μ) g).

Sources: Polyak (1964), USSR Comp. Math. 4, eq. 9; Nesterov's form as in Sutskever,
Martens, Dahl & Hinton (2013), ICML, eqs. 3 and 4.
"""

from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from fnn.errors import check_number
from fnn.optim.optimizer import Optimizer, leafwise, zeros
from fnn.records import Array, PyTree


class MomentumState(NamedTuple):
    """What Momentum remembers between steps."""

    v: PyTree  # velocity, like params, at least float32


@dataclass(frozen=True)
class Momentum(Optimizer[MomentumState]):
    """update = −η v, v ← μ v + g, or v ← μ v + (1 − μ) g with `average`.

    Without `average`, as in torch and Keras, a constant gradient ends in steps of η g / (1 − μ).

    Raises:
        ValueError: for a known η that is not above 0, a known μ outside [0, 1).
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    learning_rate: float | Array  # η
    momentum: float | Array = 0.9  # μ
    average: bool = field(default=False, metadata={"static": True})
    nesterov: bool = field(default=False, metadata={"static": True})

    def __post_init__(self):
        """Reject hyperparameters with which the formula means nothing."""
        check_number("Momentum", "learning_rate", self.learning_rate, 0, open_low=True)
        check_number("Momentum", "momentum", self.momentum, 0, 1)

    def init(self, params):
        """v = 0."""
        return MomentumState(v=zeros(params))

    def update(self, grads, state, params=None, *, value=None):
        """v ← μ v + g, then −η v."""

        def leaf(g, v):
            o = self.numbers(v.dtype)
            if self.average:
                g = (1 - o.momentum) * g
            v = o.momentum * v + g
            return -o.learning_rate * (o.momentum * v + g if self.nesterov else v), v

        updates, v = leafwise(self, leaf, grads, state.v)
        return updates, MomentumState(v)
