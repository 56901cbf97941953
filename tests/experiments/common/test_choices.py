import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from benchmarks.blocks import public
from experiments.common import choices, names
from fnn.layers.activations import Elementwise

TABLES = [
    (names.Activation, choices.ACTIVATIONS),
    (names.Loss, choices.LOSSES),
    (names.Optimizer, choices.OPTIMIZERS),
    (names.Schedule, choices.SCHEDULES),
]


@pytest.mark.parametrize(("kind", "table"), TABLES)
def test_every_name_on_the_command_line_stands_for_something(kind, table):
    assert list(get_args(kind)) == sorted(table)


@pytest.mark.parametrize(
    ("name", "dashed"),
    [("LeakyReLU", "leaky-relu"), ("SiLU", "silu"), ("GELU", "gelu"), ("HardTanh", "hard-tanh")],
)
def test_names_are_those_of_the_classes(name, dashed):
    assert names.dashed(name) == dashed
    assert choices.ACTIVATIONS[dashed] == getattr(fnn, name)()


def test_every_loss_of_one_row_of_scores_can_be_chosen():
    every = {type(objective.loss) for objective in choices.LOSSES.values()}
    others = {
        fnn.GaussianNLL,
        fnn.CTC,
        fnn.ELBO,
        fnn.InfoNCE,
    }  # two numbers of y for one, sequences
    assert every == {c for c in public(fnn, fnn.Loss) if not c.fused} - others


def test_every_activation_schedule_and_optimizer_with_a_rate_can_be_chosen():
    activations = {*public(fnn, Elementwise), fnn.Identity}
    assert {type(layer) for layer in choices.ACTIVATIONS.values()} == activations
    assert set(choices.SCHEDULES.values()) == {*public(fnn.optim, fnn.optim.Schedule)}
    every = public(fnn.optim, fnn.optim.Optimizer)
    rated = {c for c in every if "learning_rate" in {f.name for f in dataclasses.fields(c)}}
    assert {choices.OPTIMIZERS[name] for name in choices.OPTIMIZERS.keys() - {"nesterov"}} == rated


@pytest.mark.parametrize(
    ("name", "output", "target"),
    [
        ("softmax-cross-entropy", fnn.Identity(), [2, 0]),
        ("cross-entropy", fnn.Softmax(), [2, 0]),
        ("squared-error", fnn.Identity(), [[0, 0, 1], [1, 0, 0]]),
        ("binary-cross-entropy", fnn.Sigmoid(), [[0, 0, 1], [1, 0, 0]]),
        ("hinge", fnn.Identity(), [[-1, -1, 1], [1, -1, -1]]),
    ],
)
def test_the_check_of_a_loss_says_what_it_compares(name, output, target):
    objective = choices.LOSSES[name]
    assert objective.output == output
    np.testing.assert_array_equal(objective.target(np.array([2, 0]), 3), target)


@pytest.mark.parametrize("name", sorted(choices.LOSSES))
def test_every_loss_accepts_its_output_and_its_form_of_target(name):
    objective = choices.LOSSES[name]
    target = objective.target(np.array([2, 0, 1], np.int32), 4)
    y, _ = objective.output.forward((), jnp.linspace(-1.0, 1.0, 12).reshape(3, 4))
    losses, _ = objective.loss.forward(y, jnp.asarray(target))
    assert losses.shape == (3,)
    assert jnp.isfinite(losses).all()


@pytest.mark.parametrize("name", sorted(choices.SCHEDULES))
@pytest.mark.parametrize("n_steps", [1, 100])
def test_every_schedule_runs_with_any_number_of_steps(name, n_steps):
    rate = choices.schedule(name, 0.5, n_steps)
    rates = [float(rate(s)) for s in range(n_steps)]
    assert max(rates) <= 0.5
    assert max(rates) > 0.4


def test_an_optimizer_has_the_rate_of_the_table_or_else_of_its_class():
    def rate(name, given=None):
        return choices.optimizer(name, given, "constant", 10).optimizer.learning_rate

    assert rate("rmsprop") == fnn.optim.RMSProp().learning_rate
    assert rate("adam") == choices.RATES["adam"]
    assert rate("adam", 0.5) == rate("sgd", 0.5) == 0.5


@pytest.mark.parametrize("name", sorted(choices.OPTIMIZERS))
def test_every_optimizer_takes_a_step(name):
    optimizer = choices.optimizer(name, None, "constant", 10)
    plan = fnn.Plan(fnn.Dense(2, 1), fnn.SquaredError(), optimizer)
    params, batch = (
        fnn.DenseParams(jnp.ones((2, 1)), jnp.ones(1)),
        (jnp.ones((3, 2)), jnp.zeros((3, 1))),
    )
    state = fnn.start(plan, None, params)
    for _ in range(2):  # SOAP only looks at first
        state, _ = fnn.step(plan, state, batch)
    assert all((a < b).all() for a, b in zip(state.params, params, strict=True))


def test_penalties_of_strength_0_are_none():
    assert choices.penalty(0, 0) == ()
    assert choices.penalty(0.1, 0.2) == (fnn.L1(0.1), fnn.L2(0.2))
    assert jax.tree.leaves(choices.penalty(0, 0.2)) == [0.2]
