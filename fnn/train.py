"""Training: one step, one epoch, many epochs, each a pure function of a State.

Everything runs on the device. An epoch is one `lax.scan` over minibatches; without a
callback the epochs are a scan too, and `fit` is itself jit- and vmap-able.

Minibatches are rows of a fresh permutation. The last one, if rows are missing, is filled
with other rows of the permutation at weight 0: real values, left out of loss and
gradient, so that every step has one shape and compiles once. That is exact for layers
that treat rows independently; `drop_last=True` leaves the last batch out instead.

Ledger: opt.gd, opt.sgd, risk.objective, bp.training-cycle.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from fnn.batches import arrays, averages, check_data, count, metric_sums, minibatches, taken
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
    net,
    loss,
    optimizer,
    state,
    x,
    target,
    *,
    weights=None,
    penalty=None,
    rule=backprop,
    metrics=NO_METRICS,
) -> tuple[State, Row]:
    """One update from one batch: (state, {"loss": ..., **metrics}), jitted.

    The arguments are those of `fit`; values out of range give NaN instead of an error.
    """
    x, target, weights = arrays(x, target, weights)
    optimizer, metrics = as_optimizer("step", optimizer), tuple(metrics.items())
    run = functools.partial(_jit_step, rule=rule, metrics=metrics)
    state, sums = run(net, loss, optimizer, state, x, target, weights, penalty)
    return state, averages(sums)


def epoch(
    net, loss, optimizer, state, x, target, *, batch_size,
    weights=None, penalty=None, rule=backprop, metrics=NO_METRICS, drop_last=False,
) -> tuple[State, Row]:  # fmt: skip
    """One update from every minibatch: (state, {"loss": ..., **metrics}), jitted.

    The row averages over the epoch's predictions. The arguments are those of `fit`;
    values out of range give NaN instead of an error.
    """
    x, target, weights = arrays(x, target, weights)
    optimizer, metrics = as_optimizer("epoch", optimizer), tuple(metrics.items())
    how = {"batch_size": count("batch_size", batch_size), "drop_last": drop_last}
    run = functools.partial(_jit_epoch, rule=rule, metrics=metrics, **how)
    return run(net, loss, optimizer, state, x, target, weights, penalty)


def evaluate(
    net, loss, params, x, target, *, weights=None, metrics=NO_METRICS, batch_size=1024
) -> Row:
    """{"loss": ..., **metrics} of inference(net, params), over all predictions, jitted.

    `batch_size` bounds the memory; the result does not depend on it. There is no penalty
    in this loss.
    """
    x, target, weights = arrays(x, target, weights)
    size, metrics = count("batch_size", batch_size), tuple(metrics.items())
    return _jit_evaluate(
        net, loss, params, x, target, weights, metrics=metrics, batch_size=size
    )


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
            history; stops the training by returning True. Without one, fit does nothing
            on the host and can be jitted and vmapped whole.
        drop_last: leave the rows of an incomplete last batch out.

    Raises:
        ValueError: for shapes that do not fit, and labels, weights and numbers that are out
            of range or not finite, where they are known: rows of weight 0 may be so.
        TypeError: for dtypes, keys and optimizers that are none.
    """
    optimizer = as_optimizer("fit", optimizer)
    how = {
        "epochs": count("epochs", epochs), "batch_size": count("batch_size", batch_size),
        "drop_last": bool(drop_last), "rule": rule, "metrics": tuple(metrics.items()),
    }  # fmt: skip
    state = params_or_state
    if not isinstance(state, State):
        state = start(optimizer, state, key)
    rows = arrays(*data, weights)
    check_data(net, loss, state, *rows)
    held_out = None
    if validation is not None:
        held_out = arrays(*validation, None)
        check_data(net, loss, state, *held_out, name="validation ")
    if callback is None:
        return _jit_fit(net, loss, optimizer, state, data, penalty, validation, **how)

    rows, epochs = [], how.pop("epochs")
    for _ in range(epochs):
        state, row = _jit_epoch_row(
            net, loss, optimizer, state, data, penalty, validation, **how
        )
        rows.append(row)
        if callback(state, {name: float(v) for name, v in row.items()}):
            break
    return state, jax.tree.map(lambda *v: jnp.stack(v), *rows)


