"""Tests of fnn.checking.measure.measuring, by what a check says."""

import jax.numpy as jnp
import pytest
from jax import lax

import fnn

X = jnp.array([0.3, -0.7, 1.2])


@pytest.mark.parametrize("c", [1, 1.001])
def test_a_rule_that_computes_in_float32_is_judged_in_float32(c):
    def backward(x, dy):
        low = c * jnp.cos(x.astype("float32")) * dy.astype("float32")
        return low.astype(x.dtype)

    report = fnn.check_vjp(jnp.sin, backward, X)
    assert report.verdict == ("right" if c == 1 else "wrong")
    assert "it computes with 6 digits inside; more cannot be told" in report.notes


def test_a_rule_that_rounds_to_bfloat16_under_a_forward_that_does_not_is_wrong():
    def backward(x, dy):
        return (jnp.cos(x).astype("bfloat16") * dy.astype("bfloat16")).astype(x.dtype)

    assert fnn.check_vjp(jnp.sin, backward, X).verdict == "wrong"


@pytest.mark.parametrize("c", [1, 1.001])
def test_what_iterates_to_a_tolerance_is_judged_at_its_own_spread(c):
    def slope(x):
        """1 + 0.1 + 0.01 + ... = 10/9 to 1e-8, where rounding decides about the last term."""
        least = 1e-8 * (1 + jnp.sin(1e17 * x.sum()) / 10)

        def step(state):
            term, total = state
            return term / 10, total + term

        return lax.while_loop(lambda s: s[0] > least, step, (jnp.ones(()), jnp.zeros(())))[1]

    report = fnn.check_vjp(lambda x: x * 10 / 9, lambda x, dy: c * slope(x) * dy, X)
    assert report.verdict == ("right" if c == 1 else "wrong"), report
