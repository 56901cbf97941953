import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from jax import lax

from benchmarks.precision.exact import exactly

X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)))


def softened(x):
    return jax.nn.softmax(x) * jnp.where(x > 0, x, jnp.expm1(x))


def recurrent(x):
    def step(h, z):
        h = jnp.tanh(h + z)
        return h, h * z

    last, all_of_them = lax.scan(step, jnp.zeros(4), x, reverse=True)
    return last + all_of_them.sum(0)


def looped(x):
    def grown(state):
        return state[0] * 1.5, state[1] + 1

    return lax.while_loop(lambda s: s[1] < 3, grown, (x, 0))[0] + lax.cond(
        x.sum() > -1e9, jnp.sin, jnp.cos, x
    )


def moved(x):
    taken = jnp.take_along_axis(x, jnp.array([[1], [3], [0]]), -1)
    return jnp.pad(x[:, ::-1].T, ((1, 0), (0, 0))) @ taken + (x > 0.5).astype(int).sum().astype(
        x.dtype
    )


def convolved(x):
    y = lax.conv(x[None, None], x[None, None, :2, :3], (1, 1), "SAME")
    return lax.reduce_window(y, 0.0, lax.add, (1, 1, 1, 2), (1, 1, 1, 2), "VALID")


def remade(x):
    f = jax.checkpoint(lambda z: jax.nn.logsumexp(z @ z.T, axis=-1))
    return jax.grad(lambda z: (f(z) ** 3).sum())(x) / jnp.sqrt(abs(x) + 1)


@pytest.mark.parametrize("f", [softened, recurrent, looped, moved, convolved, remade])
def test_the_same_as_in_float64(f):
    found = exactly(f, X, digits=30)
    assert found.dtype == object
    np.testing.assert_allclose(found.astype(float), f(X), rtol=1e-13, atol=1e-13)


def test_nothing_cancels_and_nothing_overflows():
    x = jnp.array([1e30, 1e-30])
    (found, small) = exactly(lambda x: ((1 + x) - 1, (x**20) ** (1 / 20)), x, digits=80)
    np.testing.assert_allclose(found.astype(float), x, rtol=1e-12)
    np.testing.assert_allclose(small.astype(float), x, rtol=1e-12)
    with mpmath.workdps(80):
        assert abs(exactly(jnp.exp, jnp.array([1000.0]), digits=80)[0] - mpmath.exp(1000)) == 0
