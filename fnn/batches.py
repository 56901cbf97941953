"""Minibatches of rows: which rows, with which weights, and the averages over them."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from fnn.arrays import as_array, as_input
from fnn.composite import empty
from fnn.driver import weighed_in
from fnn.errors import check_known
from fnn.logits import whole
from fnn.mean import check_weights, merge_weights
from fnn.metrics import Metric
from fnn.numerics import concrete, is_floating, ratio, times, wide
from fnn.records import Array, PyTree, integer
from fnn.sequence import Sequence, mask_of, renewed, select, state_of, value
from fnn.targets import settled

WHOLE = 2**28  # bytes of memory-mapped arrays that come onto the device at once
AT_ONCE = 1024  # predictions of data to evaluate, or a batch where that has more


class Rows(NamedTuple):
    """What there is to learn from, row by row."""

    x: PyTree  # [N, ...]
    target: Array  # [N, ...]
    weights: Array | None = None  # [N] or in the shape of the losses


def as_rows(owner: str, name: str, data: Any, convert: Callable[..., Any] = as_array) -> Rows:
    """(x, target) or (x, target, weights) as arrays with equally many rows."""
    if not isinstance(data, tuple | list) or len(data) not in (2, 3):
        got = type(data).__name__
        got += f" of {len(data)}" if isinstance(data, tuple | list) else ""
        raise TypeError(
            f"{owner}: {name} must be (x, target) or (x, target, weights), got {got}; "
            "batches come from a function that makes an iterator of them, fnn.fit(plan, state, f)."
        )
    x, target, *weights = data
    x, target = as_input(owner, x, convert), convert(owner, "target", target)
    for a in jax.tree.leaves(renewed(x, state=None)):  # a stacked state has its rows elsewhere
        if a.ndim == 0 or target.ndim == 0 or len(a) != len(target):
            raise ValueError(
                f"{owner}: x and target must have equally many rows, got shapes "
                f"{list(a.shape)} and {list(target.shape)}."
            )
    if not weights or weights[0] is None:
        return Rows(x, target)
    w = convert(owner, "weights", weights[0])
    if w.shape[:1] != target.shape[:1]:
        raise ValueError(
            f"{owner}: weights must have as many rows as target, {len(target)}, "
            f"got shape {list(w.shape)}."
        )
    return Rows(x, target, w)


def is_large(data: Any) -> bool:
    """Whether memory-mapped arrays of `data` are too large to come onto the device whole."""
    found = [a for a in jax.tree.leaves(data) if isinstance(a, np.memmap)]
    return sum(a.nbytes for a in found) > WHOLE


def warn_of_files(owner: str, data: Any) -> None:
    """Say that large memory-mapped arrays come onto the device whole, and what does not do so."""
    if is_large(data):
        warnings.warn(
            f"{owner}: memory-mapped arrays of more than {WHOLE / 2**20:,.0f} MiB are copied to "
            "the device whole; fnn.fit reads them batch by batch.",
            stacklevel=4,
        )


def check_stateless(owner: str, name: str, x: Any) -> None:
    """Raise unless rows can be cut from x: a state, stacked under Repeat, has them elsewhere."""
    leaves = jax.tree.leaves(x, is_leaf=lambda a: isinstance(a, Sequence))
    if not all(empty(state_of(a)) for a in leaves):
        raise ValueError(
            f"{owner}: x of {name} has a state, of which no rows can be cut; "
            "call fnn.step with each part of a long sequence."
        )


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
        raise ValueError("empty batch: there are no rows.")
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
    """The chosen rows; those that are not real have weight 0, and are seen all the same."""
    return counted(jax.tree.map(lambda a: a.at[chosen].get(mode="promise_in_bounds"), rows), real)


def counted(batch: Rows, real: Array | None) -> Rows:
    """A batch of rows, 0 in those of weight 0; what is not real has that weight and is seen."""
    batch = batch._replace(x=weighed_in(batch.x, batch.weights))
    if real is None:
        return batch
    if batch.weights is None:
        return batch._replace(weights=real)
    real = real.reshape(-1, *(1,) * (batch.weights.ndim - 1))
    zero = jnp.zeros((), batch.weights.dtype)
    return batch._replace(weights=jnp.where(real, batch.weights, zero))


def metric_sums(metrics: Any, y: Any, target: Array, w: Array) -> dict[str, Array]:
    """Σ w m for every metric m, of the array in y: logits whole, the steps of a Sequence."""
    y, sums = whole(value(y)), {}
    for name, f in metrics:
        m = jnp.asarray(f(y, target))
        if m.shape != w.shape:
            raise ValueError(
                f"metric {name!r} must give one number per prediction, shape {list(w.shape)}, "
                f"got {list(m.shape)}."
            )
        sums[name] = times(w, m.astype(w.dtype)).sum()
    return sums


def averages(metrics: Any, sums: dict[str, Array], weight: Array) -> dict[str, Array]:
    """Σ w m / Σ w over one batch or a stack of them, 0 where Σ w = 0; what a Metric makes of it.

    Batches whose Σ w is NaN are left out; where all are, the means are NaN.
    """
    out = jnp.isnan(weight)
    total = jnp.where(out.all(), jnp.nan, jnp.where(out, 0, weight).sum())
    return reported(metrics, {name: ratio(s.sum(), total) for name, s in sums.items()})


def reported(metrics: Any, means: dict[str, Array]) -> dict[str, Array]:
    """Means, and of a Metric what it makes of its own."""
    last = {name: f.of_mean for name, f in metrics if isinstance(f, Metric)}
    return {name: last[name](m) if name in last else m for name, m in means.items()}


def check_rows(owner: str, name: str, trained: Any, rows: Rows) -> None:
    """Check shapes, and values where they are known, before anything runs.

    `trained` is (net, loss, params, key).
    """
    if len(rows.target) == 0:
        raise ValueError(f"{owner}: empty batch, the {name}data have no rows.")
    loss, y = trained[1], predicted(trained, rows.x)
    check_values(owner, name, loss, y, rows)
    if rows.weights is not None:
        dtype = wide(jax.tree.leaves(y)[0].dtype)
        counts = (loss.counted(rows.target), mask_of(rows.x))
        counts = tuple(c for c in counts if c is None or c.shape == loss.shape(y)[: c.ndim])
        merge_weights(owner, loss.shape(y), rows.weights, counts, dtype)


def predicted(trained: Any, x: PyTree) -> PyTree:
    """The shapes of y."""
    net, _, params, key = trained
    return jax.eval_shape(lambda p, x: value(net.forward(p, x, key=key)[0]), params, x)


def check_values(owner: str, name: str, loss: Any, y: PyTree, rows: Rows) -> None:
    """Check targets, weights and whether what is used is finite, where these are known."""
    mask = mask_of(rows.x)
    mask = mask if mask is None or mask.shape == loss.shape(y)[:2] else None
    target = settled(rows.target, rows.weights, mask)
    loss.check(y, target)
    used = None
    if rows.weights is not None:
        check_weights(owner, loss.shape(y), rows.weights)
        used = concrete(rows.weights)
    if used is not None:
        used = (used != 0).reshape(len(used), -1).any(1)
    x = jax.tree.map(seen, rows.x, is_leaf=lambda a: isinstance(a, Sequence))
    for what, a in ((f"{name}x", x), (f"{name}target", target)):
        for leaf in jax.tree.leaves(a):
            check_finite(owner, what, leaf, used)


def seen(x: PyTree) -> PyTree:
    """A Sequence with 0 in the steps that its known mask leaves out; anything else as it is."""
    if not isinstance(x, Sequence) or concrete(x.mask) is None:
        return x
    return x.with_fields(x=select(x.mask, x.x))


def check_finite(owner: str, name: str, a: Array, used: np.ndarray | None) -> None:
    """Raise a ValueError where a known entry of a used row is NaN or infinite."""
    known = concrete(a)
    if known is None or not is_floating(known):
        return
    finite = np.isfinite(known)
    if used is not None:
        finite |= ~used.reshape(-1, *(1,) * (known.ndim - 1))
    check_known(owner, name, known, finite, "be finite", "; give such rows weight 0")
