"""Tests of fnn.plan."""

import pickle
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from contract import noise

import fnn
from fnn.records import Record

NET = fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Repeat(2, fnn.Dense(4, 4)), fnn.Dense(4, 2))
LOSS, SGD = fnn.SoftmaxCrossEntropy(), fnn.optim.SGD(0.5)
X = jax.random.normal(jax.random.key(1), (6, 3))
BATCH = X, (X.sum(1) > 0).astype(jnp.int32)
KEY = jax.random.key(2)
PARAMS = jax.jit(NET.init)(jax.random.key(0))
ZERO = jax.tree.map(jnp.zeros_like, PARAMS)
HOW = {"batch_size": 3}


@fnn.rule(companion=True)
def scaled(layer, params, cache, dy, own):
    """Backpropagation, the gradients multiplied by the companion."""
    grads, dx = layer.backward(params, cache, dy)
    return jax.tree.map(jnp.multiply, grads, own), dx


@fnn.rule(companion=True, learns=True)
def velocity(layer, params, cache, dy, own):
    """v ← v/2 + g: the velocity of Momentum(μ = 1/2), as a rule that learns."""
    grads, dx = layer.backward(params, cache, dy)
    v = jax.tree.map(lambda v, g: v / 2 + g, own, grads)
    return (v, v), dx


@dataclass(frozen=True)
class Autodiff(Record):
    """A learning rule that is no fold: jax.grad of the plain forward."""

    scale: float = 1.0

    def run(self, net, loss, params, x, target, *, key, weights, penalty):
        def mean(params):
            y, _ = net.forward(params, x, key=key)
            losses, _ = loss.forward(y, target)
            return (w * losses).sum() / w.sum(), (y, losses)

        w = jnp.ones(len(x)) if weights is None else weights
        (value, (y, losses)), grads = jax.value_and_grad(mean, has_aux=True)(params)
        grads = jax.tree.map(lambda g: self.scale * g, grads)
        none = jnp.zeros(())
        return fnn.Pass(value, grads, y, w.astype(losses.dtype), losses, none, None, None)


def plan(optimizer=SGD, **options):
    return fnn.Plan(NET, LOSS, optimizer, **options)


def after(plan, state=None):
    """The State after one step, from PARAMS."""
    return fnn.step(plan, state or fnn.start(plan, None, PARAMS), BATCH)[0]


