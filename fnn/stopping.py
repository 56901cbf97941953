"""Early stopping: a run ends when an entry of its history has not become better for a while.

    best(h)    the epoch e with the best h_e, the earlier one of two that are alike
    over(h)    epochs − 1 − best(h) ≥ patience

NaN is worse than everything. What is best follows from the history alone, so that a run which goes
on from a file ends where it would have ended.

Source: Prechelt (1998), Early stopping — but when?, in Neural Networks: Tricks of the Trade.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.core

from fnn.records import PyTree, Record


@dataclass(frozen=True)
class EarlyStopping(Record):
    """When `fit` stops: after `patience` epochs in which `entry` did not become better.

        fnn.fit(plan, state, data, …, validation=held_out, stop=fnn.EarlyStopping(5, best=True))

    Args:
        patience: epochs to wait, at least 1.
        entry: of the history: "validation_loss", "loss", or the name of a metric.
        largest: whether more of it is better, as of an accuracy.
        best: whether fit returns the State of the best epoch, not that of the last.

    Raises:
        ValueError: for a patience below 1; from fit, for an entry that its history will not have.
        TypeError: for values of another kind.
    """

    patience: int
    entry: str = "validation_loss"
    largest: bool = False
    best: bool = False

    def __post_init__(self):
        """Check every field."""
        super().__post_init__()
        if self.patience < 1:
            raise ValueError(f"EarlyStopping: patience must be at least 1, got {self.patience}.")
        if not isinstance(self.entry, str):
            raise TypeError(f"EarlyStopping: entry must be a name, got {self.entry!r:.60}.")

    def best_of(self, values: Sequence[float]) -> int:
        """The epoch of the best value; the earlier one of two that are alike."""
        signs = [-v if self.largest else v for v in values]
        return min(range(len(signs)), key=lambda e: (math.isnan(signs[e]), signs[e], e))

    def looked(
        self, history: Sequence[Mapping[str, Any]], state: Any, best: Any
    ) -> tuple[bool, Any]:
        """Whether a run is over behind the last of these rows, and the State of its best epoch.

        `state` is that behind the last row, `best` what this returned behind the one before; where
        fit shall not return it, it is None.
        """
        values, last = [float(row[self.entry]) for row in history], len(history) - 1
        e = self.best_of(values)
        return last - e >= self.patience, (state if e == last else best) if self.best else None


def check_stop(stop: Any, metrics: Any, validated: bool, given: PyTree) -> None:
    """Raise unless `stop` is None or an EarlyStopping of what history will have, on the host."""
    if stop is None:
        return
    if not isinstance(stop, EarlyStopping):
        raise TypeError(f"fit: stop must be a fnn.EarlyStopping, got {stop!r:.60}.")
    names = ["loss", *(name for name, _ in metrics)]
    names += [f"validation_{name}" for name in names] if validated else []
    if stop.entry not in names:
        near = difflib.get_close_matches(stop.entry[:60], names, n=1, cutoff=0.6)
        hint = f"did you mean {near[0]!r}?" if near else "give validation=, or name another."
        told = ", ".join(names)
        raise ValueError(
            f"fit: stop looks at {stop.entry!r:.60}, and history will have {told}; {hint}"
        )
    if any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(given)):
        raise ValueError("fit: with stop it works on the host; call it outside jit and vmap.")
