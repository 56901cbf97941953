"""Three rules that use all that a rule can have, through every route.

Feedback alignment has its matrices as companion; direct feedback alignment sees the error of
the output at every leaf; Stepping is SGD with momentum inside the backward pass, with the
masters, the velocity and the rate as companion.
"""

import pickle
from dataclasses import replace
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn.rules import backprop, companion, deltas, example_norms

KEY = jax.random.key(0)
LOSS = fnn.SquaredError()
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@fnn.rule(companion=True)
def alignment(layer, params, cache, dy, own):
    """Any leaf: its own backward."""
    return layer.backward(params, cache, dy)


@alignment.register(fnn.Dense)
def _(layer, params, cache, dy, own):
    """dx = dy B instead of dy wᵀ."""
    return layer.backward(params, cache, dy)[0], dy @ own.astype(dy.dtype)


@fnn.rule(companion=True, begin=lambda y, target, dy: dy)
def direct(layer, params, cache, dy, own, seen):
    """Any leaf: its own backward."""
    return layer.backward(params, cache, dy)


@direct.register(fnn.Dense)
def _(layer, params, cache, dy, own, seen):
    """dx = e B, e the error of the output."""
    return layer.backward(params, cache, dy)[0], seen.astype(dy.dtype) @ own.astype(dy.dtype)


class Own(NamedTuple):
    """The companion of `stepping` at a leaf."""

    params: Any
    v: Any
    rate: Any


@fnn.rule(companion=True, learns=True)
def stepping(layer, params, cache, dy, own):
    """v ← 0.9 v + g,  p ← p − η v, on the masters; no gradient outlives its layer."""
    grads, dx = layer.backward(params, cache, dy)
    if not own:  # a layer without parameters
        return ((), ()), dx
    v = jax.tree.map(lambda v, g: 0.9 * v + g.astype(v.dtype), own.v, grads)
    p = jax.tree.map(lambda p, v: p - own.rate.astype(v.dtype) * v, own.params, v)
    return ((), Own(p, v, own.rate)), dx


def net(around=lambda layer: layer):
    """A net whose middle part, three copies of a block, is wrapped."""
    block = fnn.Serial(up=fnn.Dense(4, 6), act=fnn.Tanh(), down=fnn.Dense(6, 4))
    return fnn.Serial(
        embed=fnn.Dense(3, 4),
        act=fnn.Tanh(),
        blocks=around(fnn.Repeat(3, fnn.Recompute(fnn.Residual(block)))),
        head=fnn.Residual(fnn.Dense(4, 4)),
    )


WRAPS = {
    "plain": net(),
    "recompute": net(fnn.Recompute),
    "residual": net(fnn.Residual),
    "cast": net(lambda layer: fnn.Cast(layer, "float64")),
    "whole cast": fnn.Cast(net(), "float64"),
}
X, TARGET = noise(5, 3), noise(5, 4, seed=2)


def drawn(net, dtype="float64"):
    return jax.tree.map(lambda p: p.astype(dtype), net.init(KEY))


@jax.jit
def by_autodiff(net, params, x=X, target=TARGET):
    def mean(params, x):
        return ((net.forward(params, x)[0] - target) ** 2).sum(-1).mean()

    return jax.value_and_grad(mean, (0, 1))(params, x)


def matrices(net, params):
    """wᵀ of every Dense."""
    return companion(net, lambda f, p: p.w.T if isinstance(f, fnn.Dense) else (), params)


run = jax.jit(fnn.fold)


@pytest.mark.parametrize("name", WRAPS)
def test_feedback_alignment_along_the_weights_is_backpropagation(name):
    net = WRAPS[name]
    params = drawn(net)
    done = run(net, LOSS, params, X, TARGET, rule=alignment.given(matrices(net, params)))
    loss, (grads, dx) = by_autodiff(net, params)
    chex.assert_trees_all_close((done.loss, done.result, done.dx), (loss, grads, dx), **CLOSE)


def test_feedback_alignment_by_hand():
    net, params = fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dense(4, 2)), None
    params, b = drawn(net), noise(2, 4, seed=5)
    own = (jnp.zeros((4, 3)), (), b)
    done = run(net, LOSS, params, X, TARGET[:, :2], rule=alignment.given(own))
    h = np.tanh(X @ params[0].w + params[0].b)
    e = 2 * (h @ params[2].w + params[2].b - TARGET[:, :2]) / 5
    np.testing.assert_allclose(done.result[2].w, h.T @ e, rtol=1e-12)
    np.testing.assert_allclose(done.result[0].w, X.T @ ((e @ b) * (1 - h**2)), rtol=1e-12)
    np.testing.assert_array_equal(done.dx, 0)


