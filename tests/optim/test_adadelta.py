"""Tests of fnn.optim.adadelta."""

import math

import chex
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, first_update

import fnn


def test_the_first_step_has_the_length_of_the_root_of_eps():
    expected = -math.sqrt(1e-4) / math.sqrt(0.1 * 9 + 1e-4) * 3
    assert first_update(fnn.optim.AdaDelta(rho=0.9, eps=1e-4), 3.0) == pytest.approx(expected)


def test_descends_like_optax():
    ours = fnn.optim.AdaDelta(1.5, 0.9, 1e-3)
    theirs = optax.adadelta(1.5, 0.9, 1e-3)
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_steps_do_not_depend_on_the_units_of_the_loss():
    small, large = fnn.optim.AdaDelta(eps=1e-30), fnn.optim.AdaDelta(eps=1e-30)
    assert first_update(small, 1e-3) == pytest.approx(first_update(large, 1e3), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 1.0}, r"AdaDelta: rho must be in \[0, 1\)"),
        ({"eps": 0.0}, r"AdaDelta: eps must be in \(0, inf\)"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fnn.optim.AdaDelta(**options)
