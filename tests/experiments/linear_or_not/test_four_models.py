import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.linear_or_not import four_models, shapes
from experiments.linear_or_not.four_models import LINEAR, LOGISTIC, LOSSES, MLP, SOFTMAX

RIGHT = {LINEAR: lambda z: z, LOGISTIC: jax.nn.sigmoid, SOFTMAX: jax.nn.softmax}


@pytest.mark.long
@pytest.mark.parametrize("model", RIGHT)
def test_one_layer_has_the_gradient_of_the_model(model):
    """∂J/∂W = Xᵀ(f − Y)/N and ∂J/∂b = Σ (f − Y)/N for all three."""
    keys = jax.random.split(jax.random.key(0), 3)
    x, y = jax.random.normal(keys[0], (7, 4)), jax.nn.one_hot(jnp.arange(7) % 3, 3)
    rows = four_models.Rows(x, y, x, y)
    net = four_models.net(model, rows)
    w, b = jax.random.normal(keys[1], (4, 3)), jax.random.normal(keys[2], (3,))
    _, (grads,) = fnn.value_and_grad(net, LOSSES[model], (fnn.DenseParams(w, b),), x, y)
    error = RIGHT[model](x @ w + b) - y
    np.testing.assert_allclose(grads.w, x.T @ error / 7, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads.b, error.sum(0) / 7, rtol=1e-5, atol=1e-6)


def test_the_perceptron_has_three_layers_of_tanh():
    rows = four_models.Rows(*[jnp.zeros((5, 2))] * 4)
    dense, tanh = fnn.Dense, fnn.Tanh
    kinds = [type(layer) for layer in four_models.net(MLP, rows).layers]
    assert kinds == [dense, tanh, dense, tanh, dense]


def test_scores_of_numbers_and_of_classes():
    t = np.array([[[[0.0], [2.0]]]])
    assert four_models.scores(t, t, True) == [[1]]
    assert four_models.scores(np.ones_like(t), t, True) == [[0]]
    one_hot = np.eye(2)[None, None]
    assert four_models.scores(np.array([[[[1.0, 0], [1, 0]]]]), one_hot, False) == [[0.5]]


def test_made_rows_are_one_hot_and_never_the_same():
    sets = (shapes.separable, shapes.xor, shapes.moons)
    rows = four_models.made(jax.random.key(0), 2, 50, sets, False)
    assert rows.x.shape == rows.test_x.shape == (3, 2, 50, 2)
    np.testing.assert_array_equal(rows.target.sum(-1), 1)
    assert float(abs(rows.x - rows.test_x).max(-1).min()) > 0


def test_separable_classes_have_a_gap_and_clouds_their_signs():
    x, label = shapes.separable(jax.random.key(0), 200)
    distance = (x[:, 1] - x[:, 0] / 2) / np.sqrt(1.25)
    assert float(abs(distance).min()) >= 0.2 - 1e-6
    np.testing.assert_array_equal(distance > 0, label == 1)
    x, label = shapes.xor(jax.random.key(0), 200)
    agree = (jnp.sign(x[:, 0]) != jnp.sign(x[:, 1])) == (label == 1)
    assert float(agree.mean()) > 0.97


def test_moons_are_half_circles():
    x, label = shapes.moons(jax.random.key(0), 2000)
    x = x * jnp.array([0.87, 0.5]) + jnp.array([0.5, 0.25])
    for k, (middle, side) in enumerate([((0.0, 0.0), 1), ((1.0, 0.5), -1)]):
        off = (x - jnp.array(middle))[label == k]
        radius = jnp.linalg.norm(off, axis=1)
        assert float(radius.mean()) == pytest.approx(1, abs=0.03)
        assert float((side * off[:, 1] > -0.5).mean()) > 0.99