def test_companions_are_swept_by_vmap_and_compile_once():
    net = WRAPS["plain"]
    params = drawn(net)
    true = matrices(net, params)
    other = jax.tree.map(lambda b: noise(*b.shape, seed=3), true)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), true, other)
    traces = []

    @jax.jit
    def gradient(rule):
        traces.append(rule)
        return fnn.fold(net, LOSS, params, X, TARGET, rule=rule).result

    swept = jax.jit(jax.vmap(gradient))(alignment.given(both))
    traces.clear()
    alone = [gradient(alignment.given(b)) for b in (true, other)]
    assert len(traces) <= 1
    stacked = jax.tree.map(lambda a, b: jnp.stack([a, b]), *alone)
    chex.assert_trees_all_close(swept, stacked, **CLOSE)
    assert not np.allclose(alone[0]["embed"].w, alone[1]["embed"].w)


@pytest.mark.parametrize("name", WRAPS)
def test_direct_feedback_alignment_sends_the_error_of_the_output_to_every_layer(name):
    net, b = WRAPS[name], {3: noise(4, 3, seed=3), 4: noise(4, 4, seed=4), 6: noise(4, 6, seed=6)}
    params = drawn(net)
    own = companion(net, lambda f, p: b[f.n_in] if isinstance(f, fnn.Dense) else (), params)
    done = run(net, LOSS, params, X, TARGET, rule=direct.given(own))
    e = 2 * (net.forward(params, X)[0] - TARGET) / 5
    behind = e + e @ b[4]  # of the head, whose skip connection passes e on
    ways = 2 if name == "residual" else 1
    da = ways * behind + 3 * (e @ b[4])  # of three blocks
    h = np.tanh(X @ params["embed"].w + params["embed"].b)
    np.testing.assert_allclose(done.result["embed"].w, X.T @ (da * (1 - h**2)), rtol=1e-9)
    np.testing.assert_allclose(done.dx, e @ b[3], rtol=1e-9)


def masters(net, params, rate):
    """The companion of `stepping` before the first step."""

    def leaf(f, p):
        return Own(p, jax.tree.map(jnp.zeros_like, p), jnp.asarray(rate)) if p else ()

    return companion(net, leaf, params)


def picked(net, own, field):
    """One field of the companion, nested like params."""
    return companion(net, lambda f, o: getattr(o, field) if o else (), own)


@pytest.mark.parametrize("name", WRAPS)
def test_momentum_inside_the_backward_pass_is_momentum_behind_it(name):
    net = WRAPS[name]
    params = drawn(net)
    own, optimizer = masters(net, params, 0.1), fnn.optim.Momentum(0.1)
    state, expected = optimizer.init(params), params
    for _ in range(3):
        done = run(net, LOSS, picked(net, own, "params"), X, TARGET, rule=stepping.given(own))
        own = done.companion
        grads = by_autodiff(net, expected)[1][0]
        updates, state = optimizer.update(grads, state, expected)
        expected = fnn.optim.apply_updates(expected, updates)
    chex.assert_trees_all_close(picked(net, own, "params"), expected, rtol=1e-9)
    assert jax.tree.structure(done.companion) == jax.tree.structure(own)


def test_another_rate_compiles_nothing_and_rates_are_swept():
    net, traces = WRAPS["plain"], []
    params = drawn(net)

    @jax.jit
    def step(own):
        traces.append(own)
        return fnn.fold(net, LOSS, params, X, TARGET, rule=stepping.given(own)).companion

    slow, fast = (step(masters(net, params, rate)) for rate in (0.1, 0.3))
    assert len(traces) == 1
    swept = jax.vmap(lambda rate: step(masters(net, params, rate)))(jnp.array([0.1, 0.3]))
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), slow, fast)
    chex.assert_trees_all_close(swept, both, **CLOSE)


def test_under_cast_the_masters_stay_float32_and_take_steps_that_bfloat16_would_lose():
    net = fnn.Cast(WRAPS["plain"], "bfloat16")
    params = drawn(net, "float32")
    own = masters(net, params, jnp.float32(1e-5))
    x, target = X.astype("float32"), TARGET.astype("float32")
    done = run(net, LOSS, params, x, target, rule=stepping.given(own))
    after = picked(net, done.companion, "params")
    chex.assert_trees_all_equal_dtypes(after, params)
    grads = jax.jit(fnn.value_and_grad)(net, LOSS, params, x, target)[1]
    expected = jax.tree.map(lambda p, g: p - jnp.float32(1e-5) * g, params, grads)
    chex.assert_trees_all_close(after, expected, rtol=1e-6)
    assert not np.array_equal(after["embed"].w, params["embed"].w)


def test_rules_with_companions_share_one_pass_with_rules_without():
    net = WRAPS["plain"]
    params = drawn(net)
    a, s = alignment.given(matrices(net, params)), stepping.given(masters(net, params, 0.1))
    rules = (backprop, s, example_norms, a)
    done = run(net, LOSS, params, X, TARGET, rule=rules)
    for i, rule in enumerate(rules):
        alone = run(net, LOSS, params, X, TARGET, rule=rule)
        chex.assert_trees_all_close(done.result[i], alone.result, **CLOSE)
        chex.assert_trees_all_close(done.companion[i], alone.companion, **CLOSE)
    chex.assert_trees_all_close(done.dx, by_autodiff(net, params)[1][1], **CLOSE)


