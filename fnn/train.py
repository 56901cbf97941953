"""Training: one step, one epoch, many epochs, each a pure function of a State.

Everything runs on the device. An epoch is one `lax.scan` over minibatches; without a
callback the epochs are a scan too, and `fit` is itself jit- and vmap-able.

Minibatches are rows of a fresh permutation. The last one, if rows are missing, is filled
with other rows of the permutation at weight 0: real values, left out of loss and
gradient, so that every step has one shape and compiles once. That is exact for layers
that treat rows independently; `drop_last=True` leaves the last batch out instead.

Equations: risk.objective, bp.training-cycle, opt.sgd.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.batches import (
    as_rows,
    averages,
    check_rows,
    count,
    metric_sums,
    minibatches,
    named,
    pair,
    taken,
)
from fnn.driver import forward_and_fold
from fnn.errors import check_key
from fnn.evaluation import inference
from fnn.layer import Layer, backprop
from fnn.loss import Loss, mean, merge_weights
from fnn.optim.foreign import as_optimizer
from fnn.optim.optimizer import apply_updates, next_step
from fnn.types import Array, Key, PyTree

Metrics = Mapping[str, Callable[[Array, Array], Array]]  # name → (y, target) → [B, ...]
NO_METRICS: Metrics = MappingProxyType({})
AT_ONCE = 1024  # predictions of validation data, or a batch where that has more
Row = dict[str, Any]  # what one step or epoch reports: name → number


class State(NamedTuple):
    """All that training carries from step to step."""

    params: PyTree
    optimizer_state: Any
    key: Key | None  # stays the same; every draw folds the step into it
    step: Array  # steps taken so far, int32 []


def start(optimizer: Any, params: PyTree, key: Key | None = None) -> State:
    """The State before the first step.

    Args:
        optimizer: fnn's, or any pair of init and update, such as optax's.
        params: as from net.init(key).
        key: for shuffling and for layers that draw at random; None: rows keep their
            order, and such layers raise.
    """
    if key is not None:
        check_key("start", key)
    state = as_optimizer("start", optimizer).init(params)
    return State(params, state, key, jnp.zeros((), jnp.int32))


def step(
    net, loss, optimizer, state, x, target, *,
    weights=None, penalty=None, rule=backprop, metrics: Metrics = NO_METRICS,
) -> tuple[State, Row]:  # fmt: skip
    """One update from one batch: (state, {"loss": ..., **metrics}), jitted.

    The arguments are those of `fit`; values out of range give NaN instead of an error.
    """
    batch, optimizer = as_rows(x, target, weights), as_optimizer("step", optimizer)
    how = {"rule": rule, "metrics": named(metrics)}
    return _jit_step(net, loss, optimizer, state, batch, penalty, **how)


def epoch(
    net, loss, optimizer, state, x, target, *, batch_size,
    weights=None, penalty=None, rule=backprop, metrics: Metrics = NO_METRICS, drop_last=False,
) -> tuple[State, Row]:  # fmt: skip
    """One update from every minibatch: (state, {"loss": ..., **metrics}), jitted.

    The row averages over the epoch's predictions. Arguments and errors are those of `fit`.
    """
    rows, optimizer = as_rows(x, target, weights), as_optimizer("epoch", optimizer)
    check_rows(net, loss, params_of(state), state.key, rows)
    how = {"rule": rule, "metrics": named(metrics)}
    how |= {"batch_size": count("batch_size", batch_size), "drop_last": bool(drop_last)}
    return _jit_epoch(net, loss, optimizer, state, rows, penalty, **how)


def evaluate(
    net, loss, params, x, target, *, weights=None, metrics: Metrics = NO_METRICS, batch_size=1024
) -> Row:
    """{"loss": ..., **metrics} of inference(net, params), over all predictions, jitted.

    `batch_size` bounds the memory; the result does not depend on it. There is no penalty
    in this loss.
    """
    how = {"metrics": named(metrics), "batch_size": count("batch_size", batch_size)}
    (net, params), rows = inference(net, params), as_rows(x, target, weights)
    check_rows(net, loss, params, None, rows)
    return _jit_evaluate(net, loss, params, rows, **how)


def fit(
    net: Layer[Any, Any],
    loss: Loss[Any],
    optimizer: Any,
    params_or_state: PyTree,
    data: tuple[PyTree, Array],
    *,
    epochs: int,
    batch_size: int,
    key: Key | None = None,
    weights: Array | None = None,
    penalty: Any = None,
    rule: Callable[..., Any] = backprop,
    metrics: Metrics = NO_METRICS,
    validation: tuple[PyTree, Array] | None = None,
    callback: Callable[[State, Row], Any] | None = None,
    drop_last: bool = False,
) -> tuple[State, dict[str, Array]]:
    """Train for `epochs` epochs: (state, history), history: name → array [epochs].

    Args:
        net: the network.
        loss: what it should make small.
        optimizer: fnn's, or any pair of init and update, such as optax's.
        params_or_state: where to start: params, or the State of an earlier fit.
        data: (x, target), the rows to learn from.
        epochs: how often to go through them, at least 1.
        batch_size: rows per step; 1 is one-sample descent, len(x) or more is the whole
            set in every step.
        key: for shuffling and Dropout, where params are given; None: rows keep their order.
        weights: of the predictions, as in value_and_grad.
        penalty: L1, L2 or a tuple of such.
        rule: what computes the gradients; its result must be like params.
        metrics: name → function (y, target) → one number per prediction, averaged over
            the epoch, from the y of the steps themselves.
        validation: (x, target) to evaluate after every epoch, without penalty and with
            the evaluation network: history["validation_loss"] and so on.
        callback: called on the host after each epoch with the State and the row of
            history; a true result stops the training. Without one, fit does nothing
            on the host and can be jitted and vmapped whole.
        drop_last: leave the rows of an incomplete last batch out.

    Raises:
        ValueError: for shapes that do not fit, and, where they are known, labels and
            weights out of range and numbers that are not finite, except in rows of weight 0.
        TypeError: for dtypes, keys and optimizers that are none.
    """
    optimizer, state = as_optimizer("fit", optimizer), params_or_state
    if not isinstance(state, State):
        state = start(optimizer, state, key)
    elif key is not None:
        raise ValueError("fit: a State has its own key; write state._replace(key=key).")
    rows, held_out = as_rows(*pair("data", data), weights), None
    check_rows(net, loss, state.params, state.key, rows)
    if validation is not None:
        held_out = as_rows(*pair("validation", validation))
        check_rows(net, loss, state.params, state.key, held_out, name="validation ")
    how = {"rule": rule, "metrics": named(metrics), "drop_last": bool(drop_last)}
    how |= {"batch_size": count("batch_size", batch_size)}
    n_epochs = count("epochs", epochs)
    run = (net, loss, optimizer, state, rows, penalty, held_out)
    if callback is None:
        return _jit_fit(*run, epochs=n_epochs, **how)

    history = []
    for _ in range(n_epochs):
        state, row = _jit_epoch_row(net, loss, optimizer, state, rows, penalty, held_out, **how)
        history.append(row)
        if callback(state, {name: float(v) for name, v in row.items()}):
            break
    return state, jax.tree.map(lambda *v: jnp.stack(v), *history)


def _step(net, loss, optimizer, state, batch, penalty, *, rule, metrics):
    """The next State, and the averages over the batch."""
    state, sums = _summed_step(net, loss, optimizer, state, batch, penalty, rule, metrics)
    return state, averages(*sums)


def _summed_step(net, loss, optimizer, state, batch, penalty, rule, metrics):
    """The next State, and Σ w m of the loss and every metric m."""
    x, target, weights = batch
    check_state(optimizer, state)
    key = None
    if state.key is not None:
        key = jax.random.fold_in(jax.random.split(state.key)[0], state.step)
    done = forward_and_fold(
        net, loss, state.params, x, target, key=key, weights=weights, penalty=penalty, rule=rule
    )
    updates, inner = optimizer.update(done.result, state.optimizer_state, state.params)
    params = apply_updates(state.params, updates)
    sums = {"loss": done.loss * done.w.sum(), **metric_sums(metrics, done.y, target, done.w)}
    return State(params, inner, state.key, next_step(state.step)), (sums, done.w.sum())


def _epoch(net, loss, optimizer, state, rows, penalty, *, batch_size, drop_last, rule, metrics):
    """`lax.scan` of steps over minibatches."""
    key = None
    if state.key is not None:
        key = jax.random.fold_in(jax.random.split(state.key)[1], state.step)

    def body(state, chosen):
        batch = taken(rows, *chosen)
        return _summed_step(net, loss, optimizer, state, batch, penalty, rule, metrics)

    chosen = minibatches(len(rows.target), batch_size, key, drop_last)
    state, sums = jax.lax.scan(body, state, chosen)
    return state, averages(*sums)


def _evaluate(net, loss, params, rows, *, metrics, batch_size):
    """The averages of loss and metrics, chunk by chunk."""
    net, params = inference(net, params)

    def body(_, chosen):
        x, target, weights = taken(rows, *chosen)
        y, _ = net.forward(params, x)
        losses, _ = loss.forward(y, target)
        w = merge_weights(losses.shape, weights, loss.counted(target), losses.dtype)
        sums = {"loss": mean(losses, w), **metric_sums(metrics, y, target, w)}
        return None, (sums, w.sum())

    chosen = minibatches(len(rows.target), batch_size, None, drop_last=False)
    return averages(*jax.lax.scan(body, None, chosen)[1])


def _epoch_row(net, loss, optimizer, state, rows, penalty, held_out, **how):
    """One epoch and its row of history, validation included."""
    state, row = _epoch(net, loss, optimizer, state, rows, penalty, **how)
    if held_out is not None:
        size = max(how["batch_size"], AT_ONCE // predictions_per_row(net, loss, state, held_out.x))
        chunks = {"metrics": how["metrics"], "batch_size": size}
        validation = _evaluate(net, loss, state.params, held_out, **chunks)
        row |= {f"validation_{name}": value for name, value in validation.items()}
    return state, row


def _fit(net, loss, optimizer, state, rows, penalty, held_out, *, epochs, **how):
    """`lax.scan` of epochs."""

    def body(state, _):
        return _epoch_row(net, loss, optimizer, state, rows, penalty, held_out, **how)

    return jax.lax.scan(body, state, None, length=epochs)


def predictions_per_row(net: Any, loss: Any, state: State, x: PyTree) -> int:
    """How many losses a row of x has, at least 1: as many as positions of a sequence."""

    def outputs(params, x):
        return net.forward(params, x, key=state.key)[0]

    y = jax.eval_shape(outputs, state.params, x)
    return max(math.prod(loss.shape(y)[1:]), 1)


def params_of(state: Any) -> PyTree:
    """The params of a State; a TypeError for what is none."""
    if not isinstance(state, State):
        got = type(state).__name__
        raise TypeError(f"state must be a State, got {got}; start(optimizer, params, key) is one.")
    return state.params


def check_state(optimizer: Any, state: Any) -> None:
    """Raise unless the State was made for this optimizer."""
    fresh = jax.eval_shape(optimizer.init, params_of(state))
    if jax.tree.structure(fresh) != jax.tree.structure(state.optimizer_state):
        raise ValueError(
            f"the State was not made for {type(optimizer).__name__}: its optimizer_state is "
            f"{type(state.optimizer_state).__name__}; start(optimizer, state.params, key) is new."
        )


_RUN = ("metrics", "batch_size", "rule", "drop_last")
_jit_step = jax.jit(_step, static_argnames=("metrics", "rule"))
_jit_epoch = jax.jit(_epoch, static_argnames=_RUN)
_jit_epoch_row = jax.jit(_epoch_row, static_argnames=_RUN)
_jit_evaluate = jax.jit(_evaluate, static_argnames=("metrics", "batch_size"))
_jit_fit = jax.jit(_fit, static_argnames=(*_RUN, "epochs"))
