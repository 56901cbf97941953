import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.relu_relu_sigmoid import Six, by_hand, gradients


def cost(p, x, y):
    z3 = jax.nn.relu(jax.nn.relu(x @ p.w1 + p.b1) @ p.w2 + p.b2) @ p.w3 + p.b3
    p = jax.nn.sigmoid(z3)
    return -(y * jnp.log(p) + (1 - y) * jnp.log(1 - p)).mean()


def drawn():
    shapes = Six((3, 5), (5,), (5, 4), (4,), (4, 1), (1,))
    keys = jax.random.split(jax.random.key(0), 8)
    p = Six(*(jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=False)))
    return (
        p,
        jax.random.normal(keys[6], (7, 3)),
        jax.random.bernoulli(keys[7], 0.5, (7, 1)).astype(float),
    )


@pytest.mark.long
def test_the_six_are_those_of_autodiff():
    with jax.enable_x64(True):
        p, x, y = drawn()
        ours, theirs = gradients(p, x, y), jax.grad(cost)(p, x, y)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14)
            assert float(abs(a).max()) > 1e-3


@pytest.mark.long
def test_by_hand_keeps_the_start_and_every_step():
    p, x, y = drawn()
    path, step = by_hand(p, x, y, 0.1, 2), gradients(p, x, y)
    for a, start, g in zip(path, p, step, strict=True):
        assert len(a) == 3
        np.testing.assert_array_equal(a[0], start)
        np.testing.assert_allclose(a[1], start - 0.1 * g, rtol=1e-5, atol=1e-6)