WRONG = {
    "net": (lambda: fnn.Plan(3, LOSS, SGD), TypeError, r"^Plan takes layers, got 3\."),
    "class of net": (lambda: fnn.Plan(fnn.Tanh, LOSS, SGD), TypeError, r"build it: Tanh\(\.\.\.\)"),
    "loss": (lambda: fnn.Plan(NET, "ce", SGD), TypeError, "^Plan: loss must be a Loss, got 'ce'"),
    "class of loss": (lambda: fnn.Plan(NET, fnn.Hinge, SGD), TypeError, r"build it: Hinge\(\.\.\."),
    "optimizer": (
        lambda: plan(0.1),
        TypeError,
        "^Plan: the optimizer must have init and update, got 0.1",
    ),
    "class of optimizer": (lambda: plan(fnn.optim.Adam), TypeError, r"build it: Adam\(\.\.\.\)"),
    "penalty": (lambda: plan(penalty=0.1), TypeError, "penalty must be L1, L2 or a tuple of such"),
    "function for a rule": (
        lambda: plan(rule=lambda *a: fnn.rules.backprop(*a)),
        TypeError,
        "^Plan: rule must be a Rule, got <function .*; write @fnn.rule above a function",
    ),
    "rule in a tuple": (
        lambda: plan(rule=(fnn.rules.backprop, "norms")),
        TypeError,
        "^Plan: rule must be a Rule, got 'norms'",
    ),
    "no rule": (lambda: plan(rule=()), ValueError, "^Plan: rule must be a Rule or a tuple of at"),
    "no companion": (
        lambda: plan(rule=scaled),
        TypeError,
        r"^Plan: scaled needs its companion; write rule=scaled.given\(tree\)",
    ),
    "metric named loss": (
        lambda: plan(metrics={"loss": fnn.accuracy}),
        ValueError,
        "Plan: 'loss' stands for something else in reports; choose another",
    ),
    "metric not built": (
        lambda: plan(metrics={"perplexity": fnn.Perplexity}),
        TypeError,
        r"Plan: metric 'perplexity' is a class; build it: Perplexity\(\.\.\.\)",
    ),
    "metric of validation": (
        lambda: plan(metrics={"validation_loss": fnn.accuracy}),
        ValueError,
        "Plan: 'validation_loss' stands for something else in reports",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_plan_names_the_part_that_is_wrong(case):
    build, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        build()


def test_a_plan_is_a_value():
    one, same = (plan(penalty=fnn.L2(0.1), metrics={"a": fnn.accuracy}) for _ in range(2))
    assert one == same
    assert pickle.loads(pickle.dumps(one)) == one
    leaves, tree = jax.tree.flatten(one)
    assert leaves == [0.5, 0.1]  # the numbers; net, loss, rule and metrics are static
    assert tree.unflatten(leaves) == one
    assert plan(SGD) != plan(fnn.optim.SGD(0.1))


def test_the_numbers_of_a_plan_are_traced_and_what_decides_the_function_is_not():
    traced = []

    @jax.jit
    def run(plan, state):
        traced.append(plan)
        return fnn.step(plan, state, BATCH)[0].params

    def build(rate, strength, factor, metrics=()):
        given = scaled.given(jax.tree.map(lambda p: jnp.full_like(p, factor), PARAMS))
        penalty = fnn.L2(strength)
        p = plan(fnn.optim.SGD(rate), penalty=penalty, rule=given, metrics=metrics)
        return run(p, fnn.start(p, None, PARAMS))

    results = [
        build(0.1, 0.2, 1.0),
        build(0.5, 0.2, 1.0),
        build(0.5, 0.3, 1.0),
        build(0.5, 0.3, 2.0),
    ]
    assert len(traced) == 1
    assert len({float(r[0].w[0, 0]) for r in results}) == 4
    build(0.1, 0.2, 1.0, {"accuracy": fnn.accuracy})
    assert len(traced) == 2
    build(0.3, 0.2, 1.0, {"accuracy": fnn.accuracy})
    assert len(traced) == 2


def test_learning_rates_are_swept_by_vmap_over_what_builds_the_plan_and_over_the_plan_itself():
    rates = jnp.array([0.1, 0.5])
    built = jax.vmap(lambda rate: after(plan(fnn.optim.SGD(rate))).params)(rates)
    handed = jax.vmap(lambda p: after(p).params)(plan(fnn.optim.SGD(rates)))
    for i in range(2):
        one = after(plan(fnn.optim.SGD(float(rates[i])))).params
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], built), one, rtol=1e-10)
        chex.assert_trees_all_close(jax.tree.map(lambda a, i=i: a[i], handed), one, rtol=1e-10)


def test_a_start_draws_params_from_the_first_half_of_the_key_and_keeps_the_second():
    first, second = jax.random.split(KEY)
    state = fnn.start(plan(), KEY)
    chex.assert_trees_all_equal(state.params, NET.init(first))
    chex.assert_trees_all_equal(state.key, second)
    assert state.step == 0
    assert state.companion is None


def test_a_start_from_params_keeps_them_and_the_key_as_given():
    state = fnn.start(plan(fnn.optim.Adam()), KEY, PARAMS)
    assert state.params is PARAMS
    assert state.key is KEY
    chex.assert_trees_all_equal(state.optimizer_state, fnn.optim.Adam().init(PARAMS))
    assert fnn.start(plan(), None, PARAMS).key is None
    assert fnn.start(plan(), params=PARAMS).params is PARAMS


def test_a_start_without_anything_to_start_from_is_refused():
    with pytest.raises(ValueError, match="^start: give a key to draw params from, or params"):
        fnn.start(plan())
    with pytest.raises(TypeError, match="^start: key must be a typed key, got 0; use jax.random"):
        fnn.start(plan(), 0)
    with pytest.raises(TypeError, match=r"^start: key must be a typed key, got uint32\[2\]"):
        fnn.start(plan(), jax.random.PRNGKey(0), PARAMS)
    with pytest.raises(TypeError, match=r"^start: plan must be a Plan, got SGD\(.*write fnn.Plan"):
        fnn.start(SGD, KEY)


