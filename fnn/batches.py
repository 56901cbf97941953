"""Minibatches of rows: which rows, with which weights, and the averages over them.

Equations: nt.dataset, opt.sgd.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.driver import as_array
from fnn.errors import check_known
from fnn.loss import check_loss_type, merge_weights
from fnn.numerics import concrete, is_floating, ratio, times, wide
from fnn.types import Array, PyTree, integer


class Rows(NamedTuple):
    """What there is to learn from, row by row."""

    x: PyTree  # [N, ...]
    target: Array  # [N, ...]
    weights: Array | None = None  # [N] or in the shape of the losses


def as_rows(x: Any, target: Any, weights: Any = None) -> Rows:
    """x, target and weights as arrays with equally many rows."""
    x = jax.tree.map(jnp.asarray, x) if isinstance(x, tuple) else as_array("x", x)
    target = as_array("target", target)
    for a in jax.tree.leaves(x):
        if a.ndim == 0 or target.ndim == 0 or len(a) != len(target):
            raise ValueError(
                "x and target must have equally many rows, got shapes "
                f"{list(a.shape)} and {list(target.shape)}."
            )
    if weights is not None:
        weights = as_array("weights", weights)
        if weights.shape[:1] != target.shape[:1]:
            raise ValueError(
                f"weights must have as many rows as target, {len(target)}, "
                f"got shape {list(weights.shape)}."
            )
    return Rows(x, target, weights)


def named(metrics: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """The metrics as (name, function), static for jit."""
    for name in metrics:
        if name == "loss" or name.startswith("validation_"):
            raise ValueError(f"metric {name!r}: that name is the history's own; choose another.")
    return tuple(metrics.items())


def pair(name: str, data: Any) -> tuple[Any, Any]:
    """`data`, if it is (x, target)."""
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise TypeError(f"fit: {name} must be a pair (x, target), got {type(data).__name__}.")
    return data[0], data[1]


def count(name: str, value: Any) -> int:
    """`value` as an int of at least 1."""
    value = integer(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def minibatches(n: int, batch_size: int, key: Any, drop_last: bool) -> tuple[Array, Any]:
    """The rows of every batch, [n_batches, B], and which of them count; None for all.

    They are a permutation, drawn from `key`. Where it ends before the last batch is
    full, its first rows stand in and do not count.
    """
    if n == 0:
        raise ValueError("empty batch: the data have no rows.")
    size = min(batch_size, n)
    n_batches, rest = divmod(n, size)
    order = jnp.arange(n) if key is None or size == n else shuffled(key, n)
    if rest == 0 or drop_last:
        return order[: n_batches * size].reshape(n_batches, size), None
    filled = jnp.concatenate([order, order[: size - rest]])
    real = jnp.arange(len(filled)) < n
    return filled.reshape(-1, size), real.reshape(-1, size)


def shuffled(key: Any, n: int) -> Array:
    """A random permutation of 0, ..., n − 1.

    A row's number stands in the low bits of its random number, so that a plain sort
    moves both: a third to an eighth of the time of jax.random.permutation, which sorts
    pairs. Rows that draw the same high bits keep their order; as there, so many rounds are
    sorted that this has a chance of at most n⁻¹ for any two of them.
    """
    bits = max(1, (n - 1).bit_length())
    if bits > 24:  # too few random bits are left
        return jax.random.permutation(key, n)
    order, low = jnp.arange(n), jnp.arange(n, dtype=jnp.uint32)
    for k in jax.random.split(key, -(-3 * bits // (32 - bits))):
        high = jax.random.bits(k, (n,), jnp.uint32) >> bits << bits
        place = jnp.sort(high | low) & ((1 << bits) - 1)
        order = order[place.astype(jnp.int32)]
    return order


def taken(rows: Rows, chosen: Array, real: Array | None) -> Rows:
    """The chosen rows; those that are not real have weight 0."""
    batch = jax.tree.map(lambda a: a.at[chosen].get(mode="promise_in_bounds"), rows)
    if real is None:
        return batch
    if batch.weights is None:
        return batch._replace(weights=real)
    real = real.reshape(-1, *(1,) * (batch.weights.ndim - 1))
    return batch._replace(weights=jnp.where(real, batch.weights, 0))


def metric_sums(metrics: Any, y: Array, target: Array, w: Array) -> dict[str, Array]:
    """Σ w m for every metric m."""
    sums = {}
    for name, f in metrics:
        m = jnp.asarray(f(y, target))
        if m.shape != w.shape:
            raise ValueError(
                f"metric {name!r} must give one number per prediction, shape {list(w.shape)}, "
                f"got {list(m.shape)}."
            )
        sums[name] = times(w, m.astype(w.dtype)).sum()
    return sums


def averages(sums: dict[str, Array], weight: Array) -> dict[str, Array]:
    """Σ w m / Σ w over one batch or a stack of them; 0 where Σ w = 0."""
    return {name: ratio(s.sum(), weight.sum()) for name, s in sums.items()}


def check_rows(
    net: Any, loss: Any, params: PyTree, key: Any, rows: Rows, *, name: str = ""
) -> None:
    """Check shapes, and values where they are known, before anything runs."""
    check_loss_type("fit", loss)
    if len(rows.target) == 0:
        raise ValueError(f"empty batch: the {name}data have no rows.")

    def outputs(params, x):
        return net.forward(params, x, key=key)[0]

    y = jax.eval_shape(outputs, params, rows.x)
    loss.check(y, rows.target)
    used = None
    if rows.weights is not None:
        dtype = wide(jax.tree.leaves(y)[0].dtype)
        merge_weights(loss.shape(y), rows.weights, loss.counted(rows.target), dtype)
        used = concrete(rows.weights)
    if used is not None:
        used = (used != 0).reshape(len(used), -1).any(1)
    for what, a in ((f"{name}x", rows.x), (f"{name}target", rows.target)):
        for leaf in jax.tree.leaves(a):
            check_finite(what, leaf, used)


def check_finite(name: str, a: Array, used: np.ndarray | None) -> None:
    """Raise a ValueError where a known entry of a used row is NaN or infinite."""
    known = concrete(a)
    if known is None or not is_floating(known):
        return
    finite = np.isfinite(known)
    if used is not None:
        finite |= ~used.reshape(-1, *(1,) * (known.ndim - 1))
    check_known("fit", name, known, finite, "be finite", "; give such rows weight 0")
