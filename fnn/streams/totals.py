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
from fnn.devices.group import Group
from fnn.records import PyTree
from fnn.watching import Packed, unpacked


class Totals(NamedTuple):
    """Sums over steps, and what is not summed."""

    sums: Any = None  # name → Σ w m
    weight: Any = np.nan  # Σ w of the steps that were not left out; NaN without one
    each: tuple[PyTree, ...] = ()  # results and what was seen, [steps, ...], part by part

    def plus(self, sums: dict[str, Any], weight: Any, each: PyTree = None) -> "Totals":
        """With those of more steps, which are on the host."""
        known = self.sums or {}
        more = {name: added(known.get(name, 0.0), s) for name, s in sums.items()}
        parts = (*self.each, each) if jax.tree.leaves(each) else ()
        kept = weight[~np.isnan(weight)]  # of others the step was left out
        whole = added(np.nan_to_num(self.weight), kept) if kept.size else self.weight
        return Totals(more, whole, parts)

    def with_batches(self, group: Group, found: Any, begin: int, end: int) -> "Totals":
        """With what these batches are evaluated at: (sums, weight), [slots]."""
        return self.plus(*part(group, found, begin, end))

    def with_steps(self, group: Group, found: Any, begin: int, end: int) -> "Totals":
        """With what these steps reported: ((sums, weight, results), seen), [slots, ...]."""
        (sums, weight, results), seen = part(group, found, begin, end)
        return self.plus(sums, weight, results | seen)

    def row(self, metrics: Any, dtype: Any) -> dict[str, Any]:
        """The row of history, its averages in `dtype`; 0 where nothing counted, NaN of no step."""
        w = self.weight
        means = {name: jnp.asarray(s / w if w else w, dtype) for name, s in self.sums.items()}
        each = jax.tree.map(lambda *parts: np.concatenate(parts), *self.each) if self.each else {}
        return reported(metrics, means) | shown(each)


def part(group: Group, found: PyTree, begin: int, end: int) -> PyTree:
    """Entries of arrays of all processes, on the host; they are waited for."""
    return jax.tree.map(lambda a: a[begin:end], group.on_host(found))


def added(total: Any, more: Any) -> Any:
    """total + more[0] + more[1] + …, in this order: the cut into windows rounds nothing."""
    return np.cumsum(np.append(total, more), dtype=np.float64)[-1]


def shown(each: dict[str, Any]) -> dict[str, Any]:
    """What is kept step by step, as a history has it."""
    return {name: unpacked(v) if isinstance(v, Packed) else v for name, v in each.items()}
