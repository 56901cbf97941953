"""Tests of fnn.clipping."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, noise

import fnn

KEY = jax.random.key(0)
LOSS = fnn.SoftmaxCrossEntropy()
TOKENS = jax.random.randint(KEY, (5, 6), 0, 7)
LABELS = jax.random.randint(jax.random.key(1), (5, 6), 0, 7)
NETS = {
    "mlp": (fnn.mlp([3, 4, 7]), noise(5, 3), LABELS[:, 0]),
    "cnn": (
        fnn.Serial(fnn.Conv2d(2, 3, (2, 3), stride=2), fnn.Tanh(), fnn.Flatten(), fnn.Dense(12, 7)),
        noise(5, 4, 6, 2),
        LABELS[:, 0],
    ),
    "lstm": (fnn.Serial(fnn.Embedding(7, 3), fnn.LSTM(3, 4), fnn.Dense(4, 7)), TOKENS, LABELS),
    "gpt": (fnn.gpt(7, 4, 2, 2, 6, recompute=True), TOKENS, LABELS),
    "tied": (fnn.gpt(7, 4, 2, 1, 6, tied=True), TOKENS, LABELS),
    "cast": (fnn.Cast(fnn.mlp([3, 4, 7], fnn.Tanh()), "float32"), noise(5, 3), LABELS[:, 0]),
}
clipped_grad = jax.jit(
    fnn.clipped_grad, static_argnames=("net", "loss", "per_layer", "norms", "microbatch")
)


@functools.partial(jax.jit, static_argnums=0)
def each_grad(net, params, x, target):
    """The gradient of every example alone, stacked."""

    def grad(x, target):
        return fnn.value_and_grad(net, LOSS, params, x[None], target[None])[1]

    return jax.lax.map(lambda row: grad(*row), (x, target))


def norm(tree):
    return jnp.sqrt(sum((a**2).sum() for a in jax.tree.leaves(tree)))


def clipped(tree, bound):
    return jax.tree.map(lambda a: a * min(1, bound / norm(tree)), tree)


def summed(trees):
    return jax.tree.map(lambda *a: sum(a), *trees)


def rows(tree):
    return [jax.tree.map(lambda a, b=b: a[b], tree) for b in range(5)]


@pytest.mark.parametrize(
    "name", [n if n == "mlp" else pytest.param(n, marks=pytest.mark.slow) for n in NETS]
)
def test_it_is_the_sum_of_the_clipped_gradients_of_all_examples(name):
    net, x, target = NETS[name]
    params = net.init(KEY)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if name == "cast" else EXACT
    grads = rows(each_grad(net, params, x, target))
    norms = jnp.stack([norm(g) for g in grads])
    bound = float(jnp.median(norms))
    loss, gradient, found = clipped_grad(net, LOSS, params, x, target, bound, norms=True)
    np.testing.assert_allclose(found, norms, **tolerance)
    chex.assert_trees_all_close(gradient, summed([clipped(g, bound) for g in grads]), **tolerance)
    want = fnn.value_and_grad(net, LOSS, params, x, target)[0]
    np.testing.assert_allclose(loss, want, **tolerance)


def test_every_layer_by_itself_and_its_sensitivity():
    net, x, target = NETS["mlp"]
    params = net.init(KEY)
    how = {"per_layer": True, "norms": True}
    _, gradient, norms = clipped_grad(net, LOSS, params, x, target, 0.3, **how)
    for i in (0, 2):
        parts = rows(each_grad(net, params, x, target)[i])
        np.testing.assert_allclose(norms[i], jnp.stack([norm(p) for p in parts]), **EXACT)
        chex.assert_trees_all_close(gradient[i], summed([clipped(p, 0.3) for p in parts]), **EXACT)
    rule = fnn.Clipping(0.3, per_layer=True)
    np.testing.assert_allclose(rule.sensitivity(net, params), 0.3 * 2**0.5)
    assert fnn.Clipping(0.3).sensitivity(net, params) == 0.3


@pytest.mark.parametrize("name", ["mlp", "lstm"])
def test_an_example_that_is_not_finite_or_not_there_is_left_out(name):
    net, x, target = NETS[name]
    params = net.init(KEY)
    rest = jnp.array([0, 1, 3, 4])
    want = clipped_grad(net, LOSS, params, x[rest], target[rest], 0.3)
    weights = jnp.ones(5).at[2].set(0)
    absent = clipped_grad(net, LOSS, params, x, target, 0.3, weights=weights)
    chex.assert_trees_all_close(absent, want, **EXACT)
    if name == "mlp":
        broken = x.at[2].set(jnp.nan)
        _, gradient, norms = clipped_grad(net, LOSS, params, broken, target, 0.3, norms=True)
        chex.assert_trees_all_close(gradient, want[1], **EXACT)
        assert np.isfinite(norms).tolist() == [True, True, False, True, True]


def test_any_function_of_the_norms_weighs_the_examples():
    net, x, target = NETS["mlp"]
    params = net.init(KEY)
    _, gradient = fnn.clipped_grad(net, LOSS, params, x, target, lambda n: n**2)
    grads = rows(each_grad(net, params, x, target))
    want = summed([jax.tree.map(lambda a, n=norm(g): a * n**2, g) for g in grads])
    chex.assert_trees_all_close(gradient, want, **EXACT)


def test_as_the_rule_of_a_plan_it_divides_by_the_expected_size_and_adds_noise_and_penalty():
    net, x, target = NETS["mlp"]
    params = net.init(KEY)
    _, gradient = clipped_grad(net, LOSS, params, x, target, 0.3)
    plan = fnn.Plan(
        net, LOSS, fnn.optim.SGD(1.0), penalty=fnn.L2(0.1),
        rule=fnn.Clipping(0.3, expected_batch_size=4),
    )  # fmt: skip
    state, _ = fnn.step(plan, fnn.start(plan, None, params), (x, target))
    decay = fnn.L2(0.1).gradient(params)
    want = jax.tree.map(lambda p, g, d: p - (g / 4 + d), params, gradient, decay)
    chex.assert_trees_all_close(state.params, want, **EXACT)

    def moved(key, noise):
        rule = fnn.Clipping(0.3, noise=noise, expected_batch_size=4)
        plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1.0), rule=rule)
        state, _ = fnn.step(plan, fnn.start(plan, key, params), (x, target))
        quiet = jax.tree.map(lambda p, g: p - g / 4, params, gradient)
        return jax.tree.map(jnp.subtract, state.params, quiet)

    draws = jax.vmap(lambda key: moved(key, 2.0))(jax.random.split(KEY, 400))
    for a in jax.tree.leaves(draws):
        np.testing.assert_allclose(a.std(), 2.0 * 0.3 / 4, rtol=0.1)
        assert abs(a.mean()) < 0.02
    chex.assert_trees_all_close(moved(None, None), jax.tree.map(jnp.zeros_like, params), **EXACT)


def test_what_is_frozen_gets_no_noise_and_counts_for_no_layer():
    net = fnn.Serial(fnn.Frozen(fnn.Dense(3, 4)), fnn.Dense(4, 7))
    params, (_, x, target) = net.init(KEY), NETS["mlp"]
    rule = fnn.Clipping(0.3, noise=2.0, per_layer=True)
    assert rule.sensitivity(net, params) == 0.3
    done = rule.run(net, LOSS, params, x, target, key=KEY)
    assert not np.any(done.result[0].inner.w)
    assert np.any(done.result[1].b)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan")])
def test_a_bound_that_is_none_poisons_the_sum_under_jit(bad):
    net, x, target = NETS["mlp"]
    value, gradient = clipped_grad(net, LOSS, net.init(KEY), x, target, jnp.array(bad))
    assert jnp.isfinite(value)
    assert all(jnp.isnan(a).all() for a in jax.tree.leaves(gradient))


def test_errors():
    net, x, target = NETS["mlp"]
    params = net.init(KEY)
    for bad in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"clipped_grad: max_norm must be in \(0, inf"):
            fnn.clipped_grad(net, LOSS, params, x, target, bad)
    for bad in (0, -2, 2.5):
        with pytest.raises((TypeError, ValueError), match="clipped_grad: microbatch must be"):
            fnn.clipped_grad(net, LOSS, params, x, target, 1.0, microbatch=bad)
    with pytest.raises(ValueError, match="Clipping: microbatch must be at least 1"):
        fnn.Clipping(1.0, microbatch=0)
    with pytest.raises(ValueError, match="label"):  # what is known is checked all the same
        fnn.clipped_grad(net, LOSS, params, x, target + 7, 1.0, microbatch=2)
    state = fnn.Sequence(noise(5, 6, 3), state=(jnp.zeros((5, 4)), jnp.zeros((5, 4))))
    alone = fnn.LSTM(3, 7)
    with pytest.raises(ValueError, match="clipped_grad: x has a state, of which no microbatch"):
        fnn.clipped_grad(alone, LOSS, alone.init(KEY), state, LABELS, 1.0, microbatch=2)
    with pytest.raises(ValueError, match="Clipping: noise must be in"):
        fnn.Clipping(1.0, noise=-1.0)
    with pytest.raises(ValueError, match="Clipping: expected_batch_size must be in"):
        fnn.Clipping(1.0, expected_batch_size=0)
    mixing = fnn.Serial(fnn.BatchNorm(3), fnn.Dense(3, 7))
    with pytest.raises(NotImplementedError, match=r"layer 0, BatchNorm.*: nothing per example"):
        fnn.clipped_grad(mixing, LOSS, mixing.init(KEY), x, target, 1.0)
    with pytest.raises(TypeError, match=r"fold: Clipping\(.* runs by itself: it stands alone"):
        fnn.fold(net, LOSS, params, x, target, rule=fnn.Clipping(1.0))
    plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1.0), rule=fnn.Clipping(1.0, noise=1.0))
    with pytest.raises(ValueError, match="Clipping: noise needs a key"):
        fnn.step(plan, fnn.start(plan, None, params), (x, target))