def _step(net, loss, optimizer, state, x, target, weights, penalty, *, rule, metrics):
    """The next State, and Σ w of every reported quantity."""
    key = None
    if state.key is not None:
        key = jax.random.fold_in(jax.random.split(state.key)[0], state.step)
    done = forward_and_fold(
        net, loss, state.params, x, target, key=key, weights=weights, penalty=penalty, rule=rule
    )
    updates, inner = optimizer.update(done.result, state.optimizer_state, state.params)
    params = apply_updates(state.params, updates)
    sums = {"weight": done.w.sum(), "loss": done.loss * done.w.sum()}
    sums |= metric_sums(metrics, done.y, target, done.w)
    return State(params, inner, state.key, next_step(state.step)), sums


def _epoch(
    net, loss, optimizer, state, x, target, weights, penalty,
    *, batch_size, drop_last, rule, metrics,
):  # fmt: skip
    """`lax.scan` of _step over minibatches."""
    key = None
    if state.key is not None:
        key = jax.random.fold_in(jax.random.split(state.key)[1], state.step)
    rows, real = minibatches(len(target), batch_size, key, drop_last)

    def body(state, batch):
        b, wb = taken((x, target), weights, *batch)
        return _step(net, loss, optimizer, state, *b, wb, penalty, rule=rule, metrics=metrics)

    state, sums = jax.lax.scan(body, state, (rows, real))
    return state, averages(jax.tree.map(lambda s: s.sum(0), sums))


def _evaluate(net, loss, params, x, target, weights, *, metrics, batch_size):
    """The averages of loss and metrics, chunk by chunk."""
    net, params = inference(net, params)
    rows, real = minibatches(len(target), batch_size, None, drop_last=False)

    def body(_, batch):
        (xb, tb), wb = taken((x, target), weights, *batch)
        y, _ = net.forward(params, xb)
        losses, _ = loss.forward(y, tb)
        w = merge_weights(losses.shape, wb, loss.counted(tb), losses.dtype)
        sums = {"weight": w.sum(), "loss": mean(losses, w)}
        return None, sums | metric_sums(metrics, y, tb, w)

    _, sums = jax.lax.scan(body, None, (rows, real))
    return averages(jax.tree.map(lambda s: s.sum(0), sums))


def _epoch_row(net, loss, optimizer, state, data, penalty, validation, **how):
    """One epoch and its row of history, validation included."""
    state, row = _epoch(net, loss, optimizer, state, *data, penalty, **how)
    if validation is not None:
        chunks = {"metrics": how["metrics"], "batch_size": max(how["batch_size"], 1024)}
        held_out = _evaluate(net, loss, state.params, *validation, **chunks)
        row |= {f"validation_{name}": value for name, value in held_out.items()}
    return state, row


def _fit(net, loss, optimizer, state, data, penalty, validation, *, epochs, **how):
    """`lax.scan` of epochs."""

    def body(state, _):
        return _epoch_row(net, loss, optimizer, state, data, penalty, validation, **how)

    return jax.lax.scan(body, state, None, length=epochs)


_STATIC = ("epochs", "batch_size", "drop_last", "rule", "metrics")
_jit_step = jax.jit(_step, static_argnames=_STATIC[3:])
_jit_epoch = jax.jit(_epoch, static_argnames=_STATIC[1:])
_jit_epoch_row = jax.jit(_epoch_row, static_argnames=_STATIC[1:])
_jit_evaluate = jax.jit(_evaluate, static_argnames=("metrics", "batch_size"))
_jit_fit = jax.jit(_fit, static_argnames=_STATIC)
