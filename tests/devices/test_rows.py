import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.batches import Rows
from fnn.devices.group import Group
from fnn.devices.rows import even, filled


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
    """A State that two processes seem to share."""
    monkeypatch.setattr("fnn.devices.rows.group_of", lambda layout: Group(True))
    monkeypatch.setattr(Group, "numbers", lambda self, n: np.asarray([n, n + 1]))
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def placed(net):
        plan = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
        mesh = fnn.devices.mesh(devices=jax.devices()[:1])
        return plan, fnn.devices.place(plan, fnn.start(plan, jax.random.key(0)), mesh)

    return placed


def test_predictions_of_several_processes_are_refused(state):
    with pytest.raises(NotImplementedError, match="predict: a State where several processes share"):
        fnn.predict(*state(fnn.Dense(3, 2)), jnp.ones((2, 3)))


def test_every_process_has_a_part_of_every_batch(state):
    layout = state(fnn.Dense(3, 2))[1].layout
    with pytest.raises(NotImplementedError, match="1 parts, which 2 processes .* data=2 or a mul"):
        even(layout, Group(True), 4)


def test_rows_that_fill_up_are_refused_where_a_layer_would_count_them(state):
    plan, placed = state(fnn.Serial(fnn.Dense(3, 2), fnn.BatchNorm(2)))
    batch = jnp.ones((2, 3)), jnp.ones((2, 2))
    text = r"step: the 2 processes have 2, 3 rows; .* \(BatchNorm\): give all equally many"
    with pytest.raises(ValueError, match=text):
        fnn.step(plan, placed, batch)
