"""A learning rate that falls when the loss does no more.

Of every `every` steps, L̄ the mean of their losses, s = 1 and n = 0 before the first step:

    L̄ < (1 − ε) L*:    L* ← L̄,  n ← 0
    else:               n ← n + 1;  where n = patience:  s ← max(f s, s₀),  n ← 0

and the optimizer's rate is s η. A loss that is NaN is no better.

Source: as `ReduceLROnPlateau` of torch and Keras, of training losses; optax.contrib's
reduce_on_plateau without its cooldown.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.arrays import as_array
from fnn.errors import check_floating, check_interval, check_number, check_shape
from fnn.optim.optimizer import Rated
from fnn.records import Array


class PlateauState(NamedTuple):
    """What Plateau remembers between steps: floating numbers, and the optimizer's own."""

    scale: Array  # s
    best: Array  # L*
    bad: Array  # n
    total: Array  # Σ L of the steps since the last look
    steps: Array  # how many these are
    inner: Any  # the optimizer's state


@dataclass(frozen=True)
class Plateau(Rated[PlateauState]):
    """An optimizer whose learning rate is its own times s, which falls on a plateau of the loss.

    Plateau(Adam(1e-3), patience=10, every=100): where ten times the mean of a hundred losses was
    not below the best one, the rate is a tenth. The losses are those of the steps, in which a Plan
    has the penalty; outside a Plan update(grads, state, params, value=loss) is given them.

    Raises:
        ValueError: for a known factor outside (0, 1), a threshold or a least scale outside [0, 1),
            an `every` or patience below 1; from update, without a loss.
        TypeError: for an optimizer without a learning rate of its own, such as a Chain.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    factor: float | Array = 0.1  # f
    patience: int | Array = 10
    every: int | Array = 1
    threshold: float | Array = 1e-4  # ε
    least: float | Array = 0.0  # s₀

    def __post_init__(self):
        """Reject what has no learning rate, and numbers that mean nothing."""
        super().__post_init__()
        check_number("Plateau", "factor", self.factor, 0, 1, open_low=True)
        for name in ("threshold", "least"):
            check_number("Plateau", name, getattr(self, name), 0, 1)
        for name in ("patience", "every"):
            check_interval("Plateau", name, getattr(self, name))

    def init(self, params):
        """s = 1, L* = ∞."""
        one, none = jnp.ones(()), jnp.zeros(())
        return PlateauState(one, one * jnp.inf, none, none, none, self.optimizer.init(params))

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """The optimizer's step at the rate s η, s as this loss leaves it."""
        if value is None:
            raise ValueError(
                "Plateau: update needs the loss; a Plan hands it over, elsewhere give "
                "update(grads, state, params, value=loss)."
            )
        value = as_array("Plateau", "value", value)
        check_shape("Plateau", "value", value, ())
        state = self.looked(state, value.astype(check_state(state).total.dtype))
        updates, inner = self.stepped(grads, state, params, value=value, factors=factors)
        return updates, state._replace(inner=inner)

    def looked(self, state: PlateauState, loss: Array) -> PlateauState:
        """The state with one more loss; every so many steps L*, n and s."""
        o = self.with_fields(optimizer=None).numbers(loss.dtype)
        total, steps = state.total + loss, state.steps + 1
        due, mean = steps >= o.every, total / steps
        better = mean < (1 - o.threshold) * state.best
        bad = jnp.where(better, 0, state.bad + 1)
        falls = bad >= o.patience
        scale = jnp.where(falls, jnp.maximum(o.factor * state.scale, o.least), state.scale)
        best = jnp.where(better, mean, state.best)
        new = scale, best, jnp.where(falls, 0, bad), jnp.zeros_like(total), jnp.zeros_like(steps)
        old = state.scale, state.best, state.bad, total, steps
        pairs = zip(new, old, strict=True)
        scale, best, bad, total, steps = (jnp.where(due, a, b) for a, b in pairs)
        return PlateauState(scale, best, bad, total, steps, state.inner)

    def rate(self, state):
        """s η."""
        scale = check_state(state).scale
        return scale * jnp.asarray(self.optimizer.learning_rate).astype(scale.dtype)


def check_state(state: PlateauState) -> PlateauState:
    """The state, or an error where its numbers are none."""
    for name in PlateauState._fields[:-1]:
        a = getattr(state, name)
        check_floating("Plateau", f"state.{name}", a)
        check_shape("Plateau", f"state.{name}", a, ())
    return state