def test_a_state_of_another_optimizer_is_refused():
    state = fnn.start(plan(fnn.optim.RMSProp()), None, PARAMS)
    message = (
        "step: the State was not made for AdaGrad: its optimizer_state is RMSPropState; "
        r"fnn.start\(plan, key, state.params\) makes a new one"
    )
    with pytest.raises(ValueError, match=message):
        fnn.step(plan(fnn.optim.AdaGrad()), state, BATCH)
    other = plan(fnn.optim.Adam(), metrics={"accuracy": fnn.accuracy})  # the rest may change
    fnn.step(other, fnn.start(plan(fnn.optim.Adam(0.3)), None, PARAMS), BATCH)


def test_an_optimizer_of_another_library_is_taken_as_it_is():
    theirs = plan(optax.sgd(0.5))
    chex.assert_trees_all_close(after(theirs).params, after(plan()).params, rtol=1e-6)
    assert plan(theirs.optimizer).optimizer is theirs.optimizer


def test_a_rule_with_its_companion_gives_the_gradients():
    twice = scaled.given(jax.tree.map(lambda p: jnp.full_like(p, 2.0), PARAMS))
    ours, theirs = after(plan(fnn.optim.SGD(0.25), rule=twice)), after(plan())
    chex.assert_trees_all_close(ours.params, theirs.params, rtol=1e-10)
    assert ours.companion is None  # it does not learn


def test_of_several_rules_the_first_gives_the_gradients_and_the_others_are_reported():
    both = plan(rule=(fnn.rules.backprop, fnn.rules.deltas, fnn.rules.example_norms))
    state, row = fnn.step(both, fnn.start(both, None, PARAMS), BATCH)
    chex.assert_trees_all_close(state.params, after(plan()).params, rtol=1e-10)
    assert set(row) == {"loss", "deltas", "example_norms"}
    for rule in (fnn.rules.deltas, fnn.rules.example_norms):
        alone = jax.jit(fnn.fold)(NET, LOSS, PARAMS, *BATCH, rule=rule).result
        chex.assert_trees_all_close(row[repr(rule)], alone, rtol=1e-10)


def test_results_of_several_rules_are_stacked_step_by_step_and_epoch_by_epoch():
    both = plan(rule=(fnn.rules.backprop, fnn.rules.deltas))
    start = fnn.start(both, None, PARAMS)
    first, one = fnn.step(both, start, (X[:3], BATCH[1][:3]))
    _, two = fnn.step(both, first, (X[3:], BATCH[1][3:]))
    stacked = jax.tree.map(lambda *a: jnp.stack(a), one["deltas"], two["deltas"])
    _, row = fnn.epoch(both, start, BATCH, **HOW)
    chex.assert_trees_all_close(row["deltas"], stacked, rtol=1e-10)
    _, history = fnn.fit(both, start, BATCH, epochs=2, **HOW)
    assert history["loss"].shape == (2,)
    once = jax.tree.map(lambda a: a[0], history["deltas"])
    chex.assert_trees_all_close(once, stacked, rtol=1e-10)
    rows = []
    _, same = fnn.fit(both, start, BATCH, epochs=2, **HOW, callback=lambda _, row: rows.append(row))
    chex.assert_trees_all_close(same, history, rtol=1e-10)
    chex.assert_trees_all_close(rows[0]["deltas"], stacked, rtol=1e-10)


