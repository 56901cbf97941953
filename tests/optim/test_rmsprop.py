"""Tests of fnn.optim.rmsprop."""

import chex
import optax
import pytest
from optimizers import PARAMS, descend, descend_like_optax, first_update

import fnn


def test_the_first_step_by_hand():
    assert first_update(fnn.optim.RMSProp(0.1, 0.75, eps=0.5), 4.0) == pytest.approx(-0.1 * 4 / 2.5)


def test_descends_like_optax():
    ours = fnn.optim.RMSProp(0.05, 0.8, 1e-3)
    theirs = optax.rmsprop(0.05, 0.8, eps=1e-3, eps_in_sqrt=False)
    chex.assert_trees_all_close(
        descend(ours, PARAMS), descend_like_optax(theirs, PARAMS), rtol=1e-10
    )


def test_steps_do_not_depend_on_the_scale_of_the_gradient():
    optimizer = fnn.optim.RMSProp(0.1, eps=0.0)
    assert first_update(optimizer, 1e-3) == pytest.approx(first_update(optimizer, 1e3))


def test_zero_gradient_and_zero_eps_stay_zero():
    assert first_update(fnn.optim.RMSProp(0.1, eps=0.0), 0.0) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": float("nan")}, r"RMSProp: rho must be in"),
        ({"eps": -1.0}, r"RMSProp: eps must be in"),
    ],
)
def test_hyperparameters_out_of_range_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        fnn.optim.RMSProp(**options)
