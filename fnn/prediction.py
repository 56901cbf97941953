"""Predictions: the y of the evaluation network for any number of rows, batch by batch.

One program of `batch_size` rows serves every N: the last batch is filled up with its last row,
and y is cut.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fnn.arrays import as_input
from fnn.batches import AT_ONCE, check_finite, count
from fnn.composite import empty
from fnn.devices.rows import check_alone
from fnn.logits import Logits, whole
from fnn.plan import (
    Plan,
    State,
    check_evaluated,
    check_plan,
    check_state,
    check_trained,
    evaluation_net,
)
from fnn.records import PyTree
from fnn.sequence import Sequence, renewed, select, state_of, value
from fnn.sharding import automatic


def predict(
    plan: Plan,
    state: State,
    x: PyTree,
    *,
    batch_size: int = AT_ONCE,
    calibration: PyTree | None = None,
) -> PyTree:
    """y [N, ...] of inference(net, params) for x [N, ...], batch by batch.

    y is what the net makes, an array or any pytree of such with the rows first; of factored
    logits the logits themselves, of Sequences Sequences, without their final state. It is on the
    device whole; x need not be: numpy arrays, memory-mapped files too, go there batch by batch.

    Args:
        plan: what was trained.
        state: with the params, as fit returned it.
        x: an array, a Sequence without a state, or any pytree of arrays with the rows first.
        batch_size: rows at a time, which bounds the memory. All N run the same program, so that
            a few rows take the time of so many: for single rows say 1.
        calibration: as in evaluate; without it a plan with fnn.rules.running_averages(net) has
            the averages that the State gathered.

    Raises:
        ValueError: for shapes that do not fit, x without rows or with a state, numbers that are
            known and not finite, and without calibration where a layer needs one.
        TypeError: for dtypes and arguments of another kind.
    """
    check_plan("predict", plan)
    check_state("predict", plan, state)
    check_alone("predict", state.layout, "a State", "predict with fnn.devices.gathered(state)")
    check_trained("predict", state)
    size, calibration = count("predict: batch_size", batch_size), as_input("predict", calibration)
    check_evaluated("predict", plan, state, calibration)
    if not all(isinstance(a, np.ndarray | jax.Array) for a in jax.tree.leaves(x)):
        x = as_input("predict", x)
    n, found = rows_of(x), []
    net, params = _jit_net(plan, state, calibration)
    for i in range(0, n, size):
        jax.block_until_ready(found[-1:])  # or all batches of x were on the device at once
        found.append(_jit_forward(net, params, batch(x, np.arange(i, min(i + size, n)), size)))
    return jax.tree.map(lambda *a: jnp.concatenate(a)[:n], *found)


def rows_of(x: PyTree) -> int:
    """How many rows x has."""
    sequences = jax.tree.leaves(x, is_leaf=lambda a: isinstance(a, Sequence))
    if not all(empty(state_of(a)) for a in sequences):
        raise ValueError(
            "predict: x has a state, of which no rows can be cut; call the forward of "
            "fnn.inference(net, params) with each part of a long sequence."
        )
    shapes = [a.shape for a in jax.tree.leaves(x)]
    if len({shape[:1] for shape in shapes}) != 1 or () in shapes:
        got = ", ".join(str(list(shape)) for shape in shapes) or "none"
        raise ValueError(f"predict: x must hold arrays with equally many rows, got {got:.200}.")
    if shapes[0][0] == 0:
        raise ValueError("predict: empty batch, x has no rows.")
    return shapes[0][0]


def batch(x: PyTree, rows: np.ndarray, size: int) -> PyTree:
    """These rows of x on the device, filled up to `size` with the last of them."""
    filled = np.pad(rows, (0, size - len(rows)), "edge")
    part = as_input("predict", jax.tree.map(lambda a: a[filled], x))
    known = part.with_fields(x=select(part.mask, part.x)) if isinstance(part, Sequence) else part
    for a in jax.tree.leaves(known):
        check_finite(f"predict, rows {rows[0]} to {rows[-1]}", "x", a, None)
    return part


def _forward(net, params, x):
    """y, without the final state of Sequences, whose rows may stand on another axis."""
    y, _ = net.forward(params, x)

    def shown(a):
        return renewed(a, x=whole(value(a)), state=None) if isinstance(a, Sequence) else whole(a)

    return jax.tree.map(shown, y, is_leaf=is_form)


def is_form(a: Any) -> bool:
    """Whether `a` is a Sequence or Logits, which are trees of arrays themselves."""
    return isinstance(a, Sequence | Logits)


_jit_net = jax.jit(automatic(evaluation_net))
_jit_forward = jax.jit(automatic(_forward))
