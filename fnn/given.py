"""What step, epoch, fit and evaluate are given, looked at before anything is computed.

Arrays become rows on the devices, streams begin. Where several processes share the State, what is
wrong in one is told in all.
"""

import contextlib
from typing import Any

from fnn.batches import Rows, as_rows, check_rows, check_stateless, warn_of_files
from fnn.devices.group import group_of
from fnn.devices.rows import on_devices
from fnn.plan import Plan, State, check_evaluated, check_plan, check_state, evaluation_net
from fnn.streams.evaluating import Judge
from fnn.streams.flow import Stream, check_arrays_only, streamed, streams
from fnn.streams.sources import is_stream
from fnn.texts import text


def trained_on(
    plan: Plan, state: State, data: Any, stack: contextlib.ExitStack, *,
    steps: int | None, batch_size: int | None, **options: Any,
) -> Any:  # fmt: skip
    """The rows to learn from, or a stream of them that has begun."""
    if not streams("fit", "data", data, state):
        check_arrays_only("fit", steps, batch_size)
        return checked("fit", plan, state, data)
    options |= {"steps": steps, "batch_size": batch_size, "first": state}
    return stack.enter_context(begun("fit", "data", data, plan, state, **options))


def held_out(
    plan: Plan, state: State, validation: Any, calibration: Any, epochs: int, size: int | None,
    stack: contextlib.ExitStack,
) -> Any:  # fmt: skip
    """What is evaluated after every epoch: None, (rows, calibration), or the Judge of a stream."""
    if validation is None:
        return None
    if not streams("fit", "validation", validation, state):
        given = checked("fit", plan, state, validation, "validation", (calibration,))
        return given, calibration
    options = {"epochs": epochs, "batch_size": None if is_stream(validation) else size}
    stream = begun("fit", "validation", validation, plan, state, (calibration,), **options)
    return Judge(stack.enter_context(stream), plan, calibration)


def begun(
    owner: str, name: str, data: Any, plan: Any, state: Any, evaluates: Any = (), **options: Any
) -> Stream:
    """A stream that has begun."""
    trained = trained_by(owner, plan, state, evaluates)
    return streamed(owner, name, data, trained, layout=state.layout, **options)


def checked(
    owner: str, plan: Any, state: Any, data: Any, name: str = "data", evaluates: Any = ()
) -> Rows:
    """The rows of data, after all that can be known of plan, state and data was checked.

    `evaluates` is (calibration,) where the evaluation network runs, not that of training.
    """
    trained = trained_by(owner, plan, state, evaluates)

    def looked_at():
        rows = as_rows(owner, name, data)
        warn_of_files(owner, data)
        check_stateless(owner, name, rows.x)
        check_rows(owner, "" if name == "data" else f"{name} ", trained, rows)
        return rows

    rows = group_of(state.layout).each_does(f"{owner}: a look at the {name}", looked_at)
    return on_devices(owner, state.layout, plan.net, rows)


def trained_by(owner: str, plan: Any, state: Any, evaluates: Any = ()) -> tuple[Any, ...]:
    """(net, loss, params, key) that data meet, after a look at plan and state."""
    check_plan(owner, plan)
    check_state(owner, plan, state)
    net, params, key = plan.net, state.params, state.key
    if evaluates:
        check_evaluated(owner, plan, state, *evaluates)
        group_of(state.layout).check_same(f"{owner}: calibration", lambda: text(evaluates))
        (net, params), key = evaluation_net(plan, state, *evaluates), None
    return net, plan.loss, params, key
