"""Minibatches of rows: which rows, with which weights, and the averages over them."""

import jax
import jax.numpy as jnp
import numpy as np

from fnn.driver import as_array
from fnn.errors import check_known
from fnn.loss import check_weights
from fnn.numerics import concrete, is_floating, times
from fnn.types import integer


def minibatches(n, batch_size, key, drop_last):
    """The rows of every batch, [n_batches, B], and which of them count; None for all."""
    size = min(batch_size, n)
    n_batches, rest = divmod(n, size)
    order = jnp.arange(n)
    if key is not None and size < n:
        order = jax.random.permutation(key, n)
    if rest == 0 or drop_last:
        return order[: n_batches * size].reshape(n_batches, size), None
    filled = jnp.concatenate([order, order[: size - rest]])
    real = jnp.arange(len(filled)) < n
    return filled.reshape(-1, size), real.reshape(-1, size)


def taken(data, weights, rows, real):
    """These rows of the data, and their weights: 0 for those that are not real."""
    batch = jax.tree.map(lambda a: a.at[rows].get(mode="promise_in_bounds"), data)
    if weights is not None:
        weights = weights.at[rows].get(mode="promise_in_bounds")
    if real is None:
        return batch, weights
    if weights is None:
        return batch, real
    return batch, jnp.where(real.reshape(-1, *(1,) * (weights.ndim - 1)), weights, 0)


def metric_sums(metrics, y, target, w):
    """Σ w m for every metric m."""
    sums = {}
    for name, f in metrics:
        m = f(y, target)
        if jnp.shape(m) != w.shape:
            raise ValueError(
                f"metric {name!r} must give one number per prediction, shape {list(w.shape)}, "
                f"got {list(jnp.shape(m))}."
            )
        sums[name] = times(w, m.astype(w.dtype)).sum()
    return sums


def averages(sums):
    """Σ w m / Σ w of every quantity but the weight itself."""
    total = sums["weight"]
    some = jnp.where(total == 0, 1, total)
    return {name: s / some for name, s in sums.items() if name != "weight"}


def arrays(x, target, weights):
    """x, target and weights as arrays with equally many rows."""
    x = jax.tree.map(jnp.asarray, x) if isinstance(x, tuple) else as_array("x", x)
    target = as_array("target", target)
    n, m = len(jax.tree.leaves(x)[0]), len(target)
    if n != m:
        raise ValueError(f"x and target must have equally many rows, got {n} and {m}.")
    return x, target, None if weights is None else as_array("weights", weights)


def count(name, value):
    """`value` as an int of at least 1."""
    value = integer(name, value)
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}.")
    return value


def check_data(net, loss, state, x, target, weights, *, name=""):
    """Check shapes, and values where they are known, before anything runs."""
    if len(target) == 0:
        raise ValueError(f"empty batch: the {name}data have no rows.")

    def outputs(params, x):
        return net.forward(params, x, key=state.key)[0]

    y = jax.eval_shape(outputs, state.params, x)
    loss.check(y, target)
    used = None
    if weights is not None:
        check_weights(loss.shape(y), weights)
        used = concrete(weights)
    if used is not None:
        used = (used != 0).reshape(len(used), -1).any(1)
        if not used.any():
            raise ValueError("weights must not all be 0: nothing would be learned.")
    for what, a in ((f"{name}x", x), (f"{name}target", target)):
        for leaf in jax.tree.leaves(a):
            check_finite(what, leaf, used)


def check_finite(name, a, used):
    """Raise a ValueError where a known entry of a used row is NaN or infinite."""
    known = concrete(a)
    if known is None or not is_floating(known):
        return
    finite = np.isfinite(known)
    if used is not None:
        finite |= ~used.reshape(-1, *(1,) * (known.ndim - 1))
    check_known("fit", name, known, finite, "be finite", "; give such rows weight 0")
