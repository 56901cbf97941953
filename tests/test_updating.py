"""Tests of fnn.updating: steps inside the backward pass are those behind it."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from contract import noise, some
from optimizers import EVERY
from training import KEY, LOSS, NET, PARAMS, RUNS, TARGET, TRAINING, X, plan, value_and_grad

import fnn
from fnn.optim.optimizer import Optimizer
from fnn.rules import backprop, deltas, example_norms, running_averages
from fnn.updating import parted

CLOSE = {"rtol": 1e-11, "atol": 1e-12}
optim = fnn.optim
ALONE = [n for n, made in EVERY.items() if not parted(made(0.1))[1].whole()]
LEARNS = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4), fnn.Dense(4, 2))
CLIPPED = optim.Chain(optim.ClipByNorm(0.02), optim.Adam(0.05, eps=1e-2))


@dataclass(frozen=True)
class Mirrored(fnn.Composite):
    """y = f(x) wᵀ, w that of f: a backward of its own, which adds up both uses."""

    f: fnn.Dense

    def forward(self, params, x, *, key=None):
        p = self.parts(params)["f"]
        z, cache = self.f.forward(p, x)
        return z @ p.w.T, (cache, z)

    def backward_with(self, rule, params, cache, dy):
        raise AssertionError  # of the two uses no rule knows

    def backward(self, params, cache, dy):
        p, (first, z) = self.parts(params)["f"], cache
        grads, dx = self.f.backward(p, first, dy @ p.w)
        return self.joined({"f": grads._replace(w=grads.w + dy.T @ z)}), dx


MIRROR = fnn.Tied(fnn.Serial(a=fnn.Dense(3, 2), b=fnn.Dense(2, 3, bias=False)), b="a")
inner = fnn.Residual(fnn.Serial(fnn.RMSNorm(4), fnn.Dense(4, 5), fnn.Tanh(), fnn.Dense(5, 4)))
NETS = {  # net, and whether x is a Sequence
    "repeat": fnn.Serial(fnn.Dense(3, 4), fnn.Repeat(3, fnn.Recompute(inner)), fnn.Dense(4, 2)),
    "repeat in repeat": fnn.Serial(
        fnn.Repeat(2, fnn.Recompute(fnn.Repeat(3, fnn.Serial(fnn.Dense(3, 3), fnn.Tanh())))),
        fnn.Dense(3, 2),
    ),
    "cast": fnn.Cast(
        fnn.Serial(fnn.Repeat(2, fnn.Cast(fnn.Dense(3, 3), "float64")), fnn.Dense(3, 2)), "float64"
    ),
    "frozen": fnn.Serial(
        fnn.Frozen(fnn.Dense(3, 4)),
        fnn.Repeat(2, fnn.Frozen(fnn.Dense(4, 4))),
        fnn.BatchNorm(4),
        fnn.WeightNorm(fnn.Dense(4, 2)),
    ),
    "tied": fnn.Serial(
        fnn.Repeat(2, MIRROR),
        MIRROR,
        fnn.Dense(3, 2),
    ),
    "own backward": fnn.Serial(Mirrored(fnn.Dense(3, 4)), fnn.Repeat(2, Mirrored(fnn.Dense(3, 2))),
                               fnn.Dense(3, 2)),
    "sequence": fnn.Serial(
        fnn.Repeat(2, fnn.Bidirectional(fnn.RNN(4, 3), fnn.LSTM(4, 1))),
        fnn.Last(),
        fnn.Dense(4, 2),
    ),
}  # fmt: skip


def trained(net, optimizer, data, *, inside, **options):
    """Params, what rules learned and the history of two epochs."""
    made = fnn.Plan(net, LOSS, optimizer, in_backward=inside, **options)
    state, history = fnn.fit(made, fnn.start(made, KEY), data, epochs=2, batch_size=4)
    return state.params, state.companion, history


def check_same(net, optimizer, data, **options):
    """The same, inside as behind, and not what training began with."""
    one, two = (trained(net, optimizer, data, inside=i, **options) for i in (True, False))
    chex.assert_trees_all_close(one, two, **CLOSE)
    return one


def data_of(name):
    x, target = X, TARGET
    if name == "sequence":
        mask = jnp.arange(5) < (jnp.arange(11) % 5)[:, None] + 1
        x = fnn.Sequence(jnp.where(mask[..., None], noise(11, 5, 4), jnp.nan), mask)
    return x, target, jnp.arange(11.0) % 3


def everything(net):
    weights = lambda path: path[0] in "01" and path.endswith(("w", "wx"))  # noqa: E731
    decaying = optim.Scheduled(optim.AdamW(eps=1e-2, select=weights), optim.CosineDecay(0.05, 5))
    return {
        "optimizer": optim.Chain(optim.ClipByNorm(0.05), decaying),
        "penalty": (fnn.L2(0.1, select=weights), fnn.L1(0.01, select=weights)),
    }


@pytest.mark.parametrize(
    "name",
    ["repeat", *some([n for n in NETS if n != "repeat"], 2)],
)
def test_steps_inside_are_those_behind_in_every_net(name):
    options = everything(NETS[name])
    check_same(NETS[name], data=data_of(name), **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_every_optimizer_steps_inside_as_behind(name):
    net = NETS["repeat"]
    check_same(net, EVERY[name](0.05), (X, TARGET), penalty=fnn.L2(0.1))


@pytest.mark.parametrize(
    "optimizer", [CLIPPED, pytest.param(optim.Momentum(0.05), marks=pytest.mark.slow)], ids=str
)
def test_rules_beside_report_and_learn(optimizer):
    beside = backprop, deltas, signs, running_averages(LEARNS)
    _, averages, history = check_same(LEARNS, optimizer, (X, TARGET), rule=beside)
    assert "deltas" in history
    assert averages[3] is not None


def test_masters_are_moved_not_their_rounded_copies():
    net = fnn.Cast(fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dense(4, 2)), "bfloat16")
    params = net.init(KEY)
    made = [plan(optim.SGD(1e-5), net, penalty=fnn.L2(0.1), in_backward=i) for i in (True, False)]
    one, two = (fnn.step(p, fnn.start(p, None, params), (X, TARGET))[0].params for p in made)
    moved = jax.tree.map(jnp.subtract, two, params)
    chex.assert_trees_all_close(jax.tree.map(jnp.subtract, one, params), moved, rtol=1e-6)
    assert all(abs(m).max() > 0 for m in jax.tree.leaves(moved))


BAD = X.at[2, 1].set(jnp.inf), TARGET  # HardTanh of it is 1, of which the loss is finite
BY_INF = fnn.Serial(fnn.Dense(3, 4), fnn.HardTanh(), fnn.Dense(4, 2))


def kept(made, state, data):
    """Whether a step changes nothing but its count, and its loss."""
    new, row = fnn.step(made, state, data)
    kept = state._replace(step=new.step, key=new.key), new
    chex.assert_trees_all_equal(*map(jax.tree.leaves, kept))
    return row["loss"]


@pytest.mark.parametrize("optimizer", [optim.Adam(0.05), CLIPPED], ids=["Adam", "Chain"])
def test_a_loss_that_is_not_finite_moves_nothing(optimizer):
    options = {"rule": (backprop, running_averages(LEARNS)), "penalty": fnn.L2(0.1)}
    made = plan(optimizer, LEARNS, in_backward=True, **options)
    state, _ = fnn.step(made, fnn.start(made, KEY), (X, TARGET))
    assert jnp.isnan(kept(made, state, (X.at[2, 1].set(jnp.nan), TARGET)))
    behind = plan(optimizer, LEARNS, **options)
    state, _ = fnn.step(behind, fnn.start(behind, KEY), (X * jnp.nan, TARGET))
    assert all(jnp.isnan(p).all() for p in jax.tree.leaves(state.params))


def test_a_gradient_that_is_not_finite_is_seen_where_it_is_clipped():
    rule = backprop, running_averages(BY_INF)
    made = plan(CLIPPED, BY_INF, in_backward=True, rule=rule)
    state = fnn.start(made, KEY)
    assert jnp.isnan(kept(made, state, BAD))
    alone = plan(optim.SGD(0.1), BY_INF, in_backward=True)
    state, row = fnn.step(alone, fnn.start(alone, KEY), BAD)
    assert jnp.isfinite(row["loss"])
    assert jnp.isnan(state.params[0].w).any()


@pytest.mark.parametrize("run", ["step", pytest.param("fit", marks=pytest.mark.slow)])
def test_other_numbers_compile_nothing_and_are_swept(run):
    traced = []

    def counted(y, target):
        traced.append(run)
        return y[..., 0]

    def trained(c, rate):
        inner = optim.Scheduled(optim.Adam(eps=1e-2), optim.StepDecay(rate, 0.5, 2))
        made = plan(
            optim.Chain(optim.ClipByNorm(c), inner),
            penalty=fnn.L2(rate),
            metrics={"counted": counted},
            in_backward=True,
        )
        return RUNS[run](made, fnn.start(made, KEY, PARAMS), (X, TARGET)).params

    numbers = [(0.1, 0.2), (0.3, 0.4)]
    one, two = (trained(c, rate) for c, rate in numbers)
    assert len(traced) == 1
    swept = jax.vmap(trained)(*jnp.array(numbers).T)
    chex.assert_trees_all_close(swept, jax.tree.map(lambda *a: jnp.stack(a), one, two), **CLOSE)
    assert not np.allclose(one[0].w, two[0].w)


@dataclass(frozen=True)
class Polyak(Optimizer):
    """update = −L g: a rate that is the loss itself."""

    elementwise = True

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(lambda g: -value * g, grads), state


def test_the_loss_with_its_penalty_reaches_an_optimizer_that_asks_for_it():
    made = plan(Polyak(), penalty=fnn.L2(0.1), in_backward=True)
    loss, grads = value_and_grad(NET, LOSS, PARAMS, X, TARGET, penalty=fnn.L2(0.1))
    state, _ = fnn.step(made, fnn.start(made, None, PARAMS), (X, TARGET))
    expected = jax.tree.map(lambda p, g: p - loss * g, PARAMS, grads)
    chex.assert_trees_all_close(state.params, expected, rtol=1e-10)


def test_a_state_goes_in_and_comes_out():
    net = fnn.Serial(fnn.RNN(3, 4), fnn.Dense(4, 2))
    x, target = fnn.Sequence(noise(2, 5, 3), state=((noise(2, 4),), ())), jnp.ones((2, 5), int)
    made = [plan(optim.SGD(0.1), net, in_backward=i) for i in (True, False)]
    one, two = (fnn.step(p, fnn.start(p, KEY), (x, target)) for p in made)
    chex.assert_trees_all_close((one[0].params, one[1]), (two[0].params, two[1]), **CLOSE)
    assert "state" in one[1]


@pytest.mark.slow
def test_norms_of_examples_beside():
    check_same(NET, CLIPPED, (X, TARGET), rule=(backprop, example_norms))


def test_each_layer_has_an_optimizer_state_of_its_own():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Frozen(fnn.Dense(4, 4)), fnn.Repeat(2, fnn.Dense(4, 4)))
    made = fnn.Plan(net, LOSS, CLIPPED, in_backward=True)
    first, frozen, repeated = fnn.start(made, KEY).optimizer_state
    assert first.step.shape == ()
    assert not jax.tree.leaves(frozen)
    assert repeated.step.shape == (2,)


@dataclass(frozen=True)
class Lamb(optim.Adam):
    """An update that looks at a whole array."""

    def update(self, grads, state, params=None, *, value=None):
        updates, state = super().update(grads, state)
        return jax.tree.map(lambda u: u / jnp.linalg.norm(u), updates), state


@fnn.rule
def signs(layer, params, cache, dy):
    grads, dx = layer.backward(params, cache, dy)
    return jax.tree.map(lambda g: jnp.tanh(g / 0.01), grads), dx  # of rounding about 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": optax.adam(0.1)}, "Foreign may see more than one entry at a time"),
        ({"optimizer": optax.MultiSteps(optax.sgd(0.1), 4)}, "Foreign may see more"),
        ({"optimizer": Lamb(0.1)}, "Lamb may see more than one"),
        ({"optimizer": optim.KFAC(0.1, 1e-3)}, "KFAC may see more than one"),
        ({"optimizer": optim.Proximal(Lamb(0.1), fnn.L1(0.1))}, "Lamb may see more than one"),
        (
            {"optimizer": optim.Chain(optim.SGD(0.1), optim.ClipByNorm(1.0))},
            r"ClipByNorm may see .* or write Chain\(ClipByNorm\(1.0\), Adam\(\)\)\.",
        ),
        ({"optimizer": optim.ClipByNorm(1.0)}, "ClipByNorm may see more"),
        ({"rule": signs}, "along gradients of backprop, .* got signs; leave in_backward out"),
        ({"rule": (signs, backprop)}, "the first of several, got signs"),
        ({"rule": fnn.Clipping(1.0)}, r"got Clipping\(max_norm=1.0"),
        ({"in_backward": 2}, "in_backward must be True or False, got 2"),
    ],
)
def test_what_cannot_step_layer_by_layer_is_refused_by_name(options, message):
    with pytest.raises(TypeError, match=f"^Plan: .*{message}") as raised:
        plan(**{"in_backward": True, **options})
    assert len(str(raised.value)) <= 400


def test_a_state_of_the_other_kind_is_refused():
    inside, behind = (plan(in_backward=i) for i in (True, False))
    for made, other in ((inside, behind), (behind, inside)):
        with pytest.raises(ValueError, match=r"not made for Adam: its optimizer_state is"):
            fnn.step(made, fnn.start(other, KEY, PARAMS), (X, TARGET))


def test_what_clips_is_told_from_what_steps():
    clip, adam, sgd = optim.ClipByNorm(1.0), optim.Adam(), optim.SGD(0.1)
    assert parted(adam) == (None, adam)
    assert parted(optim.Chain(clip, adam)) == (clip, adam)
    assert parted(optim.Chain(clip, adam, sgd)) == (clip, optim.Chain(adam, sgd))
    assert parted(optim.Chain(adam, clip)) == (None, optim.Chain(adam, clip))


@pytest.mark.slow
@pytest.mark.parametrize("run", TRAINING)
def test_every_run_steps_inside(run):
    states = []
    for inside in (True, False):
        made = plan(optim.Adam(0.05, eps=1e-2), in_backward=inside)
        states.append(RUNS[run](made, fnn.start(made, KEY, PARAMS), (X, TARGET)))
    chex.assert_trees_all_close(*(s.params for s in states), **CLOSE)
