from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.common import choices

TABLES = [
    (choices.Activation, choices.ACTIVATIONS),
    (choices.Loss, choices.LOSSES),
    (choices.Optimizer, choices.OPTIMIZERS),
    (choices.Schedule, choices.SCHEDULES),
]


@pytest.mark.parametrize(("names", "table"), TABLES)
def test_every_name_on_the_command_line_stands_for_something(names, table):
    assert list(get_args(names)) == sorted(table)


@pytest.mark.parametrize("name", sorted(choices.LOSSES))
def test_every_loss_accepts_its_output_and_its_form_of_target(name):
    objective = choices.LOSSES[name]
    target = objective.target(np.array([2, 0, 1], np.int32), 4)
    y, _ = objective.output.forward((), jnp.linspace(-1.0, 1.0, 12).reshape(3, 4))
    losses, _ = objective.loss.forward(y, jnp.asarray(target))
    assert losses.shape == (3,)
    assert jnp.isfinite(losses).all()


@pytest.mark.parametrize("schedule", sorted(choices.SCHEDULES))
@pytest.mark.parametrize("n_steps", [1, 100])
def test_every_schedule_runs_with_any_number_of_steps(schedule, n_steps):
    rate = choices.SCHEDULES[schedule](0.5, n_steps)
    rates = [float(rate(s)) for s in range(n_steps)]
    assert max(rates) <= 0.5
    assert max(rates) > 0.4


@pytest.mark.parametrize("name", sorted(choices.OPTIMIZERS))
def test_every_optimizer_takes_a_step(name):
    optimizer = choices.optimizer(name, None, "constant", 10)
    params = {"w": jnp.ones(2)}
    updates, _ = optimizer.update({"w": jnp.ones(2)}, optimizer.init(params), params)
    assert (updates["w"] < 0).all()


def test_penalties_of_strength_0_are_none():
    assert choices.penalty(0, 0) == ()
    assert choices.penalty(0.1, 0.2) == (fnn.L1(0.1), fnn.L2(0.2))
    assert jax.tree.leaves(choices.penalty(0, 0.2)) == [0.2]
