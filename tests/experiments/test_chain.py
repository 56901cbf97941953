import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import chain

pytestmark = pytest.mark.usefixtures("double_precision")


X, Y = jnp.array([-1.0, 0.5, 2.0]), jnp.array([0.0, 1.0, 1.0])


def cost(wb):
    return ((chain.forward(wb, X)[-1] - Y) ** 2).mean()


def test_two_neurons_by_hand():
    """x = 0, w = (1, 2), b = (0, −1): a(1) = ½, a(2) = σ(0) = ½, y = 1."""
    wb, x, y = jnp.array([[1.0, 0.0], [2.0, -1.0]]), jnp.zeros(1), jnp.ones(1)
    np.testing.assert_allclose(jnp.stack(chain.forward(wb, x)[1:]), 0.5)
    # q(2) = 2 (½ − 1) = −1, σ′ = ¼ twice, q(1) = −1 · ¼ · 2 = −½
    by_hand = [[0.0, -0.125], [-0.125, -0.25]]
    for way in (chain.by_fnn, chain.by_recursion):
        np.testing.assert_allclose(way(wb, x, y), by_hand, atol=1e-15)


@pytest.mark.long
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_every_way_is_the_gradient_of_the_cost(depth):
    wb = chain.drawn(depth, jax.random.key(depth))
    truth = jax.grad(cost)(wb)
    np.testing.assert_allclose(chain.by_fnn(wb, X, Y), truth, rtol=1e-10)
    np.testing.assert_allclose(chain.by_recursion(wb, X, Y), truth, rtol=1e-10)
    repaired = chain.by_targets(wb, X, Y, chain.REPAIRED)
    np.testing.assert_allclose(repaired, truth, rtol=1e-10)
    printed = chain.by_targets(wb, X, Y, chain.PRINTED)
    np.testing.assert_allclose(printed, truth * chain.factors(depth)[:, None], rtol=1e-10)


def test_local_derivatives_of_a_neuron():
    def neuron(inputs, w, b):
        return chain.forward([(w, b)], inputs)[-1][0]

    a0, w, b = jnp.array([0.3]), 1.7, -0.2
    a = neuron(a0, w, b)
    da, dw, db = jax.grad(neuron, (0, 1, 2))(a0, w, b)
    ds = a * (1 - a)
    np.testing.assert_allclose([da[0], dw, db], [ds * w, ds * a0[0], ds], rtol=1e-12)


def test_a_target_that_is_not_held_fast_gives_another_gradient():
    wb = chain.drawn(2, jax.random.key(0))
    free, true = chain.by_free_target(wb, X, Y), jax.grad(cost)(wb)[0]
    assert float(abs(free - true).max()) > 1e-3

    def squares(first):  # C(1) = (1/2n) Σ (n q)², with q a function of layer 1
        a = chain.forward(wb.at[0].set(first), X)
        q = 2 / 3 * (a[2] - Y) * a[2] * (1 - a[2]) * wb[1, 0]
        return ((3 * q) ** 2).sum() / 6

    np.testing.assert_allclose(free, jax.grad(squares)(wb[0]), rtol=1e-10)
