"""Tests of fnn.texts."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import fnn
from fnn.texts import text


def scaled(rate):
    return lambda x: x * rate


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (fnn.optim.SGD(0.1), fnn.optim.SGD(0.2)),
        (optax.adam(0.1), optax.adam(0.2)),
        (optax.chain(optax.sgd(1.0), optax.scale(2)), optax.chain(optax.sgd(1.0), optax.scale(3))),
        (jnp.float32(0.1), 0.1), (np.arange(3.0), np.array([0, 1.0, 3])),
        (jnp.ones(2), jnp.ones(1)),
        (scaled(1), scaled(2)), (functools.partial(max, 1), functools.partial(max, 2)),
        ({"a": [1, (2,)]}, {"a": [1, (3,)]}), (fnn.Dense(3, 4), fnn.Dense(3, 4, bias=False)),
        (fnn.rules.backprop, fnn.rules.deltas), (None, 0), (True, 1), ("1", 1),
        (fnn.DenseParams(1, 2), fnn.DenseParams(1, 3)), (fnn.ReLU, fnn.Tanh), (min, max),
    ],
)  # fmt: skip
def test_what_differs_has_another_text_and_what_is_made_again_the_same(one, other):
    assert text(one) != text(other)
    leaves, tree = jax.tree.flatten(one)
    assert text(tree.unflatten(leaves)) == text(one)
    assert text(scaled(1)) == text(scaled(1))
    assert text(optax.adam(0.1)) == text(optax.adam(0.1))


def test_what_is_foreign_or_goes_round_has_a_text_too():
    class Foreign:
        pass

    assert re.fullmatch(r"<\S+Foreign object>", text(Foreign()))
    inside: list = []
    inside.append(inside)
    assert text(inside).count("(") == 13
