"""Facts about penalties, weight decay and dropout."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise
from facts.small_nets import close, drawn

import fnn

NET, LOSS = fnn.mlp([3, 4, 2], fnn.Tanh()), fnn.SquaredError()
PARAMS = drawn(3, 4, 2)[:-1]
X, Y = np.asarray(noise(6, 3)), np.asarray(noise(6, 2, seed=2))
run = jax.jit(fnn.value_and_grad)


@pytest.mark.parametrize("kind", [fnn.L1, fnn.L2])
def test_a_penalty_of_strength_zero_is_none(kind):
    plain = run(NET, LOSS, PARAMS, X, Y)
    close(run(NET, LOSS, PARAMS, X, Y, penalty=kind(0.0)), plain)
    value, grads = run(NET, LOSS, PARAMS, X, Y, penalty=kind(0.3))
    weights = np.concatenate([p.w.ravel() for p in PARAMS if p])
    extra = 0.3 * abs(weights).sum() if kind is fnn.L1 else 0.3 / 2 * (weights**2).sum()
    assert float(value) == pytest.approx(float(plain[0]) + extra, rel=1e-12)
    for l in (0, 2):
        slope = np.sign(PARAMS[l].w) if kind is fnn.L1 else PARAMS[l].w
        close(np.asarray(grads[l].w), np.asarray(plain[1][l].w) + 0.3 * slope)
        close(grads[l].b, plain[1][l].b)


def test_decoupled_decay_is_the_l2_penalty_along_the_whole_descent():
    rate, strength = 0.1, 0.3
    step = jax.jit(lambda g, p: fnn.optim.apply_updates(p, fnn.optim.SGD(rate).update(g, ())[0]))
    penalised = decoupled = PARAMS
    for _ in range(5):
        _, grads = run(NET, LOSS, penalised, X, Y, penalty=fnn.L2(strength))
        penalised = jax.tree.map(np.asarray, step(grads, penalised))
        _, grads = jax.tree.map(np.asarray, run(NET, LOSS, decoupled, X, Y))
        decoupled = tuple(
            fnn.DenseParams((1 - rate * strength) * p.w - rate * g.w, p.b - rate * g.b) if p else ()
            for p, g in zip(decoupled, grads, strict=True)
        )
    close(penalised, decoupled)


def test_ridge_shrinks_every_eigendirection():
    x, y, strength = X - X.mean(0), Y[:, :1] - Y[:, :1].mean(0), 0.4
    ridge = np.linalg.solve(x.T @ x / 6 + strength * np.eye(3), x.T @ y / 6)
    params = fnn.DenseParams(ridge, np.zeros(1))
    _, grads = run(fnn.Dense(3, 1), fnn.SquaredError(0.5), params, x, y, penalty=fnn.L2(strength))
    close(grads, fnn.DenseParams(np.zeros((3, 1)), np.zeros(1)), atol=1e-13)
    squares, directions = np.linalg.eigh(x.T @ x / 6)
    free = np.linalg.lstsq(x, y)[0]
    shrunk = (squares / (squares + strength))[:, None] * (directions.T @ free)
    close(directions.T @ ridge, shrunk)
    assert np.linalg.norm(ridge) < np.linalg.norm(free)


MASKS = np.array(list(itertools.product((True, False), repeat=4)))


@pytest.mark.parametrize("inverted", [True, False])
def test_the_mean_over_all_masks_is_the_output_at_test_time(inverted):
    rate, x = 0.3, np.asarray(noise(1, 4))
    layer, dense = fnn.Dropout(rate, inverted), fnn.Dense(4, 3)
    params = fnn.DenseParams(np.asarray(noise(4, 3)), np.asarray(noise(3, seed=2)))
    chances = [(1 - rate) ** m.sum() * rate ** (~m).sum() for m in MASKS]
    assert sum(chances) == pytest.approx(1)
    outputs = np.asarray(jax.jit(layer.masked)(MASKS, np.repeat(x, 16, 0)))
    factor = 1 / (1 - rate) if inverted else 1
    np.testing.assert_allclose(outputs, MASKS * x * factor, rtol=1e-12)
    np.testing.assert_allclose(chances @ outputs, x[0] if inverted else (1 - rate) * x[0])
    net, evaluated = fnn.inference(fnn.Serial(layer, dense), ((), params))
    at_test_time, _ = jax.jit(net.forward)(evaluated, x)
    through = chances @ (outputs @ params.w + params.b)  # an affine map keeps the mean
    np.testing.assert_allclose(at_test_time[0], through, rtol=1e-12)
    dropped = chances @ (outputs == 0).mean(1)
    assert dropped == pytest.approx(rate)


def test_both_conventions_of_dropout_differ_by_the_keep_probability():
    x, key, p = np.asarray(noise(6, 5)), jax.random.key(0), 0.3
    inverted, _ = fnn.Dropout(p).forward((), jnp.asarray(x), key=key)
    standard, _ = fnn.Dropout(p, inverted=False).forward((), jnp.asarray(x), key=key)
    assert 0 < (np.asarray(standard) == 0).sum() < 30
    np.testing.assert_allclose(standard, (1 - p) * np.asarray(inverted), rtol=1e-12)
