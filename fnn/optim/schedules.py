"""Learning rates that change with the step s = 0, 1, ..., as data.

    Constant           η
    StepDecay          η f^⌊s / every⌋
    ExponentialDecay   η f^(s / every)
    CosineDecay        η₁ + (η − η₁) (1 + cos(π s / n)) / 2           s ≤ n, then η₁
    WarmupCosine       η₀ + (η − η₀) s / n₀ for s < n₀, then CosineDecay over n − n₀ steps

A schedule is called with the step: schedule(s) → learning rate. `Scheduled` gives its
rates to an optimizer. A rate may reach 0.

Source: Loshchilov & Hutter (2017), arXiv:1608.03983, eq. 5; warm-up: Goyal et al. (2017),
arXiv:1706.02677, section 2.2.
"""

import abc
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax.numpy as jnp

from fnn.arrays import as_array
from fnn.errors import check_number
from fnn.numerics import concrete
from fnn.optim.optimizer import Rated, next_step
from fnn.records import Array, Data


@dataclass(frozen=True)
class Schedule(Data, abc.ABC):
    """A function of the step s = 0, 1, ... whose numbers are leaves: s → learning rate.

    Raises:
        ValueError: for known rates and factors below 0, spans of no step.
    """

    def check(self, *rates: str, steps: tuple[str, ...] = ()) -> None:
        """Reject negative rates and spans of no step."""
        name = type(self).__name__
        for field in rates:
            check_number(name, field, getattr(self, field), 0)
        for field in steps:
            check_number(name, field, getattr(self, field), 0, open_low=True)

    def __call__(self, step: Array | int) -> Array:
        """The learning rate at this step, in the default float dtype."""
        dtype = jnp.result_type(float)
        step = as_array(type(self).__name__, "step", step)
        return self.numbers(dtype).at(step.astype(dtype))

    @abc.abstractmethod
    def at(self, s: Array) -> Array:
        """The learning rate at step s; s and the fields are arrays of one dtype."""


@dataclass(frozen=True)
class Constant(Schedule):
    """η at every step."""

    rate: float | Array  # η

    def __post_init__(self):
        """Reject a negative rate."""
        self.check("rate")

    def at(self, s):
        """η."""
        return jnp.asarray(self.rate)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """η factor^⌊step / every⌋."""

    rate: float | Array  # η
    factor: float | Array  # f
    every: int | Array

    def __post_init__(self):
        """Reject negative numbers."""
        self.check("rate", "factor", steps=("every",))

    def at(self, s):
        """η f^⌊s / every⌋, with ⌊(s + ½) / every⌋: s / every may round to below an integer."""
        return self.rate * self.factor ** jnp.floor((s + 0.5) / self.every)


@dataclass(frozen=True)
class ExponentialDecay(Schedule):
    """η factor^(step / every)."""

    rate: float | Array  # η
    factor: float | Array  # f
    every: int | Array = 1

    def __post_init__(self):
        """Reject negative numbers."""
        self.check("rate", "factor", steps=("every",))

    def at(self, s):
        """η f^(s / every)."""
        return self.rate * self.factor ** (s / self.every)


@dataclass(frozen=True)
class CosineDecay(Schedule):
    """From η to `final` along half a cosine in n_steps; `final` from there on.

    η₁ + (η − η₁) (1 + cos(π s / n)) / 2 for s ≤ n, then η₁: torch's climbs again behind n.
    """

    rate: float | Array  # η
    n_steps: int | Array  # n
    final: float | Array = 0.0  # η₁

    def __post_init__(self):
        """Reject negative numbers."""
        self.check("rate", "final", steps=("n_steps",))

    def at(self, s):
        """η₁ + (η − η₁) (1 + cos(π s / n)) / 2."""
        done = jnp.clip(s / self.n_steps, 0, 1)
        return self.final + (self.rate - self.final) * (1 + jnp.cos(jnp.pi * done)) / 2


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """From `initial` to η in n_warmup steps, then to `final` along half a cosine, and flat.

    η₀ + (η − η₀) s / n₀ for s < n₀, then CosineDecay(η, n − n₀) from there: n has the warm-up.

    Raises:
        ValueError: for a known n_warmup that is not below n_steps, and as Schedule does.
    """

    rate: float | Array  # η, the highest
    n_warmup: int | Array  # n₀
    n_steps: int | Array  # n, the warm-up included
    initial: float | Array = 0.0  # η₀
    final: float | Array = 0.0  # η₁

    def __post_init__(self):
        """Reject negative numbers, and a warm-up that never ends."""
        self.check("rate", "initial", "final", steps=("n_steps",))
        check_number("WarmupCosine", "n_warmup", self.n_warmup, 0)
        warmup, steps = concrete(self.n_warmup), concrete(self.n_steps)
        if warmup is not None and steps is not None and (warmup >= steps).any():
            raise ValueError(
                f"WarmupCosine: n_warmup must be less than n_steps, got {warmup} and {steps}."
            )

    def at(self, s):
        """The line, then the cosine."""
        line = self.initial + (self.rate - self.initial) * s / jnp.maximum(self.n_warmup, 1)
        rest = self.n_steps - self.n_warmup
        done = jnp.clip((s - self.n_warmup) / rest, 0, 1)
        cosine = self.final + (self.rate - self.final) * (1 + jnp.cos(jnp.pi * done)) / 2
        return jnp.where(s < self.n_warmup, line, cosine)


class ScheduledState(NamedTuple):
    """What Scheduled remembers between steps."""

    step: Array  # s, the steps taken so far: int32 []
    inner: Any  # the optimizer's state


@dataclass(frozen=True)
class Scheduled(Rated[ScheduledState]):
    """An optimizer whose learning rate at step s is schedule(s).

    Scheduled(Adam(), CosineDecay(1e-3, 1000)); the optimizer's own rate is not used.

    Raises:
        TypeError: for an optimizer without a learning rate of its own, such as optax's or a
            Chain; for what is not a Schedule.
    """

    elementwise: ClassVar = True
    keeps_nan: ClassVar = True

    schedule: Schedule

    def __post_init__(self):
        """Reject what has no learning rate to replace."""
        super().__post_init__()
        if not isinstance(self.schedule, Schedule):
            raise TypeError(f"Scheduled: schedule must be a Schedule, got {self.schedule!r:.60}.")

    def init(self, params):
        """s = 0."""
        return ScheduledState(jnp.zeros((), jnp.int32), self.optimizer.init(params))

    def update(self, grads, state, params=None, *, value=None, factors=None):
        """The optimizer's step at the rate schedule(s)."""
        updates, inner = self.stepped(grads, state, params, value=value, factors=factors)
        return updates, ScheduledState(next_step(state.step), inner)

    def rate(self, state):
        """schedule(s)."""
        return self.schedule(state.step)
