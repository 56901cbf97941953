"""Tests of fnn.watching."""

import functools
import pickle
from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from fnn import rules
from fnn.watching import packed, unpacked

KEY = jax.random.key(0)
BLOCK = fnn.Residual(fnn.Serial(fnn.Dense(4, 4), fnn.ReLU()))
NET = fnn.Serial(up=fnn.Dense(3, 4), blocks=fnn.Repeat(2, BLOCK), down=fnn.Dense(4, 2))
LOSS, PENALTY = fnn.SquaredError(), fnn.L2(0.3)
PARAMS = NET.init(KEY)
X, TARGET = noise(11, 3), noise(11, 2, seed=2)
FUNCTIONS = rules.gradient_norms, rules.update_norms, rules.weight_norms, rules.update_ratios
RULES = (
    rules.dead_units, rules.delta_norms, rules.non_finite, rules.noise_scale, rules.deltas,
)  # fmt: skip
HOW: Any = {"epochs": 2, "batch_size": 3}
CLOSE = {"rtol": 1e-10, "atol": 1e-14}


def watching(*what, every=3, net=NET, loss=LOSS, optimizer=None, **options):
    watch = fnn.Watch(*what, every=every) if what else None
    optimizer = optimizer or fnn.optim.Adam(0.01)
    return fnn.Plan(net, loss, optimizer, watch=watch, **options)


def fit(plan, state=None, data=(X, TARGET), **how):
    return fnn.fit(plan, state or fnn.start(plan, KEY, PARAMS), data, **HOW | how)


FEW: Any = {"net": fnn.Dense(3, 2), "optimizer": fnn.optim.SGD(0.1)}  # fast to compile
ALL = watching(*FUNCTIONS, *RULES, penalty=PENALTY)


@functools.cache
def all_watched():
    return fit(ALL)


def test_norms_are_those_of_what_the_optimizer_gets_and_makes():
    state = fnn.start(ALL, None, PARAMS)

    def objective(params):
        y, _ = NET.forward(params, X)
        return LOSS.forward(y, TARGET)[0].mean() + PENALTY.value(params)

    grads = jax.jit(jax.grad(objective))(PARAMS)
    after, row = fnn.step(ALL, state, (X, TARGET))
    updates = jax.tree.map(jnp.subtract, after.params, PARAMS)

    def together(tree, name):
        arrays = jax.tree.leaves(tree[name])
        axes = tuple(range(name == "blocks", 9))
        return np.sqrt(sum((a**2).sum(axes[: a.ndim - (name == "blocks")]) for a in arrays))

    seen = row["watch"]
    assert seen["step"] == 1
    for name in NET.children:
        expected = [together(tree, name) for tree in (grads, updates, PARAMS)]
        expected.append(expected[1] / expected[2])
        for f, value in zip(FUNCTIONS, expected, strict=True):
            found = seen[f.__name__][name]
            found = found[0] if name == "blocks" else found
            np.testing.assert_allclose(found, value, rtol=1e-8)
    assert seen["gradient_norms"]["blocks"][0].shape == (2,)
    assert seen["gradient_norms"]["blocks"][1] == ()  # a ReLU has no params


def test_rules_see_the_pass_of_the_step_itself():
    _, row = fnn.step(ALL, fnn.start(ALL, None, PARAMS), (X, TARGET))
    asked = rules.backprop, *RULES
    done = jax.jit(fnn.fold)(NET, LOSS, PARAMS, X, TARGET, rule=asked).result[1:]
    for rule, expected in zip(RULES, done, strict=True):
        chex.assert_trees_all_close(row["watch"][repr(rule)], expected, **CLOSE)


def test_watching_changes_no_step():
    blind = watching(penalty=PENALTY)
    (state, history), (same, seen) = fit(blind), all_watched()
    chex.assert_trees_all_close(same.params, state.params, **CLOSE)
    chex.assert_trees_all_close(seen["loss"], history["loss"], **CLOSE)
    assert seen.keys() == {"loss", "watch"}


def test_history_has_every_step_and_nan_where_it_is_not_watched():
    seen = all_watched()[1]["watch"]
    np.testing.assert_array_equal(seen["step"], [[1, 0, 0, 4], [0, 0, 7, 0]])
    there = seen["step"] > 0
    for name in (f.__name__ for f in FUNCTIONS):
        np.testing.assert_array_equal(jnp.isfinite(seen[name]["up"]), there)
    assert seen["weight_norms"]["blocks"][0].shape == (2, 4, 2)
    assert seen["deltas"]["down"].shape == (2, 4, 3, 2)
    assert jnp.isnan(seen["deltas"]["down"][0, 1]).all()


