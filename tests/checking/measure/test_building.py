"""Tests of fnn.checking.measure.building, by what a check says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import fnn

X = np.array([[0.3, -0.7, 1.2], [2.0, -0.1, 0.4]])


@pytest.mark.parametrize("c", [1, 2])
def test_what_is_no_array_stays_as_it_is(c):
    def f(x, how, axis, power):
        return {"sum": jnp.sum, "mean": jnp.mean}[how](power(x), axis=axis)

    def backward(x, how, axis, power, dy):
        n = x.shape[axis] if how == "mean" else 1
        return c * jnp.expand_dims(dy, axis) * 2 * x / n, None, None, None

    report = fnn.check_vjp(f, backward, X, "mean", 1, jnp.square)
    assert report.verdict == ("right" if c == 1 else "wrong")
    assert [leaf.name for leaf in report.leaves] == ["x"]


@pytest.mark.parametrize("own", [True, False], ids=["its own", "jax.vjp"])
def test_integers_beside_floating_outputs_have_no_derivative(own):
    def f(x):
        return lax.top_k(x, 2)

    def backward(x, dy):
        if not own:
            return jax.vjp(f, x)[1](dy)[0]
        return jnp.zeros_like(x).at[jnp.arange(2)[:, None], f(x)[1]].add(dy[0])

    assert fnn.check_vjp(f, backward, X).verdict == "right"


def test_a_function_that_fails_is_told_that_the_check_runs_in_float64():
    def f(x):
        assert x.dtype == "float32", "float32 only"
        return x

    with pytest.raises(AssertionError, match="float32 only") as caught:
        fnn.check_vjp(f, lambda x, dy: dy, X)
    assert "check_vjp of f: the function runs in float64 here" in caught.value.__notes__[-1]


def test_complex_outputs_are_refused_with_the_way_out():
    with pytest.raises(TypeError, match=r"got complex128; give its real and imaginary parts\."):
        fnn.check_vjp(jnp.fft.rfft, lambda x, dy: dy, X)
