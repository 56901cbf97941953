"""What layers, rules, composites, losses and inputs of one's own may be, and are told."""

from dataclasses import dataclass

import chex
import jax
import jax.numpy as jnp
import pytest
from contract import MASK, Look, noise

import fnn
from fnn.sequence import Sequence

KEY = jax.random.key(0)
NET = fnn.Dense(3, 4)
PARAMS = NET.init(KEY)
X, TARGET = noise(2, 3), noise(2, 4, seed=2)  # two rows: an array of them unpacks like a pair
LOSS = fnn.SquaredError()


@dataclass(frozen=True)
class Forgets(fnn.Layer):
    """A layer that returns one value where two are due."""

    what: str

    def forward(self, params, x, *, key=None):
        return -x if self.what == "forward" else (-x, ())

    def backward(self, params, cache, dy):
        return -dy


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("forward", r"forward must return the tuple \(y, cache\), got \w+\."),
        ("backward", r"backward must return the tuple \(grads, dx\), got \w+\."),
    ],
)
def test_a_layer_returns_two_values(what, message):
    net = fnn.Serial(NET, Forgets(what))
    with pytest.raises(TypeError, match=rf"^layer 1, Forgets\(what='{what}'\): {message}"):
        fnn.value_and_grad(net, LOSS, (PARAMS, ()), X, TARGET)


@fnn.rule
def forgets(layer, params, cache, dy):
    return layer.backward(params, cache, dy)[0]


@fnn.rule(companion=True, learns=True)
def forgets_what_it_learns(layer, params, cache, dy, own):
    return layer.backward(params, cache, dy)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (forgets, r"forgets at Dense\(n_in=3, n_out=4\) must return the tuple \(result, dx\)"),
        (forgets_what_it_learns.given(PARAMS), "must return the tuple .*next companion"),
        ([fnn.rules.backprop, forgets], "fold: several rules are a tuple, got a list"),
    ],
)
def test_a_rule_returns_two_values(rule, message):
    with pytest.raises(TypeError, match=message):
        fnn.fold(NET, LOSS, PARAMS, X, TARGET, rule=rule)


def test_a_rule_that_learns_has_a_companion():
    with pytest.raises(TypeError, match=r"^forgets: .* @fnn.rule\(companion=True, learns=True\)"):
        fnn.rule(forgets.formula, learns=True)


def test_a_composite_knows_all_layers_that_it_holds():
    @dataclass(frozen=True)
    class Branches(fnn.Composite):
        branches: tuple

        def forward(self, params, x, *, key=None):
            raise NotImplementedError

        def backward_with(self, rule, params, cache, dy):
            raise NotImplementedError

    with pytest.raises(TypeError, match=r"^Branches: Tanh\(\) is no child: .* `children`"):
        Branches((fnn.Tanh(), fnn.Dropout(0.5)))


def test_the_word_for_sequences_is_one_of_three():
    with pytest.raises(TypeError, match="Typo: sequences must be .* got 'position'"):

        class Typo(fnn.Layer):
            sequences = "position"


@dataclass(frozen=True)
class Scaled(fnn.Layer):
    """y = a s: an array and one number for all rows."""

    def forward(self, params, x, *, key=None):
        return x[0] * x[1], x

    def backward(self, params, cache, dy):
        a, s = cache
        return (), (dy * s, (dy * a).sum())


@pytest.mark.parametrize("rule", [fnn.rules.backprop, fnn.rules.deltas])
def test_a_number_beside_the_rows_is_an_input(rule):
    x, s, weights = noise(5, 3), jnp.asarray(2.0), jnp.arange(5.0)
    done = fnn.fold(Scaled(), LOSS, (), (x, s), x, rule=rule, weights=weights)

    def mean(x, s):
        return (weights * ((x * s - noise(5, 3)) ** 2).sum(-1)).sum() / weights.sum()

    chex.assert_trees_all_close(done.dx, jax.grad(mean, (0, 1))(x, s), rtol=1e-10)
    with pytest.raises(NotImplementedError, match=r"^Scaled\(\): .* without the batch first"):
        fnn.fold(Scaled(), LOSS, (), (x, s), x, rule=fnn.rules.example_norms)


@jax.tree_util.register_dataclass
@dataclass
class Pair:
    """An input of a class of one's own."""

    a: jax.Array
    b: jax.Array


