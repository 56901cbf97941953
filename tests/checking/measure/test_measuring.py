"""Tests of fnn.checking.measure.measuring, by what a check says."""

import jax
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


@pytest.mark.parametrize("c", [1, 1.001])
def test_what_iterates_to_a_tolerance_is_judged_at_its_own_spread(c):
    def root(x):
        """y of y = cos(y) tanh(x) / 2, to 1e-8 and no further."""
        x = jnp.tanh(x)

        def step(y):
            return y[1], jnp.cos(y[1]) * x / 2

        def goes_on(y):
            return abs(y[1] - y[0]).max() > 1e-8

        return lax.while_loop(goes_on, step, (x, jnp.cos(x) * x / 2))[1]

    def backward(x, dy):
        y = root(x)
        dx = 1 / jnp.cosh(x) ** 2
        return c * dy * dx * jnp.cos(y) / 2 / (1 + jnp.sin(y) * jnp.tanh(x) / 2)

    def f(x):
        solve = jax.custom_vjp(root)
        solve.defvjp(lambda x: (root(x), x), lambda x, dy: (backward(x, dy) / c,))
        return solve(x)

    report = fnn.check_vjp(f, backward, X)
    assert report.verdict == ("right" if c == 1 else "wrong"), report
