from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.batches import Rows
from fnn.devices.group import Group
from fnn.devices.rows import check_alike, even, filled, together


def test_rows_are_filled_up_with_the_first_one_at_weight_0():
    rows = filled(Rows({"x": jnp.arange(6.0).reshape(3, 2)}, jnp.array([5, 6, 7])), 5)
    np.testing.assert_array_equal(rows.x["x"][:, 1], [1, 3, 5, 1, 1])
    np.testing.assert_array_equal(rows.target, [5, 6, 7, 5, 5])
    np.testing.assert_array_equal(rows.weights, [1, 1, 1, 0, 0])


def test_weights_that_are_there_stay():
    rows = filled(Rows(jnp.ones(2), jnp.ones(2), jnp.array([0.5, 2])), 3)
    np.testing.assert_array_equal(rows.weights, [0.5, 2, 0])


def test_rows_that_are_enough_get_weights_where_others_have_some():
    rows = Rows(jnp.ones(2), jnp.ones(2))
    assert filled(rows, 2, weighed=False) is rows
    np.testing.assert_array_equal(filled(rows, 2).weights, [1, 1])


@pytest.fixture
def state(monkeypatch):
    """A State that two processes seem to share; the other one has a row more."""
    monkeypatch.setattr("fnn.devices.rows.group_of", lambda layout: Group(True))
    monkeypatch.setattr(Group, "of_all", lambda self, said: [said, [said[0] + 1, *said[1:]]])
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def placed(net):
        plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
        mesh = fnn.devices.mesh(devices=jax.devices()[:1])
        return plan, fnn.devices.place(plan, fnn.start(plan, jax.random.key(0)), mesh)

    return placed


def test_predictions_of_several_processes_are_refused(state):
    with pytest.raises(NotImplementedError, match="predict: a State where several processes share"):
        fnn.predict(*state(fnn.Dense(3, 2)), jnp.ones((2, 3)))


def test_rows_that_fill_up_are_refused_where_a_layer_would_count_them(state):
    plan, placed = state(fnn.Serial(fnn.Dense(3, 2), fnn.BatchNorm(2)))
    batch = jnp.ones((2, 3)), jnp.ones((2, 2))
    text = r"step: the 2 processes have 2, 3 rows; .* \(BatchNorm\): give all equally many"
    with pytest.raises(ValueError, match=text):
        fnn.step(plan, placed, batch)


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (((2, 0), [["f"], ["f"]], False), "fit: empty batch, process 1 has no rows"),
        (((2, 2), [["f", 3], ["f", 4]], False), r"the same in all processes, got \['f', 3\] and"),
        (((2, 3), [["f"], ["f"]], True), "fit: the 2 processes have 2, 3 rows"),
    ],
)
def test_what_does_not_go_with_the_rows_of_another_process_is_refused_in_all(told, text):
    with pytest.raises(ValueError, match=text):
        check_alike("fit", *told)
    check_alike("fit", (2, 3), [["f"], ["f"]], False)


class Device(NamedTuple):
    process_index: int


@pytest.mark.parametrize(
    ("axes", "owners", "right"),
    [
        (("data", "model"), [[0], [1]], True),
        (("data", "model"), [[0, 0], [1, 1]], True),
        (("data",), [0, 0, 1, 1], True),
        (("model", "data"), [[0, 0], [1, 1]], False),  # both have all of the batch
        (("data",), [1, 0], False),
        (("data",), [0, 1, 1], False),
        (("data",), [0, 1, 0, 1], False),
        (("model",), [0, 1], False),
    ],
)
def test_every_process_has_a_part_of_every_batch_in_their_order(axes, owners, right, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    owners = np.array(owners)
    devices = np.empty(owners.shape, object)
    for at, i in np.ndenumerate(owners):
        devices[at] = Device(i)
    ways = dict(zip(axes, owners.shape, strict=True)).get("data", 1)
    mesh = SimpleNamespace(axis_names=axes, devices=devices)
    layout: Any = SimpleNamespace(mesh=mesh, ways=lambda axis: ways)
    if right:
        assert even(layout, Group(True), 3) == (3 if ways == 2 else 4)
        return
    with pytest.raises(NotImplementedError, match="among the 2 processes, in their order"):
        even(layout, Group(True), 3)


def test_rows_get_weights_in_all_processes_where_one_has_fewer(state, monkeypatch):
    _, placed = state(fnn.Dense(3, 2))
    monkeypatch.setattr("fnn.devices.rows.even", lambda layout, group, n: n)
    for more, weights in ((1, [1, 1, 0]), (0, None)):
        monkeypatch.setattr(Group, "of_all", lambda self, s, m=more: [s, [s[0] + m, *s[1:]]])
        rows = Rows(jnp.ones((2, 3)), jnp.ones((2, 2)))
        found = together("fit", placed.layout, Group(True), rows, False).weights
        assert (None if found is None else found.tolist()) == weights