def test_watched_has_the_watched_steps_on_one_axis():
    seen = all_watched()[1]
    found = fnn.watched(seen["watch"])
    np.testing.assert_array_equal(found["step"], [1, 4, 7])
    assert found["weight_norms"]["blocks"][0].shape == (3, 2)
    for i, place in enumerate([(0, 0), (0, 3), (1, 2)]):
        one = jax.tree.map(lambda a, place=place: a[place], seen["watch"])
        chex.assert_trees_all_equal(jax.tree.map(lambda a, i=i: a[i], found), one)
    assert not any(jnp.isnan(a).any() for a in jax.tree.leaves(found))
    with pytest.raises(TypeError, match='^watched: seen must be the entry "watch" of a history'):
        fnn.watched(seen["loss"])


def test_step_epoch_and_fit_with_a_callback_report_the_same():
    plan, rows = watching(rules.update_norms, rules.deltas, **FEW), []
    start = fnn.start(plan, KEY, FEW["net"].init(KEY))
    _, history = fit(plan, start)
    _, same = fit(plan, start, callback=lambda _, row: rows.append(row))
    chex.assert_trees_all_close(same, history, **CLOSE)
    first = jax.tree.map(lambda a: a[0], history["watch"])
    chex.assert_trees_all_close(rows[0]["watch"], first, **CLOSE)
    _, row = fnn.epoch(plan, start, (X, TARGET), batch_size=3)
    chex.assert_trees_all_close(row["watch"], first, **CLOSE)


def test_a_row_has_one_structure_whatever_the_step():
    state, one = fnn.step(ALL, fnn.start(ALL, None, PARAMS), (X, TARGET))
    _, two = fnn.step(ALL, state, (X, TARGET))
    chex.assert_trees_all_equal_shapes_and_dtypes(one, two)
    assert two["watch"]["step"] == 0
    assert all(jnp.isnan(a).all() for n, a in two["watch"]["deltas"].items() if n != "blocks")
    assert fnn.watched(two["watch"])["step"].shape == (0,)
    assert fnn.watched(one["watch"])["step"].shape == (1,)


TRACED = []


def counted(layer, params, grads, updates):
    TRACED.append(layer)
    return ()


@fnn.rule
def traced(layer, params, cache, dy):
    TRACED.append(layer)
    return (), layer.backward(params, cache, dy)[1]


def test_another_interval_compiles_nothing():
    TRACED.clear()
    counts = []
    for every in (1, 2, 5, 100):
        plan = watching(rules.update_norms, counted, traced, every=every, **FEW)
        _, history = fit(plan, fnn.start(plan, None, FEW["net"].init(KEY)))
        assert fnn.watched(history["watch"])["step"].tolist() == list(range(1, 9, every))
        counts.append(len(TRACED))
    assert counts == [counts[0]] * 4
    assert counts[0] > 0


def test_an_interval_that_is_no_number_of_steps_watches_nothing_inside_jit():
    def steps(every):
        plan = watching(rules.gradient_norms, every=every, **FEW)
        _, history = fit(plan, fnn.start(plan, None, FEW["net"].init(KEY)))
        return history["watch"]["step"], history["watch"]["gradient_norms"]

    step, found = jax.jit(jax.vmap(steps))(jnp.array([3, 0, -2]))
    np.testing.assert_array_equal(step[0], [[1, 0, 0, 4], [0, 0, 7, 0]])
    np.testing.assert_array_equal(jnp.isnan(found), step == 0)
    assert (step[1:] == 0).all()


@pytest.mark.slow
def test_runs_are_swept_by_vmap():
    def run(key, rate):
        plan = watching(rules.update_norms, **FEW | {"optimizer": fnn.optim.SGD(rate)})
        return fnn.fit(plan, fnn.start(plan, key), (X, TARGET), **HOW)[1]

    keys, rates = jax.random.split(KEY, 3), jnp.array([0.1, 0.2])
    sweep = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))
    history = sweep(keys, rates)
    one = jax.jit(run)(keys[1], rates[1])
    chex.assert_trees_all_close(jax.tree.map(lambda a: a[1, 1], history), one, **CLOSE)


@fnn.rule(companion=True, learns=True)
def velocity(layer, params, cache, dy, own):
    grads, dx = layer.backward(params, cache, dy)
    v = jax.tree.map(lambda v, g: v / 2 + g, own, grads)
    return (v, v), dx


