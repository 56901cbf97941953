"""What the steps of an epoch reported, added up on the host in float64.

    mean = Σ_steps Σ w m / Σ_steps Σ w

so that neither the cut into batches nor their number matters. Results of other rules, and what a
Watch saw, are kept step by step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.batches import reported
from fnn.records import PyTree
from fnn.watching import Packed, unpacked


class Totals(NamedTuple):
    """Sums over steps, and what is not summed."""

    sums: Any = None  # name → Σ w m
    weight: Any = np.nan  # Σ w, NaN before the first step
    each: tuple[PyTree, ...] = ()  # results and what was seen, [steps, ...], part by part

    def plus(self, sums: dict[str, Any], weight: Any, each: PyTree = None) -> "Totals":
        """With those of more steps; arrays are waited for."""
        sums, weight, each = jax.device_get((sums, weight, each))
        more = {name: np.sum(s, dtype=np.float64) for name, s in sums.items()}
        if self.sums is not None:
            more = {name: self.sums[name] + s for name, s in more.items()}
        parts = (*self.each, each) if jax.tree.leaves(each) else ()
        return Totals(more, known([self.weight, known(weight)]), parts)

    def with_steps(self, found: Any, begin: int, end: int) -> "Totals":
        """With what these steps reported: ((sums, weight, results), seen), [slots, ...]."""
        (sums, weight, results), seen = jax.tree.map(lambda a: a[begin:end], jax.device_get(found))
        return self.plus(sums, weight, results | seen)

    def row(self, metrics: Any, dtype: Any) -> dict[str, Any]:
        """The row of history, its averages in `dtype`; 0 where nothing counted."""
        w = self.weight
        means = {name: jnp.asarray(s / w if w else w, dtype) for name, s in self.sums.items()}
        kept = jax.tree.map(lambda *parts: np.concatenate(parts), *self.each) if self.each else {}
        shown = {n: unpacked(v) if isinstance(v, Packed) else v for n, v in kept.items()}
        return reported(metrics, means) | shown


def known(weights: Any) -> np.floating:
    """Σ w without the steps that are left out, whose weight is NaN; NaN where all are."""
    w = np.asarray(weights, np.float64)
    return w[~np.isnan(w)].sum() if not np.isnan(w).all() else np.float64(np.nan)
