"""CTC: the probability of a row of labels, wherever in the frames they stand.

l′ = ␣ l_1 ␣ l_2 ... l_n ␣ are the labels with the blank ␣ around each. A path stands at a state s
of l′ in every frame and goes on to s, s + 1 or, where skip(s + 2), s + 2: where l′_{s+2} is a
label, and another one than l′_s. With e_t(s) = log softmax(y_t) at l′_s and a ⊕ b = log(eᵃ + eᵇ),

    α_t(s) = e_t(s) + [α_{t−1}(s) ⊕ α_{t−1}(s − 1) ⊕ α_{t−1}(s − 2) where skip(s)]
    α_0(0) = 0, elsewhere −∞
    losses = −log P      log P = α_T(2n) ⊕ α_T(2n − 1)

    γ_T(s) = exp(α_T(s) − log P) at 2n and 2n − 1, elsewhere 0
    γ_t(s) = Σ γ_{t+1}(s′) exp(α_t(s) + e_{t+1}(s′) − α_{t+1}(s′)) over s′ that s may go on to
    dy_t(k) = dl [p_t(k) − Σ γ_t(s) over l′_s = k]

At the class i with p_t(i) > ½, which may be nearly certain, the bracket is the same number as
Σ γ_t(s) over l′_s ≠ i, less 1 − p_t(i). What cancels all the same, p_t(k) − Σ γ where both are
near each other, is right to some roundings of p_t(k). Frames that a mask leaves out are passed
over.

γ_t(s) is the chance that a path which reads the labels stands at s. The source has it as
α_t(s) β_t(s)/P with a second sum over paths, β; from γ_{t+1} it takes no logarithm, and no large
numbers cancel.

Source: Graves, Fernández, Gomez & Schmidhuber (2006), ICML 23, eqs. 6 to 8, 14 and 16, in
logarithms; γ from the frame behind: Rabiner (1989), Proc. IEEE 77, eqs. 37 and 38.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.errors import check_known, check_number, check_steps
from fnn.logits import Logits
from fnn.loss import Loss
from fnn.losses.categorical import exponentials, log_softmax, of_labels
from fnn.numerics import concrete, owned, times
from fnn.records import Array
from fnn.sequence import lift, mask_of, select, value
from fnn.targets import as_classes, check_integers, check_numbers


class CTCCache(NamedTuple):
    """Predictions and targets."""

    y: Any  # logits, [B, T, C], or a Sequence of them
    target: Array  # [B, S]
    alpha: Array  # [B, T, 2 S + 1]


@dataclass(frozen=True)
class CTC(Loss[CTCCache]):
    """losses = −log of the probability of all paths that read target.  y [B, T, C] → losses [B].

    y: logits of C classes, one of them the blank, or a Sequence of them whose mask says which
    frames there are. target: labels [B, S], behind the last of a row `padding`. A path reads
    what is left of its classes when repetitions are merged, then blanks dropped. A row of
    labels that no path can read, in too few frames, has loss ∞ and dy NaN.

    Raises:
        ValueError: for a blank below 0, a padding that is a class; from forward, for shapes that
            do not fit, known labels that are no class or the blank, known rows of more labels
            than there are frames.
        TypeError: from forward, for labels that are not integers.
    """

    whole_sequences: ClassVar[bool] = True

    blank: int = 0
    padding: int = -1

    def __post_init__(self):
        """Reject what cannot be told from a class."""
        super().__post_init__()
        check_number("CTC", "blank", self.blank, 0)
        check_number("CTC", "padding", self.padding, -(2**31), 0)

    def shape(self, y):
        """[B]."""
        if isinstance(y, Logits):
            return super().shape(y)[:1]
        self.check_frames(value(y))
        return value(y).shape[:1]

    def check_frames(self, y: Any) -> None:
        """Raise unless y is [B, T, C]."""
        if isinstance(y, Logits):
            raise TypeError(
                f"{self}: a Sequence must hold whole logits, got Logits; end the net in Dense."
            )
        check_steps(self, "y", y)

    def check(self, y, target):
        """Target must hold labels [B, S] for y [B, T, C]."""
        y = value(y)
        self.check_frames(y)
        check_numbers(self, "target", target)
        if y.shape[-1] <= max(self.blank, 1):
            raise ValueError(
                f"{self}: y must have the blank {self.blank} and other classes in its last axis, "
                f"got {list(y.shape)}."
            )
        if target.ndim != 2 or len(target) != len(y):
            raise ValueError(
                f"{self}: target must have shape [{len(y)}, S], labels, got {list(target.shape)}."
            )
        check_integers(self, target)
        known = concrete(target)
        if known is not None:
            self.check_labels(known, *y.shape[1:])

    def check_labels(self, target: np.ndarray, n_frames: int, n_classes: int) -> None:
        """Raise unless every known row can be read from so many frames."""
        is_label = target != self.padding
        valid = ~is_label | ((target >= 0) & (target < n_classes) & (target != self.blank))
        must = f"hold labels in [0, {n_classes}) but the blank {self.blank}"
        check_known(self, "target", target, valid, must, f"; {self.padding} stands behind the last")
        behind = ~is_label[:, :-1] & is_label[:, 1:]
        must = f"have the padding {self.padding} behind its labels alone"
        check_known(self, "target", target[:, 1:], ~behind, must)
        again = (target[:, 1:] == target[:, :-1]) & is_label[:, 1:]  # a blank stands between
        needed = is_label.sum(-1) + again.sum(-1)
        must = f"be at most the {n_frames} of y"
        check_known(self, "the frames that a row needs", needed, needed <= n_frames, must)

    def forward(self, y, target):
        """−log P, of α."""
        self.check(y, target)
        y, target = jax.tree.map(owned, y), as_classes(target)
        states = self.states(target, value(y).shape[-1])
        alpha = ahead(emissions(softmax(y)[0], states), states, mask_of(y))
        return losses_of(alpha[:, -1], states), CTCCache(y, target, alpha)

    def backward(self, cache, dl):
        """dl [p − Σ γ], of α and γ."""
        y, target, alpha = cache
        log_p, p = softmax(y)
        states = self.states(target, p.shape[-1])
        gamma = back(alpha, emissions(log_p, states), states, mask_of(y))
        read = gamma @ of_labels(states.labels, p).astype(p.dtype)
        sure = p > 0.5
        apart, others = (jnp.where(sure, 0, a).sum(-1, keepdims=True) for a in (read, p))
        d = jnp.where(sure, apart - others, p - read)
        defined = jnp.isfinite(losses_of(alpha[:, -1], states))
        d = jnp.where(defined[:, None, None], d, jnp.nan)
        dy = select(mask_of(y), times(dl[:, None, None], d))
        return lift(lambda a: dy.astype(a.dtype), y)

    def states(self, target: Array, n_classes: int) -> "States":
        """l′, and where a path may go."""
        is_label = target != self.padding
        fits = (target >= 0) & (target < n_classes) & (target != self.blank)
        behind = ~is_label[:, :-1] & is_label[:, 1:]
        labels = jnp.where(is_label & fits, target, self.blank)
        around = jnp.full((len(target), 2 * target.shape[1] + 1), self.blank, target.dtype)
        other = jnp.pad(labels[:, 1:] != labels[:, :-1], ((0, 0), (1, 0)))[:, : labels.shape[1]]
        return States(
            labels=around.at[:, 1::2].set(labels),
            skip=jnp.zeros(around.shape, bool).at[:, 1::2].set(other),
            n=is_label.sum(-1),
            valid=(fits | ~is_label).all(-1) & ~behind.any(-1),
        )


class States(NamedTuple):
    """l′ = ␣ l_1 ␣ l_2 ... l_n ␣, behind it more blanks."""

    labels: Array  # [B, 2 S + 1]
    skip: Array  # whether a path may come from s − 2, [B, 2 S + 1]
    n: Array  # how many labels there are, [B]
    valid: Array  # whether they are labels, [B]


def softmax(y: Any) -> tuple[Array, Array]:
    """log p and p of every frame, those that the mask leaves out of zeros."""
    frames = select(mask_of(y), value(y))
    z, e, r = exponentials(frames)
    return log_softmax(z, r), e / e.sum(-1, keepdims=True)


def emissions(log_p: Array, states: States) -> Array:
    """e_t(s) = log p_t(l′_s), [T, B, 2 S + 1]."""
    labels = jnp.clip(states.labels, 0, log_p.shape[-1] - 1)
    return jnp.take_along_axis(log_p, labels[:, None], -1).swapaxes(0, 1)


def plus(*terms: Array) -> Array:
    """a ⊕ b ⊕ ... = log(eᵃ + eᵇ + ...), also where some are −∞."""
    high, lower = terms[0], []
    for a in terms[1:]:
        high, low = jnp.maximum(high, a), jnp.minimum(high, a)
        lower.append(low)
    rest = [jnp.exp(jnp.where(low == -jnp.inf, low, low - high)) for low in lower]
    return high + jnp.log1p(sum(rest[1:], rest[0]))


def moved(a: Array, n: int, fill: float = -jnp.inf) -> Array:
    """a(s − n), `fill` where there is no such state."""
    around = [(0, 0)] * (a.ndim - 1) + [(abs(n), abs(n))]
    start = abs(n) - n
    return jnp.pad(a, around, constant_values=fill)[..., start : start + a.shape[-1]]


def ahead(e: Array, states: States, mask: Array | None) -> Array:
    """α_t, [B, T, 2 S + 1]."""

    def step(a, frame):
        e, counts = frame
        skipped = jnp.where(states.skip, moved(a, 2), -jnp.inf)
        alpha = e + plus(a, moved(a, 1), skipped)
        alpha = alpha if counts is None else jnp.where(counts[:, None], alpha, a)
        return alpha, alpha

    first = jnp.where(jnp.arange(e.shape[-1]) == 0, jnp.zeros_like(e[0]), -jnp.inf)
    frames = e, None if mask is None else mask.T
    return jax.lax.scan(step, first, frames)[1].swapaxes(0, 1)


def back(alpha: Array, e: Array, states: States, mask: Array | None) -> Array:
    """γ_t, [B, T, 2 S + 1]."""
    alpha = alpha.swapaxes(0, 1)
    now, then = alpha[:-1], alpha[1:]
    share = [  # of s' that comes from s' − k
        jnp.where(then == -jnp.inf, 0, jnp.exp(moved(now, k) + e[1:] - then)) for k in range(3)
    ]
    share[2] = jnp.where(states.skip, share[2], 0)

    def step(gamma, frame):
        share, counts = frame
        parts = [moved(gamma * a, -k, 0.0) for k, a in enumerate(share)]
        before = parts[0] + parts[1] + parts[2]
        before = before if counts is None else jnp.where(counts[:, None], before, gamma)
        return before, before

    log_p = -losses_of(alpha[-1], states)[:, None]
    s, end = jnp.arange(e.shape[-1], dtype=states.n.dtype), 2 * states.n[:, None]
    last = jnp.where((s == end) | (s == end - 1), jnp.exp(alpha[-1] - log_p), 0)
    frames = share, None if mask is None else mask.T[1:]
    _, gamma = jax.lax.scan(step, last, frames, reverse=True)
    return jnp.concatenate([gamma, last[None]]).swapaxes(0, 1)


def losses_of(alpha: Array, states: States) -> Array:
    """−log P of α_T; NaN where there are no labels."""
    blank, label = (
        jnp.take_along_axis(alpha, jnp.maximum(2 * states.n - i, 0)[:, None], 1)[:, 0]
        for i in (0, 1)
    )
    log_p = plus(blank, jnp.where(states.n > 0, label, -jnp.inf))
    return jnp.where(states.valid, -log_p, jnp.nan)