def test_several_rules_trace_every_layer_once():
    net = WRAPS["plain"]
    params = drawn(net)

    def flops(rule):
        def f(params):
            return fnn.fold(net, LOSS, params, X, TARGET, rule=rule).result

        return jax.jit(f).lower(params).compile().cost_analysis()["flops"]

    both, gradients, signals = flops((backprop, deltas)), flops(backprop), flops(deltas)
    assert both < gradients + 0.2 * signals


def test_over_time_a_rule_reaches_stacks_in_both_directions():
    net = fnn.Serial(
        rnn=fnn.Bidirectional.of(fnn.Serial(fnn.Dense(3, 4), fnn.RNN(4, 5))),
        last=fnn.Last(),
        head=fnn.Dense(10, 2),
    )
    params = drawn(net)
    x = fnn.Sequence(noise(4, 6, 3), jnp.arange(6) < jnp.array([6, 2, 1, 4])[:, None])
    own, target = matrices(net, params), noise(4, 2, seed=2)
    done = run(net, LOSS, params, x, target, rule=alignment.given(own))
    loss, grads = jax.jit(fnn.value_and_grad)(net, LOSS, params, x, target)
    chex.assert_trees_all_close((done.loss, done.result), (loss, grads), **CLOSE)
    moved = run(net, LOSS, params, x, target, rule=stepping.given(masters(net, params, 0.1)))
    after = picked(net, moved.companion, "params")
    chex.assert_trees_all_close(after, jax.tree.map(lambda p, g: p - 0.1 * g, params, grads))


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 0.0, 2.0, 1.0]], ids=["equal", "weighted"])
def test_a_rule_per_example_sees_the_derivative_of_the_examples_own_loss(weights):
    net = WRAPS["plain"]
    params = drawn(net)
    w = None if weights is None else jnp.array(weights)
    rules = (backprop, example_norms)
    grads, norms = run(net, LOSS, params, X, TARGET, rule=rules, weights=w).result
    expected = jax.jit(fnn.value_and_grad)(net, LOSS, params, X, TARGET, weights=w)[1]
    chex.assert_trees_all_close(grads, expected, **CLOSE)
    for b in range(5):
        own = by_autodiff(net, params, X[b : b + 1], TARGET[b : b + 1])[1][0]
        square = sum((g**2).sum() for g in jax.tree.leaves(own))
        left_out = w is not None and w[b] == 0
        np.testing.assert_allclose(fnn.rules.total(norms)[b], 0 if left_out else square, rtol=1e-9)


def test_a_rule_is_a_value():
    assert pickle.loads(pickle.dumps(alignment)) == alignment
    assert pickle.loads(pickle.dumps(replace(deltas, per_example=True))) != deltas
    assert hash(replace(deltas)) == hash(deltas)
    assert (repr(deltas), repr(backprop)) == ("deltas", "backprop")

    @fnn.rule
    def local(layer, params, cache, dy):
        return dy, dy

    with pytest.raises(pickle.PicklingError, match=r"<locals>\.local: a rule must be at the top"):
        pickle.dumps(local)


def test_what_is_not_a_rule_is_refused():
    net = WRAPS["plain"]
    args = net, LOSS, drawn(net), X, TARGET
    for bare in (lambda *a: deltas(*a), "deltas", (deltas, len)):
        with pytest.raises(TypeError, match=r"^fold: rule must be a Rule, got .*@fnn\.rule above"):
            fnn.fold(*args, rule=bare)
    with pytest.raises(TypeError, match=r"^fold: alignment needs its companion; .*given\(tree\)"):
        fnn.fold(*args, rule=alignment)
    with pytest.raises(TypeError, match=r"^deltas takes no companion; .*companion=True"):
        deltas.given(())
    with pytest.raises(ValueError, match="at least one, got"):
        fnn.fold(*args, rule=())


def test_of_several_rules_the_first_sends_back_dx():
    net = WRAPS["plain"]
    params = drawn(net)
    other = jax.tree.map(lambda b: noise(*b.shape, seed=3), matrices(net, params))
    a = alignment.given(other)
    alone = run(net, LOSS, params, X, TARGET, rule=a)
    first, last = (
        run(net, LOSS, params, X, TARGET, rule=r) for r in ((a, backprop), (backprop, a))
    )
    chex.assert_trees_all_close(first.dx, alone.dx, **CLOSE)
    chex.assert_trees_all_close(last.dx, by_autodiff(net, params)[1][1], **CLOSE)
    assert not np.allclose(first.dx, last.dx)
