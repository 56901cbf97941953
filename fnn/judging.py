"""Evaluation: loss and metrics of the evaluation network, batch by batch, without penalty."""

from typing import Any

import jax

from fnn.batches import AT_ONCE, Rows, averages, metric_sums, minibatches, taken
from fnn.loss import compared, present
from fnn.mean import merge_weights
from fnn.numerics import times, wide
from fnn.plan import Plan, State, evaluation_net, predictions_per_row
from fnn.records import Array, PyTree
from fnn.sharding import automatic, by_rows


def judged(plan: Plan, net: Any, params: PyTree, rows: Rows) -> tuple[dict[str, Array], Array]:
    """Σ w m of the loss and every metric over one batch, and Σ w; the net is one to evaluate."""
    x, target, weights = rows
    y, _ = net.forward(params, x)
    z, mask = compared(plan.loss, y)
    counts, dtype = (plan.loss.counted(target), mask), wide(jax.tree.leaves(z)[0].dtype)
    w = merge_weights("evaluate", plan.loss.shape(z), weights, counts, dtype)
    losses, _ = plan.loss.forward(z, present(plan.loss, target, w, weights, mask))
    return {"loss": times(w, losses).sum(), **metric_sums(plan.metrics, y, target, w)}, w.sum()


def evaluated(
    plan: Plan, state: State, rows: Rows, calibration: PyTree, *, batch_size: int
) -> dict[str, Array]:
    """The averages of loss and metrics, chunk by chunk."""
    net, params = evaluation_net(plan, state, calibration)

    def body(_, chosen):
        return None, judged(plan, net, params, by_rows(state, taken(rows, *chosen)))

    chosen = minibatches(len(rows.target), batch_size, None, drop_last=False)
    return averages(plan.metrics, *jax.lax.scan(body, None, chosen)[1])


def validated(plan: Plan, state: State, held_out: Any, batch_size: int) -> dict[str, Array]:
    """What a row of history says of data that are held out; nothing where there are none."""
    if held_out is None:
        return {}
    rows, calibration = held_out
    size = max(batch_size, AT_ONCE // predictions_per_row(plan, state, rows.x))
    return named(evaluated(plan, state, rows, calibration, batch_size=size))


def named(row: dict[str, Any]) -> dict[str, Any]:
    """An evaluation by the names that a history has for it."""
    return {f"validation_{name}": value for name, value in row.items()}


jit_evaluated = jax.jit(automatic(evaluated), static_argnames="batch_size")
jit_validated = jax.jit(automatic(validated), static_argnums=3)
jit_net = jax.jit(automatic(evaluation_net))
