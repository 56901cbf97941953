import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.batches import Rows
from fnn.devices.rows import filled


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


@pytest.mark.parametrize(
    ("run", "text"),
    [
        (lambda plan, s, d: fnn.fit(plan, s, lambda: iter([d]), epochs=1), "fit: a State and a st"),
        (
            lambda plan, s, d: fnn.evaluate(plan, s, lambda: iter([d])),
            "evaluate: a State and a str",
        ),
        (lambda plan, s, d: fnn.predict(plan, s, d[0]), "predict: a State where several processes"),
        (
            lambda plan, s, d: fnn.fit(
                plan, s, d, epochs=1, batch_size=2, checkpoint=fnn.Checkpointing("nowhere", 1)
            ),
            "fit: a State and a checkpoint where several processes share it; save fnn.devices.gath",
        ),
    ],
)
def test_what_several_processes_cannot_do_is_refused(run, text, monkeypatch):
    plan = fnn.Plan(fnn.Dense(3, 2), fnn.SquaredError(), fnn.optim.SGD(0.1))
    mesh = fnn.devices.mesh(devices=jax.devices()[:1])
    state = fnn.devices.place(plan, fnn.start(plan, jax.random.key(0)), mesh)
    monkeypatch.setattr("fnn.devices.rows.shared", lambda layout: True)
    monkeypatch.setattr("fnn.devices.rows.together", lambda layout, rows: rows)
    with pytest.raises(NotImplementedError, match=text):
        run(plan, state, (jnp.ones((2, 3)), jnp.ones((2, 2))))