@pytest.mark.slow
def test_it_stands_beside_rules_of_the_plan_that_learn_or_are_several():
    params = FEW["net"].init(KEY)
    zero = jax.tree.map(jnp.zeros_like, params)
    look = rules.delta_norms, rules.example_slopes.given(params)
    for rule in (velocity.given(zero), (velocity.given(zero), rules.deltas)):
        plans = [watching(*what, rule=rule, every=2, **FEW) for what in (look, ())]
        starts = [fnn.start(plan, KEY, params) for plan in plans]
        (state, history), (expected, blind) = map(fit, plans, starts)
        seen = fnn.watched(history.pop("watch"))
        assert seen["step"].tolist() == [1, 3, 5, 7]
        assert seen["example_slopes"].shape == (4, 3)
        found, wanted = (
            (s.params, s.companion, h) for s, h in ((state, history), (expected, blind))
        )
        chex.assert_trees_all_close(found, wanted, **CLOSE)


@dataclass(frozen=True)
class Alone(fnn.Record):
    """A learning rule that is no fold."""

    def run(self, net, loss, params, x, target, *, key, weights, penalty):
        return fnn.fold(net, loss, params, x, target, key=key, weights=weights, penalty=penalty)


def test_functions_look_at_a_learning_rule_that_is_no_fold():
    plans = [watching(rules.update_ratios, rule=rule, **FEW) for rule in (Alone(), rules.backprop)]
    starts = [fnn.start(plan, KEY) for plan in plans]
    found, expected = (fnn.step(p, s, (X, TARGET))[1] for p, s in zip(plans, starts, strict=True))
    chex.assert_trees_all_close(found, expected, **CLOSE)
    message = (
        "^Plan: deltas of watch join the pass of a Rule, and Alone runs by itself; watch functio"
    )
    with pytest.raises(TypeError, match=message):
        watching(rules.update_ratios, rules.deltas, rule=Alone())
    exact = FEW | {"optimizer": fnn.optim.KFAC(0.1, 1e-3, kind="exact")}
    message = "^Plan: deltas of watch join the pass of a Rule, and the rule of KFAC runs by itself"
    with pytest.raises(TypeError, match=message):
        watching(rules.deltas, **exact)


def test_what_is_not_finite_is_shown_as_it_is():
    broken = PARAMS | {"down": PARAMS["down"]._replace(b=jnp.array([jnp.nan, 0]))}
    _, row = fnn.step(ALL, fnn.start(ALL, None, broken), (X, TARGET))
    seen = row["watch"]
    assert jnp.isnan(seen["gradient_norms"]["up"])
    assert jnp.isfinite(seen["weight_norms"]["up"])
    assert rules.first_non_finite(NET, seen["non_finite"]) == (0, "params", "down", ())


def test_a_watch_is_a_value():
    one, same = (watching(rules.update_norms, rules.deltas, every=7) for _ in range(2))
    assert one == same
    assert pickle.loads(pickle.dumps(one)) == one
    assert repr(one.watch) == "Watch(update_norms, deltas, every=7)"
    assert jax.tree.leaves(one.watch) == [7]
    named = fnn.Watch(rules.deltas, largest=lambda layer, p, g, u: jax.tree.map(jnp.max, g))
    assert named.names == ("deltas", "largest")
    assert named.functions == ("largest",)


def test_trees_of_several_dtypes_are_packed_and_come_back():
    tree = {"a": jnp.arange(6.0).reshape(2, 3), "b": (jnp.array(True), jnp.arange(4)), "c": ()}
    tree["d"] = jnp.ones((0, 2)), jnp.array(2.0, jnp.bfloat16), jnp.float32(7)
    chex.assert_trees_all_equal(unpacked(packed(tree)), tree)
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), packed(tree))
    expected = jax.tree.map(lambda a: jnp.stack([a, a]), tree)
    chex.assert_trees_all_equal(unpacked(stacked), expected)


