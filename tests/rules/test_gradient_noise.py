"""Tests of fnn.rules.gradient_noise."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn
from fnn.rules import GradientNoise, backprop, example_norms, noise_scale, total_noise

KEY = jax.random.key(0)
LOSS = fnn.SoftmaxCrossEntropy()
TOKENS, LABELS = jax.random.randint(KEY, (2, 5, 6), 0, 7)
MASK = jnp.arange(6) < jnp.array([6, 3, 1, 5, 2])[:, None]
WEIGHTS = jnp.array([1.0, 0.0, 2.5, 0.5, 3.0])
READER = fnn.Serial(fnn.Embedding(7, 3), fnn.LSTM(3, 4), fnn.Dense(4, 7))
DEEP = fnn.Serial(
    fnn.Dense(3, 4), fnn.Repeat(2, fnn.Residual(fnn.Serial(fnn.Dense(4, 4), fnn.Tanh()))),
    fnn.LayerNorm(4), fnn.Dense(4, 7),
)  # fmt: skip
TIED = fnn.Tied(
    fnn.Serial(embed=fnn.Embedding(7, 3), bend=fnn.Tanh(), head=fnn.Unembed(3, 7)), head="embed"
)
NETS = {  # net, x, target, weights
    "deep": (DEEP, noise(5, 3), LABELS[:, 0], None),
    "deep, weights": (DEEP, noise(5, 3), LABELS[:, 0], WEIGHTS),
    "reader, mask": (READER, fnn.Sequence(TOKENS, MASK), LABELS, None),
    "tied, weights of steps": (TIED, TOKENS, LABELS, jnp.where(MASK, abs(noise(5, 6, seed=2)), 0)),
}
fold = jax.jit(fnn.fold)


def by_definition(net, params, x, target, weights):
    """(tr Σ, ‖G‖²) from the gradients of all examples, by autodiff."""
    w = jnp.ones(target.shape) if weights is None else weights
    w = w.reshape(w.shape + (1,) * (target.ndim - w.ndim)) * jnp.ones(target.shape)
    mask, a = (x.mask, x.x) if isinstance(x, fnn.Sequence) else (None, x)
    w = w if mask is None else jnp.where(mask, w, 0)

    def own(params, a, m, target, w):
        row = a[None] if m is None else fnn.Sequence(a[None], m[None])
        y = net.forward(params, row)[0]
        y = y if m is None else y.x
        y = y.whole() if hasattr(y, "whole") else y
        return (w * LOSS.forward(y, target[None])[0][0]).sum() / jnp.where(w.sum() == 0, 1, w.sum())

    each = jax.vmap(jax.grad(own), (None, 0, 0, 0, 0))(params, a, mask, target, w)
    g = jnp.concatenate([a.reshape(5, -1) for a in jax.tree.leaves(each)], 1)
    s = w.reshape(5, -1).sum(1) / w.sum()
    q = (s**2).sum()
    variance = (s @ (g**2).sum(1) - ((s @ g) ** 2).sum()) / (1 - q)
    return variance, ((s @ g) ** 2).sum() - q * variance


@pytest.mark.parametrize("name", NETS)
def test_it_is_what_the_gradients_of_all_examples_say(name):
    net, x, target, weights = NETS[name]
    params = net.init(KEY)
    want = jax.jit(by_definition, static_argnums=0)(net, params, x, target, weights)
    rules = (backprop, noise_scale, example_norms)
    done = fold(net, LOSS, params, x, target, weights=weights, rule=rules)
    found = total_noise(done.result[1])
    np.testing.assert_allclose(found, want, **EXACT)
    np.testing.assert_allclose(found.scale, want[0] / want[1], **EXACT)
    np.testing.assert_allclose(found.signal_to_noise, want[1] / want[0], **EXACT)
    if name == "deep":  # a GradientNoise for every layer with params, of Repeat for every copy
        assert [a.shape for a in done.result[1][1][0]] == [(2,), (2,)]
        alone = fold(net, LOSS, params, x, target, rule=noise_scale)
        chex.assert_trees_all_close((alone.result, alone.dx), (done.result[1], done.dx), **EXACT)


def test_without_bias_over_all_batches_that_can_be_drawn():
    net, x = fnn.Dense(3, 7, bias=False), noise(6, 3)
    params, target = net.init(KEY), jnp.arange(6)
    pairs = jnp.array([[i, j] for i in range(6) for j in range(6)])  # drawn with replacement

    @jax.jit
    def facts(s):
        def of(rows):
            return fnn.fold(
                net, LOSS, params, x[rows], target[rows], weights=s, rule=noise_scale
            ).result

        g = jax.vmap(lambda a, t: fnn.value_and_grad(net, LOSS, params, a[None], t[None])[1].w)
        return jax.lax.map(of, pairs), g(x, target)

    for s in ([1.0, 1.0], [1.0, 3.0]):
        found, g = facts(jnp.array(s))
        np.testing.assert_allclose(found.square.mean(), (g.mean(0) ** 2).sum(), **EXACT)
        scatter = ((g - g.mean(0)) ** 2).sum() / 6
        np.testing.assert_allclose(found.variance.mean(), scatter, **EXACT)


def test_by_hand():
    layer = fnn.Dense(1, 1, bias=False)
    params = layer.init(KEY)
    _, cache = layer.forward(params, jnp.array([[1.0], [3.0]]))
    found, _ = noise_scale(layer, params, cache, jnp.array([[1.0], [0.5]]))  # g = 2, 3, alike
    np.testing.assert_allclose(found, GradientNoise(2 * (6.5 - 6.25), 6.25 - 0.25), **EXACT)


def test_one_example_alone_shows_no_variance():
    net, x, target, _ = NETS["deep"]
    params = net.init(KEY)
    weights = jnp.array([0.0, 2.0, 0, 0, 0])
    for rows, w in ((slice(1), None), (slice(None), weights)):
        done = fold(net, LOSS, params, x[rows], target[rows], weights=w, rule=noise_scale)
        assert all(np.isnan(a).all() for a in jax.tree.leaves(done.result))
        assert np.isfinite(done.loss)


@pytest.mark.slow
def test_what_has_no_weight_is_not_there():
    net, x, target, _ = NETS["deep"]
    params, rest = net.init(KEY), jnp.array([0, 2, 3, 4])
    want = fold(net, LOSS, params, x[rest], target[rest], weights=WEIGHTS[rest], rule=noise_scale)
    broken = x.at[1].set(jnp.nan)
    done = fold(net, LOSS, params, broken, target, weights=WEIGHTS, rule=noise_scale)
    chex.assert_trees_all_close(done.result, want.result, **EXACT)


@pytest.mark.slow
def test_fit_reports_it_and_averages_come_before_the_ratio():
    net, x, target, _ = NETS["deep"]
    plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1e-30), rule=(backprop, noise_scale))
    state = fnn.start(plan, None, net.init(KEY))
    _, history = fnn.fit(plan, state, (x, target), epochs=2, batch_size=3)
    found = history["noise_scale"]
    assert found[0].variance.shape == (2, 2)  # epochs, steps
    assert found[1][0].square.shape == (2, 2, 2)  # and copies
    mean = total_noise(jax.tree.map(lambda a: a.mean((0, 1)), found))
    first = fold(net, LOSS, state.params, x[:3], target[:3], rule=noise_scale).result
    rest = fold(net, LOSS, state.params, x[3:], target[3:], rule=noise_scale).result
    want = [(a + b) / 2 for a, b in zip(total_noise(first), total_noise(rest), strict=True)]
    np.testing.assert_allclose(mean, want, **EXACT)


def test_errors():
    with pytest.raises(ValueError, match="total_noise: found has no layer"):
        total_noise(())
    with pytest.raises(TypeError, match="total_noise: found must hold a GradientNoise per layer"):
        total_noise((jnp.ones(3),))
    net = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4))
    with pytest.raises(NotImplementedError, match=r"layer 1, BatchNorm.*: nothing per example"):
        fnn.fold(net, LOSS, net.init(KEY), noise(5, 3), jnp.arange(5) % 4, rule=noise_scale)
    with pytest.raises(TypeError, match="signs: shares are those of examples"):

        @fnn.rule(shares=True)
        def signs(layer, params, cache, dy, share):
            return (), dy
