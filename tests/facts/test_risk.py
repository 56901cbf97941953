"""Facts about the objective: risks, their minimisers, and their gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import close, drawn

import fnn

NET = fnn.mlp([3, 5, 2], fnn.Tanh())
HALF = fnn.SquaredError(0.5)
run = jax.jit(fnn.value_and_grad)


def problem(n=6):
    return drawn(3, 5, 2)[:-1], np.asarray(noise(n, 3)), np.asarray(noise(n, 2, seed=2))


def mean_of(trees):
    return jax.tree.map(lambda *leaves: sum(map(np.asarray, leaves)) / len(leaves), *trees)


def test_descent_makes_the_objective_smaller_in_every_step():
    params, x, target = problem()
    plan = fnn.Plan(NET, fnn.SquaredError(), fnn.optim.SGD(0.02))
    start = fnn.start(plan, None, jax.tree.map(jnp.asarray, params))
    _, history = fnn.fit(plan, start, (x, target), epochs=100, batch_size=6)
    losses = np.asarray(history["loss"])
    assert (np.diff(losses) < 0).all()
    assert losses[-1] < losses[0] / 2


Y = np.asarray(noise(7, 3))
LOSSES = {
    "squared": (fnn.SquaredError(), Y, np.sin(Y)),
    "absolute": (fnn.AbsoluteError(), Y, np.sin(Y)),
    "binary": (fnn.BinaryCrossEntropy(), abs(np.cos(Y)), np.round(abs(np.sin(Y)))),
    "categorical": (fnn.CrossEntropy(), abs(np.cos(Y)), np.arange(7) % 3),
    "logits": (fnn.SoftmaxCrossEntropy(), Y, np.arange(7) % 3),
}


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_makes_one_number_of_targets_and_predictions(name):
    loss, y, target = LOSSES[name]
    losses = np.asarray(jax.jit(loss.forward)(y, target)[0])
    assert losses.shape == (7,)
    assert losses.min() >= 0
    value, _ = run(fnn.Identity(), loss, (), y, target)
    assert value.shape == ()
    assert float(value) == pytest.approx(losses.mean(), rel=1e-12)


def test_the_empirical_risk_is_the_mean_of_per_sample_losses_and_so_is_its_gradient():
    params, x, target = problem()
    alone = [run(NET, HALF, params, x[[i]], target[[i]]) for i in range(6)]
    close(run(NET, HALF, params, x, target), mean_of(alone))


# A world of four inputs and two outcomes for each, with their probabilities: the population
# risk is a finite sum.
INPUTS = np.array([[1.0, 0], [0, 1], [1, 1], [-1, 2]])
CHANCES = np.array([0.1, 0.4, 0.3, 0.2])
MEANS, SPREAD = np.array([1.0, -2, 0, 3]), 0.5  # y = mean ± spread


def world():
    """Every (x, y) of the world, [8, 2] and [8, 1], and how likely it is."""
    x, y = np.repeat(INPUTS, 2, 0), np.stack([MEANS - SPREAD, MEANS + SPREAD], 1).reshape(8, 1)
    return x, y, np.repeat(CHANCES / 2, 2)


def linear(w, b):
    return fnn.DenseParams(np.reshape(w, (2, 1)), np.array([b]))


def risk(w, b):
    """R(θ) = E ½ (y − x w − b)², by its definition."""
    x, y, chances = world()
    return sum(p * (y[i, 0] - x[i] @ w - b) ** 2 / 2 for i, p in enumerate(chances))


def test_the_population_risk_of_a_finite_distribution_is_the_weighted_risk():
    w, b = np.array([0.3, -0.8]), 0.2
    x, y, chances = world()
    whole, _ = run(fnn.Dense(2, 1), HALF, linear(w, b), x, y, weights=chances)
    assert float(whole) == pytest.approx(risk(w, b), rel=1e-12)
    rows = np.random.default_rng(0).choice(8, 20_000, p=chances)
    losses = (y[rows, 0] - x[rows] @ w - b) ** 2 / 2
    value, _ = run(fnn.Dense(2, 1), HALF, linear(w, b), x[rows], y[rows])
    assert float(value) == pytest.approx(losses.mean(), rel=1e-12)
    assert abs(float(value) - risk(w, b)) < 4 * losses.std() / 20_000**0.5


def test_the_minimiser_of_the_risk_and_the_excess_around_it():
    x, y, chances = world()
    moments = np.concatenate([x, np.ones((8, 1))], 1)  # the bias is one more weight
    second = moments.T @ (chances[:, None] * moments)
    best = np.linalg.solve(second, moments.T @ (chances * y[:, 0]))
    _, grads = run(fnn.Dense(2, 1), HALF, linear(best[:2], best[2]), x, y, weights=chances)
    np.testing.assert_allclose([*grads.w[:, 0], grads.b[0]], np.zeros(3), atol=1e-12)
    for step in np.asarray(noise(3, 3)):
        other = best + step
        excess = risk(other[:2], other[2]) - risk(best[:2], best[2])
        assert excess == pytest.approx(step @ second @ step / 2, rel=1e-10)
        assert excess > 0


@pytest.mark.parametrize("size", [1, 2, 4])
def test_minibatch_gradients_average_to_the_gradient_of_the_risk(size):
    params, x, target = problem(5)
    batches = np.array(list(itertools.combinations(range(5), size)))

    def gradient(rows):
        return run(NET, HALF, params, jnp.asarray(x)[rows], jnp.asarray(target)[rows])[1]

    grads = jax.jit(jax.vmap(gradient))(batches)
    whole = run(NET, HALF, params, x, target)[1]
    close(jax.tree.map(lambda g: np.asarray(g).mean(0), grads), whole)
    assert np.asarray(grads[0].w).std(0).min() > 1e-4  # one of them alone is off
