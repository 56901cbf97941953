"""A loss of one's own whose y is a NamedTuple, through all that takes losses."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_loss, noise

import fnn
from fnn.mean import spread
from fnn.numerics import like, widened
from fnn.sequence import Sequence

KEY = jax.random.key(0)


class Guess(NamedTuple):
    """What a variational autoencoder says of x."""

    reconstruction: Any  # [B, ..., n]
    mean: Any  # [B, ..., k], of the code
    log_variance: Any  # [B, ..., k]


@dataclass(frozen=True)
class Evidence(fnn.Loss[Any]):
    """losses = Σ (x̂ − x)² + ½ Σ e^s + m² − 1 − s.  y a Guess, target [B, ..., n] → [B, ...]."""

    def check(self, y, target):
        if y.reconstruction.shape != target.shape:
            raise ValueError(f"{self}: target must have the reconstruction's shape.")

    def shape(self, y):
        return y.mean.shape[:-1]

    def forward(self, y, target):
        self.check(y, target)
        r, m, s, t = widened(*y, target)
        code = (jnp.exp(s) + m**2 - 1 - s).sum(-1) / 2
        return ((r - t) ** 2).sum(-1) + code, (y, target)

    def backward(self, cache, dl):
        y, target = cache
        r, m, s, t = widened(*y, target)
        dy = Guess(2 * (r - t), m, (jnp.exp(s) - 1) / 2)
        return like(jax.tree.map(lambda d: spread(dl, d), dy), y)


@dataclass(frozen=True)
class Guessing(fnn.Layer[Any, Any]):
    """x [B, ..., 7], taken apart."""

    sequences = "positions"

    def forward(self, params, x, *, key=None):
        return Guess(*jnp.split(x, (3, 5), -1)), ()

    def backward(self, params, cache, dy):
        return (), jnp.concatenate(dy, -1)


NET = fnn.Serial(body=fnn.Dense(4, 7), guess=Guessing())
PARAMS = NET.init(KEY)
X, TARGET, LOSS = noise(5, 4), noise(5, 3, seed=2), Evidence()


def by_autodiff(x, target, weights):
    def mean(params, x):
        y = NET.forward(params, x)[0]
        return (weights * LOSS.forward(y, target)[0]).sum() / weights.sum()

    return jax.value_and_grad(mean, (0, 1))(PARAMS, x)


@pytest.mark.slow
def test_contract():
    check_loss(LOSS, Guess(noise(5, 3), noise(5, 2, seed=2), noise(5, 2, seed=3)), TARGET)


WEIGHTS = jnp.array([1.0, 2.0, 0.0, 3.0, 0.5])


@pytest.mark.parametrize("weights", [pytest.param(None, marks=pytest.mark.slow), WEIGHTS], ids=str)
def test_gradients_dx_and_norms_of_examples(weights):
    w = jnp.ones(5) if weights is None else weights
    value, (grads, dx) = by_autodiff(X, TARGET, w)
    x, target = (a if weights is None else a.at[2].set(jnp.nan) for a in (X, TARGET))
    rule = (fnn.rules.backprop, fnn.rules.deltas, fnn.rules.example_norms)
    done = jax.jit(fnn.fold)(NET, LOSS, PARAMS, x, target, rule=rule, weights=weights)
    chex.assert_trees_all_close((done.loss, done.result[0], done.dx), (value, grads, dx), rtol=1e-9)
    assert isinstance(done.result[1]["guess"], Guess)
    norms = fnn.rules.total(done.result[2])
    for b in [b for b in range(5) if w[b]]:
        one = fnn.value_and_grad(NET, LOSS, PARAMS, X[b : b + 1], TARGET[b : b + 1])[1]["body"]
        np.testing.assert_allclose(norms[b], sum((g**2).sum() for g in one), rtol=1e-9)


def test_norms_of_examples_where_a_layer_with_params_gives_it():
    @dataclass(frozen=True)
    class Both(Guessing):
        def init(self, key):
            return jnp.full(7, 2.0)

        def forward(self, params, x, *, key=None):
            return super().forward((), params * x)[0], x

        def backward(self, params, cache, dy):
            d = jnp.concatenate(dy, -1)
            return (d * cache).sum(0), params * d

    net, x = Both(), noise(5, 7)
    done = fnn.fold(net, LOSS, net.init(KEY), x, TARGET, rule=fnn.rules.example_norms)
    for b in range(5):
        one = fnn.value_and_grad(net, LOSS, net.init(KEY), x[b : b + 1], TARGET[b : b + 1])[1]
        np.testing.assert_allclose(done.result[b], (one**2).sum(), rtol=1e-9)


def error(y, target):
    return abs(y.reconstruction - target).max(-1)


PLAN = fnn.Plan(NET, LOSS, fnn.optim.Adam(0.05), penalty=fnn.L2(0.01), metrics={"error": error})


def test_it_is_trained_and_evaluated():
    start, data = fnn.start(PLAN, KEY), (X, TARGET)
    state, row = fnn.step(PLAN, start, data)
    assert {*row} == {"loss", "error"}
    state, history = fnn.fit(
        PLAN, start, (*data, jnp.arange(5.0)), epochs=30, batch_size=3, validation=data
    )
    assert history["loss"][-1] < history["loss"][0] / 2
    found = fnn.evaluate(PLAN, state, data, batch_size=2)
    np.testing.assert_allclose(found["loss"], history["validation_loss"][-1])
    y = NET.forward(state.params, X)[0]
    np.testing.assert_allclose(found["loss"], LOSS.forward(y, TARGET)[0].mean())
    np.testing.assert_allclose(found["error"], error(y, TARGET).mean())


@pytest.mark.slow
def test_steps_of_sequences_are_guessed_one_by_one():
    x, target = noise(2, 3, 4), noise(2, 3, 3, seed=2)
    mask = jnp.array([[True, True, False], [True, False, True]])
    steps = Sequence(jnp.where(mask[..., None], x, jnp.nan), mask)
    done = fnn.fold(NET, LOSS, PARAMS, steps, target)
    loss, grads = fnn.value_and_grad(NET, LOSS, PARAMS, x[mask], target[mask])
    chex.assert_trees_all_close((done.loss, done.result), (loss, grads), rtol=1e-12)


def test_errors():
    message = r"^Evidence\(\): target must have the reconstruction's shape\.$"
    with pytest.raises(ValueError, match=message):
        fnn.value_and_grad(NET, LOSS, PARAMS, X, noise(5, 2))
    with pytest.raises(
        TypeError, match=r"^SquaredError.*: y must be an array, got Guess; a loss of seve"
    ):
        fnn.value_and_grad(NET, fnn.SquaredError(), PARAMS, X, TARGET)


@dataclass(frozen=True)
class Spread(fnn.Loss[Any]):
    """losses_i = Σ (y_i − mean of y)², which says nothing of rows that are not there."""

    mixes_examples = True

    def check(self, y, target):
        pass

    def forward(self, y, target):
        return ((y - y.mean(0)) ** 2).sum(-1), y

    def backward(self, cache, dl):
        d = 2 * dl[:, None] * (cache - cache.mean(0))
        return d - d.mean(0)


def test_a_loss_that_mixes_examples_must_say_how_it_leaves_one_out():
    net, x, target = fnn.Dense(4, 3), X, TARGET
    params = net.init(KEY)
    ours = fnn.value_and_grad(net, Spread(), params, x, target)
    theirs = jax.value_and_grad(lambda p: Spread().forward(net.forward(p, x)[0], 0)[0].mean())
    chex.assert_trees_all_close(ours, theirs(params), rtol=1e-10)
    with pytest.raises(
        NotImplementedError, match=r"^Spread\(\): a loss that mixes examples needs a"
    ):
        fnn.value_and_grad(net, Spread(), params, x, target, weights=jnp.ones(5))
    plan = fnn.Plan(net, Spread(), fnn.optim.SGD(0.1))
    with pytest.raises(
        NotImplementedError, match=r"^Spread\(\): a loss that mixes examples needs a"
    ):
        fnn.fit(plan, fnn.start(plan, KEY), (x, target), epochs=1, batch_size=2)