WRONG = {
    "nothing": (fnn.Watch, ValueError, "^Watch: give at least one rule or function"),
    "0": (lambda: watching(rules.deltas, every=0), ValueError, "^Watch: every must be in"),
    "-1": (lambda: watching(rules.deltas, every=-1), ValueError, "^Watch: every must be in"),
    "2.5": (lambda: watching(rules.deltas, every=2.5), TypeError, "every must be a whole number"),
    "a text": (lambda: fnn.Watch("deltas"), TypeError, "^Watch: give rules, or functions"),
    "a list": (lambda: fnn.Watch([rules.deltas]), TypeError, "one by one, got "),
    "a class": (lambda: fnn.Watch(fnn.Tanh), TypeError, r"build it: Tanh\(\.\.\.\)"),
    "unbuilt": (lambda: fnn.Watch(rules.kfac), TypeError, r"got kfac\(sharing.*kfac\(\.\.\.\)"),
    "no name": (lambda: fnn.Watch(lambda *a: a), TypeError, "^Watch: .* has no name; give it one"),
    "one name": (lambda: fnn.Watch(rules.deltas, rules.deltas), ValueError, "'deltas' stands t"),
    "step": (lambda: fnn.Watch(step=rules.deltas), ValueError, "^Watch: 'step' is the number"),
    "no companion": (lambda: fnn.Watch(velocity), TypeError, "^Watch: velocity needs its comp"),
    "learns": (lambda: fnn.Watch(velocity.given(PARAMS)), TypeError, "velocity learns in every"),
    "bare": (
        lambda: fnn.Plan(NET, LOSS, fnn.optim.SGD(0.1), watch=rules.deltas),
        TypeError,
        "^Plan: watch must be a Watch, got deltas; write fnn.Watch",
    ),
    "metric": (lambda: watching(metrics={"watch": fnn.accuracy}), ValueError, "'watch' stands"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_watch_names_what_is_wrong(case):
    build, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        build()


def language(around):
    """A tied language model of two blocks, with a mask, in something around the blocks."""
    block = fnn.Residual(fnn.Serial(fnn.LayerNorm(4), fnn.LSTM(4, 4), fnn.Sigmoid()))
    net = fnn.Serial(
        embed=fnn.Embedding(5, 4), blocks=fnn.Repeat(2, around(block)), head=fnn.Unembed(4, 5)
    )
    return fnn.Tied(net, head="embed")


@pytest.mark.slow
@pytest.mark.parametrize("around", [fnn.Recompute, lambda f: fnn.Cast(f, "float64"), fnn.Frozen])
def test_it_goes_through_ties_sequences_and_wrappers(around):
    net, tokens = language(around), jnp.arange(24).reshape(4, 6) % 5
    x = fnn.Sequence(tokens, jnp.arange(6) < jnp.array([6, 3, 1, 5])[:, None])
    plan = watching(
        *FUNCTIONS, rules.delta_norms, rules.saturation, rules.non_finite, rules.example_norms,
        net=net, loss=fnn.LinearSoftmaxCrossEntropy(), every=2,
    )  # fmt: skip
    blind = plan.with_fields(watch=None)
    params = net.init(KEY)
    how = {"epochs": 2, "batch_size": 2}
    state, history = fit(plan, fnn.start(plan, KEY, params), (x, tokens), **how)
    expected, _ = fit(blind, fnn.start(blind, KEY, params), (x, tokens), **how)
    chex.assert_trees_all_close(state.params, expected.params, **CLOSE)
    seen = fnn.watched(history["watch"])
    assert seen["step"].tolist() == [1, 3]
    assert rules.first_non_finite(net, seen["non_finite"]) is None
    assert seen["gradient_norms"]["blocks"][0].shape == (2, 2)
    assert seen["delta_norms"]["head"].shape == seen["delta_norms"]["embed"].shape == (2,)
    assert all(jnp.isfinite(a).all() for a in jax.tree.leaves(seen))


def test_rules_look_at_a_pass_that_steps_on_the_way_back():
    clipped = fnn.optim.Chain(fnn.optim.ClipByNorm(0.01), fnn.optim.Adam(0.01))
    how = FEW | {"optimizer": clipped, "rule": (rules.backprop, rules.deltas)}
    look, params = (rules.delta_norms, rules.example_norms), FEW["net"].init(KEY)
    plans = [watching(*look, in_backward=inside, **how) for inside in (True, False)]
    starts = [fnn.start(plan, KEY, params) for plan in plans]
    (state, history), (expected, wanted) = map(fit, plans, starts)
    chex.assert_trees_all_close(state.params, expected.params, rtol=1e-8, atol=1e-12)
    chex.assert_trees_all_close(history, wanted, rtol=1e-8, atol=1e-12)
    assert history.keys() == {"loss", "deltas", "watch"}
    message = "^Plan: update_norms of watch want gradients and updates, which a pass that steps on"
    with pytest.raises(TypeError, match=message):
        watching(rules.update_norms, in_backward=True)
