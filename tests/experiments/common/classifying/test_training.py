from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

import fnn
from experiments.common.classifying.training import Watch, insides_of
from experiments.common.cli import NOT_FINITE, UserError

ROW = {"loss": 1.0, "accuracy": 0.5, "validation_loss": 1.0, "validation_accuracy": 0.5}
ROW["watch"] = {"step": jnp.array([0, 2, 0]), "gradient_norms": (jnp.array([jnp.nan, 7, jnp.nan]),)}


@pytest.mark.parametrize(
    ("changed", "params", "message"),
    [
        ({}, {"w": jnp.array([1.0, jnp.inf])}, "1 of 2 numbers in w are not finite after epoch 1"),
        ({"validation_loss": jnp.inf}, {"w": jnp.ones(2)}, "the validation loss is inf after"),
        ({"loss": jnp.nan, "accuracy": jnp.nan}, {"w": jnp.ones(2)}, "the loss is nan after epoch"),
        ({}, {"w": -jnp.ones(2)}, "the delta 1 is nan after epoch 1"),
    ],
)
def test_an_epoch_that_is_not_finite_anywhere_is_not_noted(changed, params, message):
    noted = []
    run = SimpleNamespace(row=lambda **values: noted.append(values))
    watch = Watch(run, 2, lambda params: {"layer 1": jnp.sqrt(params["w"][0])}, {"w": jnp.ones(2)})
    with watch, pytest.raises(UserError, match=message) as error:
        watch(SimpleNamespace(step=3, params=params), ROW | changed)
    assert error.value.code == NOT_FINITE
    assert noted == []
    with watch:
        watch(SimpleNamespace(step=3, params={"w": jnp.ones(2)}), ROW)
    assert [row["loss"] for row in noted] == [1.0]
    assert watch.norms["layer 1"] == [1.0, 1.0]


def test_what_the_watched_steps_saw_is_told_by_layer():
    both = jax.tree.map(lambda a: jnp.stack([a, a]), ROW["watch"])
    steps, seen = insides_of(fnn.Serial(fnn.Dense(2, 3)), both)
    assert steps.tolist() == [2, 2]  # of both epochs
    assert seen["gradient_norms"]["0 Dense"].tolist() == [7, 7]
