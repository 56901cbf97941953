"""Tests of fnn.checking.measure.plain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_rules import X, sine
from jax import lax

from fnn.checking.measure.plain import CUT, OWN, plain
from fnn.checking.measure.problem import autodiff


@jax.custom_jvp
def square(x):
    return x * x


square.defjvp(lambda x, dx: (x[0] ** 2, 3 * x[0] * dx[0]))

WHERE = {
    "alone": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "vmap": jax.vmap,
    "scan": lambda f: lambda x: lax.scan(lambda c, _: (f(c), c.sum()), x, None, length=3)[0],
    "map": lambda f: lambda x: lax.map(f, x),
    "fori_loop": lambda f: lambda x: lax.fori_loop(0, 3, lambda _, c: f(c), x),
    "cond": lambda f: lambda x: lax.cond(x[0] > 0, f, jnp.tanh, x),
    "jit in scan": lambda f: lambda x: lax.scan(lambda c, _: (jax.jit(f)(c), ()), x, length=2)[0],
}


def gradient(f):
    return autodiff(f, (0,), [X], [jnp.ones_like(X)])[0]


@pytest.mark.parametrize("own", [(sine, jnp.sin), (square, lambda x: x * x)], ids=["vjp", "jvp"])
@pytest.mark.parametrize("where", WHERE)
def test_a_derivative_of_its_own_is_gone_wherever_it_stands(own, where):
    f, right = (lambda leaves, g=g: [WHERE[where](g)(leaves[0])] for g in own)
    without = plain(f, without=OWN)
    np.testing.assert_array_equal(without([X])[0], f([X])[0])
    assert not np.allclose(gradient(f), gradient(right))
    np.testing.assert_allclose(gradient(without), gradient(right), rtol=1e-14)


def test_a_stop_gradient_stays_unless_it_is_taken_out_too():
    def f(leaves):
        return [lax.stop_gradient(leaves[0]) * sine(leaves[0])]

    np.testing.assert_allclose(gradient(plain(f, without=OWN)), X * jnp.cos(X))
    values = gradient(plain(f, without=(*OWN, CUT)))
    np.testing.assert_allclose(values, X * jnp.cos(X) + jnp.sin(X))
