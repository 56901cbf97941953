"""Steps that are not finite: what shows them, and how a Plan with `skips` leaves them out.

    ok       the loss, every gradient and all that is new in the State are finite
    skipped  ← skipped + 1 where not ok and skipped < skips: then the State stays as it was

A step that is left out counts as a step all the same, so that keys and the order of rows go on;
it has no part in the averages of an epoch, and its own row says NaN. The one that is too many is
taken: its NaN is for the run to stop at, as without `skips`.

A gradient that is not finite shows in the State, or, wherever the optimizer may hide it, in the
loss of its row, which it makes NaN.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from fnn.errors import by_path, check_number
from fnn.numerics import concrete, is_floating
from fnn.records import Array, PyTree, integer


def check_skips(skips: Any) -> None:
    """Raise unless skips is None or a number of steps, at least 1."""
    if skips is None:
        return
    check_number("Plan", "skips", skips, 1)
    for n in () if (known := concrete(skips)) is None else known.reshape(-1).tolist():
        integer("Plan: skips", n)


def none_skipped(skips: Any) -> Array | None:
    """How many steps were left out before the first one; None where none ever is."""
    return None if skips is None else jnp.zeros((), jnp.int32)


def left_out(
    skips: Any, before: Any, after: Any, sums: dict[str, Array], weight: Array
) -> tuple[Any, dict[str, Array], Array]:
    """The State behind a step, Σ w m and Σ w; of a step that is left out what was, 0 and NaN."""
    if skips is None:
        return after, sums, weight
    ok = all_finite((sums["loss"], new_in(after, before)))
    skip = ~ok & (before.skipped < jnp.asarray(skips).astype(before.skipped.dtype))
    stayed = before._replace(step=after.step, skipped=before.skipped + 1, key=None)
    state = chosen(skip, stayed, after._replace(key=None))._replace(key=after.key)
    sums = chosen(skip, jax.tree.map(jnp.zeros_like, sums), sums)
    return state, sums, chosen(skip, jnp.nan, weight)


def chosen(skip: Array, stayed: PyTree, after: PyTree) -> PyTree:
    """`stayed` where the step is left out, else `after`."""
    return jax.tree.map(lambda b, a: jnp.where(skip, b, a), stayed, after)


def new_in(state: Any, before: Any) -> dict[str, Array]:
    """The arrays of a State by name, 0 where it was not finite before: some begin at infinity."""
    now, then = (by_path("", s._replace(key=None)) for s in (state, before))
    floating = {name: a for name, a in now.items() if is_floating(a)}
    return {name: jnp.where(jnp.isfinite(then[name]), a, 0) for name, a in floating.items()}


def all_finite(tree: PyTree) -> Array:
    """Whether every array of a tree is finite."""
    each = (jnp.isfinite(a).all() for a in jax.tree.leaves(tree))
    return functools.reduce(jnp.logical_and, each, jnp.array(True))