def test_a_learning_rule_that_is_no_fold_is_a_record_with_a_run():
    own = plan(fnn.optim.SGD(0.25), rule=Autodiff(2.0), metrics={"accuracy": fnn.accuracy})
    ours, row = fnn.step(own, fnn.start(own, None, PARAMS), BATCH)
    theirs, expected = fnn.step(plan(), fnn.start(plan(), None, PARAMS), BATCH)
    chex.assert_trees_all_close(ours.params, theirs.params, rtol=1e-10)
    chex.assert_trees_all_close(row["loss"], expected["loss"], rtol=1e-10)
    assert set(row) == {"loss", "accuracy"}
    weights = jnp.array([1.0, 1, 1, 0, 0, 0])
    cut, _ = fnn.fit(own, fnn.start(own, None, PARAMS), (*BATCH, weights), epochs=1, batch_size=6)
    three, _ = fnn.step(own, fnn.start(own, None, PARAMS), (X[:3], BATCH[1][:3]))
    chex.assert_trees_all_close(cut.params, three.params, rtol=1e-10)


LEARNING = {
    "step": lambda p, s: fnn.step(p, fnn.step(p, s, BATCH)[0], BATCH)[0],
    "step in jit": lambda p, s: jax.jit(lambda p, s: LEARNING["step"](p, s))(p, s),
    "epoch": lambda p, s: fnn.epoch(p, s, BATCH, **HOW)[0],
    "fit": lambda p, s: fnn.fit(p, s, BATCH, epochs=2, **HOW)[0],
    "fit in jit": lambda p, s: jax.jit(lambda p, s: LEARNING["fit"](p, s))(p, s),
    "callback": lambda p, s: fnn.fit(p, s, BATCH, epochs=2, callback=lambda *_: None, **HOW)[0],
}


@pytest.mark.parametrize("how", LEARNING)
def test_what_a_rule_learns_is_carried_in_the_state(how):
    run, momentum = LEARNING[how], plan(fnn.optim.Momentum(0.5, 0.5))
    expected = run(momentum, fnn.start(momentum, KEY, PARAMS))
    learning: Any = plan(rule=velocity.given(ZERO))
    state = run(learning, fnn.start(learning, KEY, PARAMS))
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-10)
    chex.assert_trees_all_close(state.companion, expected.optimizer_state.v, rtol=1e-10, atol=1e-15)
    assert expected.companion is None


def test_a_state_begins_with_the_companions_of_the_rules_that_learn():
    given, fixed = velocity.given(ZERO), scaled.given(PARAMS)
    chex.assert_trees_all_equal(fnn.start(plan(rule=given), KEY).companion, ZERO)
    assert fnn.start(plan(rule=fixed), KEY).companion is None
    several = plan(rule=(given, fnn.rules.deltas, fixed))
    state = fnn.start(several, None, PARAMS)
    chex.assert_trees_all_equal(state.companion, (ZERO, None, None))
    after_one = after(several, state)
    alone = after(plan(rule=given))
    chex.assert_trees_all_close(after_one.companion, (alone.companion, None, None), rtol=1e-10)
    chex.assert_trees_all_close(after_one.params, alone.params, rtol=1e-10)


def test_a_state_of_another_rule_is_refused():
    net = fnn.Dense(3, 4)
    params, batch = net.init(KEY), (noise(5, 3), noise(5, 4, seed=2))
    plain = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1))
    learning = plain.with_fields(rule=velocity.given(params))
    with pytest.raises(ValueError, match="step: .* not made for this rule: its companion is None"):
        fnn.step(learning, fnn.start(plain, None, params), batch)


@dataclass(frozen=True)
class Told(fnn.records.Record):
    """A learning rule that is no fold, and adds the penalty that it is told of."""

    def run(self, net, loss, params, x, target, *, key, weights, penalty):
        return fnn.fold(net, loss, params, x, target, key=key, weights=weights, penalty=penalty)


def test_a_learning_rule_that_is_no_fold_is_told_of_the_penalty():
    net = fnn.Dense(3, 4)
    params, batch = net.init(KEY), (noise(5, 3), noise(5, 4, seed=2))
    theirs = fnn.Plan(net, fnn.SquaredError(), fnn.optim.SGD(0.1), penalty=fnn.L2(0.3))
    ours = theirs.with_fields(rule=Told())
    found, want = (fnn.step(p, fnn.start(p, None, params), batch) for p in (ours, theirs))
    chex.assert_trees_all_close((found[0].params, found[1]), (want[0].params, want[1]), rtol=1e-10)
