import jax
import jax.numpy as jnp
import numpy as np

import fnn
from experiments.relu_sparsity import zeros

LOOK = jax.jit(zeros.look)


def test_a_look_counts_zeros_and_neurons_without_gradient():
    # three neurons in both layers: on for x > 0, on for x < 0, never on
    net = fnn.mlp([1, 3, 3, 2])
    w = jnp.array([[1.0, -1.0, 0.0]])
    params = (
        fnn.DenseParams(w, jnp.array([0.0, 0.0, -1.0])), (),
        fnn.DenseParams(jnp.eye(3), jnp.array([0.0, -5.0, 1.0])), (),
        fnn.DenseParams(jnp.arange(6.0).reshape(3, 2) / 10, jnp.zeros(2)),
    )  # fmt: skip
    x, target = jnp.array([[1.0], [2.0], [3.0], [-1.0]]), jnp.array([0, 1, 0, 1])
    seen = LOOK(net, params, x, target)
    # layer 1: 1 + 3 + 4 zeros of 12; layer 2: 1 + 4 + 0
    np.testing.assert_allclose(seen.zeros, [8 / 12, 5 / 12])
    np.testing.assert_allclose(seen.dead, [1 / 3, 1 / 3])
    # the second neuron is on for x < 0, but its only reader is dead
    np.testing.assert_allclose(seen.stuck, [2 / 3, 1 / 3])
    np.testing.assert_array_equal(seen.reached, 0)


def test_a_dead_neuron_with_a_gradient_is_not_hidden_by_another_without():
    # the first neuron is on but nobody reads it, the second is negative but leaks
    net = fnn.mlp([1, 2, 2], activation=fnn.LeakyReLU(0.1))
    params = (fnn.DenseParams(jnp.array([[1.0, -1.0]]), jnp.zeros(2)), (),
              fnn.DenseParams(jnp.array([[0.0, 0.0], [1.0, 2.0]]), jnp.zeros(2)))  # fmt: skip
    seen = LOOK(net, params, jnp.array([[1.0], [2.0], [4.0]]), jnp.array([0, 1, 0]))
    assert [float(s[0]) for s in (seen.dead, seen.stuck, seen.reached)] == [0.5, 0.5, 0.5]


def test_nothing_is_counted_where_training_has_diverged():
    net = fnn.mlp([1, 2, 2])
    params = (fnn.DenseParams(jnp.full((1, 2), jnp.nan), jnp.zeros(2)), (),
              fnn.DenseParams(jnp.ones((2, 2)), jnp.zeros(2)))  # fmt: skip
    seen = LOOK(net, params, jnp.ones((3, 1)), jnp.array([0, 1, 0]))
    assert np.isnan(seen.zeros).all()


def test_the_derivatives_of_both_are_seen_to_be_exact():
    assert zeros.exact(jnp.linspace(-2, 2, 9))
