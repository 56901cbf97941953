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

from fnn.errors import check_interval, check_number
from fnn.optim.optimizer import Optimizer, check_has_rate
from fnn.records import Array


class PlateauState(NamedTuple):
    """What Plateau remembers between steps."""

    scale: Array  # s
    best: Array  # L*
    bad: Array  # n, int32 []
    total: Array  # Σ L of the steps since the last look
    steps: Array  # how many these are, int32 []
    inner: Any  # the optimizer's state


@dataclass(frozen=True)
class Plateau(Optimizer[PlateauState]):
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

    optimizer: Any
    factor: float | Array = 0.1  # f
    patience: int | Array = 10
    every: int | Array = 1
    threshold: float | Array = 1e-4  # ε
    least: float | Array = 0.0  # s₀

    def __post_init__(self):
        """Reject what has no learning rate, and numbers that mean nothing."""
        check_has_rate("Plateau", self.optimizer)
        check_number("Plateau", "factor", self.factor, 0, 1, open_low=True)
        for name in ("threshold", "least"):
            check_number("Plateau", name, getattr(self, name), 0, 1)
        for name in ("patience", "every"):
            check_interval("Plateau", name, getattr(self, name))

    def init(self, params):
        """s = 1, L* = ∞."""
        one, none = jnp.ones((), jnp.result_type(float)), jnp.zeros((), jnp.int32)
        return PlateauState(one, one * jnp.inf, none, one * 0, none, self.optimizer.init(params))

    @property
    def asks(self):
        """Whether the optimizer does."""
        return self.optimizer.asks

    def rule(self, state):
        """The optimizer's."""
        return self.optimizer.rule(state.inner)

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """The optimizer's step at the rate s η, s as this loss leaves it."""
        if value is None:
            raise ValueError(
                "Plateau: update needs the loss; a Plan hands it over, elsewhere give "
                "update(grads, state, params, value=loss)."
            )
        state = self.looked(state, jnp.asarray(value).astype(state.total.dtype))
        now = self.optimizer.with_fields(learning_rate=self.rate(state))
        more = {"value": value, "factors": factors}
        updates, inner = now.update(grads, state.inner, params, **more)
        return updates, state._replace(inner=inner)

    def looked(self, state: PlateauState, loss: Array) -> PlateauState:
        """The state with one more loss; every so many steps L*, n and s."""
        o = self.with_fields(optimizer=None).numbers(loss.dtype)
        total, steps = state.total + loss, state.steps + 1
        n = steps.astype(loss.dtype)
        due, mean = n >= o.every, total / n
        better = mean < (1 - o.threshold) * state.best
        bad = jnp.where(better, 0, state.bad + 1)
        falls = bad.astype(loss.dtype) >= o.patience
        scale = jnp.where(falls, jnp.maximum(o.factor * state.scale, o.least), state.scale)
        best = jnp.where(better, mean, state.best)
        new = scale, best, jnp.where(falls, 0, bad), jnp.zeros_like(total), jnp.zeros_like(steps)
        old = state.scale, state.best, state.bad, total, steps
        pairs = zip(new, old, strict=True)
        scale, best, bad, total, steps = (jnp.where(due, a, b) for a, b in pairs)
        return PlateauState(scale, best, bad, total, steps, state.inner)

    def rate(self, state):
        """s η."""
        return state.scale * jnp.asarray(self.optimizer.learning_rate).astype(state.scale.dtype)