@dataclass(frozen=True)
class Product(fnn.Layer):
    """y = a b."""

    def forward(self, params, x, *, key=None):
        return x.a * x.b, x

    def backward(self, params, cache, dy):
        return (), Pair(dy * cache.b, dy * cache.a)


def test_a_class_of_ones_own_is_an_input():
    a, b = noise(5, 3), noise(5, 3, seed=2)
    done = fnn.fold(Product(), LOSS, (), Pair(a, b), a, weights=jnp.arange(5.0))
    assert isinstance(done.dx, Pair)
    plan = fnn.Plan(Product(), LOSS, fnn.optim.SGD(0.1))
    state, row = fnn.step(plan, fnn.start(plan, KEY), (Pair(a, b), a))
    assert float(row["loss"]) == pytest.approx(float(((a * b - a) ** 2).sum(-1).mean()))
    assert state.step == 1


@dataclass(frozen=True)
class Quartic(fnn.Loss):
    """(y − t)⁴."""

    def check(self, y, target):
        pass

    def forward(self, y, target):
        return ((y - target) ** 4).sum(-1), y - target

    def backward(self, cache, dl):
        return 4 * cache**3 * dl[..., None]


@pytest.mark.parametrize("junk", [jnp.nan, jnp.inf])
def test_a_loss_of_ones_own_never_meets_the_target_of_a_row_of_weight_zero(junk):
    weights = jnp.array([1.0, 0.0])
    found = fnn.value_and_grad(NET, Quartic(), PARAMS, X, TARGET.at[1].set(junk), weights=weights)
    want = fnn.value_and_grad(NET, Quartic(), PARAMS, X[:1], TARGET[:1])
    chex.assert_trees_all_close(found, want, rtol=1e-12)


def test_a_label_that_cannot_be_may_stand_in_a_row_of_weight_zero():
    labels, weights, loss = jnp.array([1, -7]), jnp.array([1.0, 0.0]), fnn.SoftmaxCrossEntropy()
    found = fnn.value_and_grad(NET, loss, PARAMS, X, labels, weights=weights)
    want = fnn.value_and_grad(NET, loss, PARAMS, X[:1], labels[:1])
    chex.assert_trees_all_close(found, want, rtol=1e-12)
    plan = fnn.Plan(NET, loss, fnn.optim.SGD(0.1), metrics={"accuracy": fnn.accuracy})
    start = fnn.start(plan, None, PARAMS)
    rows = X.at[1].set(jnp.nan), labels, weights
    state, _ = fnn.fit(plan, start, rows, epochs=1, batch_size=2)
    alone, _ = fnn.step(plan, start, (X[:1], labels[:1]))
    chex.assert_trees_all_close(state.params, alone.params, rtol=1e-12)
    with pytest.raises(ValueError, match="target must hold labels"):
        fnn.fit(plan, start, (X, labels), epochs=1, batch_size=2)


def test_a_rule_that_watches_joins_a_state_that_runs():
    plan = fnn.Plan(NET, LOSS, fnn.optim.Adam(0.1))
    state, _ = fnn.step(plan, fnn.start(plan, KEY), (X, TARGET))
    watching = plan.with_fields(rule=(fnn.rules.backprop, fnn.rules.example_norms))
    seen, row = fnn.step(watching, state, (X, TARGET))
    chex.assert_trees_all_equal(seen, fnn.step(plan, state, (X, TARGET))[0])
    assert row["example_norms"].shape == (2,)


def test_copies_hold_the_memory_once():
    net, x = fnn.Repeat(3, fnn.Recompute(Look())), Sequence(noise(2, 5, 3), MASK, None, noise(2, 3))
    _, cache = net.forward((), x)
    shapes = [a.shape for a in jax.tree.leaves(cache)]
    assert (2, 3) in shapes
    assert (3, 2, 3) not in shapes


def test_names_that_moved_are_found():
    assert "check" in dir(fnn)
    with pytest.raises(AttributeError, match="no attribute 'Adam'; it is fnn.optim.Adam"):
        _ = fnn.Adam


def test_what_is_left_out_first_takes_the_target_of_a_later_row():
    labels, weights, loss = jnp.array([-7, 1]), jnp.array([0.0, 1.0]), fnn.SoftmaxCrossEntropy()
    found = fnn.value_and_grad(NET, loss, PARAMS, X, labels, weights=weights)
    want = fnn.value_and_grad(NET, loss, PARAMS, X[1:], labels[1:])
    chex.assert_trees_all_close(found, want, rtol=1e-12)
