"""Tests of fnn.evaluation."""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import pytest

import fnn
from fnn.composite import Back, Forth, Wrapper
from fnn.evaluation import calibrated, evaluation_form
from fnn.sequence import lift

KEY = jax.random.key(0)
X = jax.random.normal(jax.random.key(1), (5, 3))


def test_inverted_dropout_becomes_the_identity_and_standard_dropout_a_scale():
    assert evaluation_form(fnn.Dropout(0.25), ()) == (fnn.Identity(), ())
    assert evaluation_form(fnn.Dropout(0.25, inverted=False), ()) == (fnn.Scale(0.75), ())


def test_factored_logits_become_logits():
    net = fnn.Serial(fnn.Dense(3, 4), fnn.Unembed(4, 5))
    params = net.init(KEY)
    y, _ = net.forward(params, X)
    evaluated, dense = fnn.inference(net, params)
    assert evaluated == fnn.Serial(fnn.Dense(3, 4), fnn.Dense(4, 5, bias=False))
    chex.assert_trees_all_close(evaluated.forward(dense, X)[0], y.h @ y.w, rtol=1e-12)


def test_the_evaluation_net_is_the_net_without_dropout_and_needs_no_key():
    net = fnn.Serial(
        fnn.Dense(3, 3),
        fnn.Repeat(2, fnn.Recompute(fnn.Residual(fnn.Dropout(0.5)))),
        fnn.Tanh(),
    )
    params = net.init(KEY)
    evaluated, same = fnn.inference(net, params)
    chex.assert_trees_all_equal(same, params)
    y, _ = evaluated.forward(same, X)
    chex.assert_trees_all_close(y, jnp.tanh(4 * (X @ params[0].w)), rtol=1e-12)
    assert fnn.inference(evaluated, same)[0] == evaluated


def test_a_net_without_such_layers_stays_as_it_is():
    net = fnn.mlp([3, 4, 2])
    assert fnn.inference(net, net.init(KEY))[0] == net


@dataclass(frozen=True)
class Centred(fnn.Layer[Any, Any]):
    """y = x − mean over the batch + b; at test time the mean is that of a calibration batch."""

    mixes_examples = True

    def init(self, key):
        return {"b": jnp.zeros(3)}

    def forward(self, params, x, *, key=None):
        return x - x.mean(0) + params["b"], x

    def backward(self, params, cache, dy):
        return {"b": dy.sum(0)}, dy - dy.mean(0)


@dataclass(frozen=True)
class Shift(fnn.Layer[Any, Any]):
    """y = x + b."""

    def init(self, key):
        return {"b": jnp.zeros(3)}

    def forward(self, params, x, *, key=None):
        return x + params["b"], ()

    def backward(self, params, cache, dy):
        return {"b": dy.sum(0)}, dy


@calibrated.register(Centred)
def _(layer, params, cache, dy):
    _, dx = layer.backward(params, cache, dy)
    return (Shift(), {"b": params["b"] - cache.mean(0)}), dx


@pytest.mark.parametrize("jit", [False, True])
def test_a_calibration_batch_fixes_what_mixes_examples(jit):
    block = fnn.Serial(Centred(), fnn.Dense(3, 3))
    net = fnn.Serial(fnn.Dense(3, 3), fnn.Repeat(2, fnn.Recompute(block)), fnn.Dropout(0.5))
    params = net.init(KEY)

    def evaluated(params, x):
        frozen, frozen_params = fnn.inference(net, params, x)
        return frozen.forward(frozen_params, x)[0], frozen.forward(frozen_params, x[:1])[0]

    whole, first = (jax.jit(evaluated) if jit else evaluated)(params, X)
    undropped = net.with_children({**net.children, 2: fnn.Identity()})
    expected, _ = undropped.forward(params, X)
    chex.assert_trees_all_close(whole, expected, rtol=1e-10, atol=1e-12)
    chex.assert_trees_all_close(first, expected[:1], rtol=1e-10, atol=1e-12)


def test_a_layer_that_mixes_examples_needs_data():
    net = fnn.Serial(fnn.Dense(3, 3), Centred())
    with pytest.raises(
        ValueError, match="inference: .* mixes examples; give a calibration batch x"
    ):
        fnn.inference(net, net.init(KEY))


def test_a_layer_without_a_registered_form_is_named():
    @dataclass(frozen=True)
    class Stranger(fnn.Identity):
        mixes_examples = True

    net = fnn.Serial(fnn.Dense(3, 3), Stranger())
    with pytest.raises(NotImplementedError, match=r"^layer 1, .*Stranger\(\): no test-time form"):
        fnn.inference(net, net.init(KEY), X)
    named = fnn.Serial(up=fnn.Dense(3, 3), rest=fnn.Serial(fnn.Tanh(), fnn.Residual(Stranger())))
    with pytest.raises(NotImplementedError, match=r"^layer rest\.1, .*Stranger\(\): no test-time"):
        fnn.inference(named, named.init(KEY), X)


@dataclass(frozen=True)
class Halved(Wrapper[Any]):
    """A wrapper of one's own: y = f(x) / 2."""

    def forward(self, params, x, *, key=None):
        f = Forth(self, params, x, key)
        y, cache = f("inner", x)
        return f.end(lift(lambda a: a / 2, y)), cache

    def backward_with(self, rule, params, cache, dy):
        f = Back(self, rule, params, dy)
        return f.end(f("inner", cache, lift(lambda d: d / 2, dy)))


@dataclass(frozen=True)
class Gate(fnn.Composite[Any]):
    """A composite of one's own: y = a(x) b(x), and what it is made of is not in its fields."""

    n: int

    @property
    def children(self):
        drop = fnn.Serial(fnn.Dense(self.n, self.n), fnn.Dropout(0.5))
        return {"value": fnn.Dense(self.n, self.n), "gate": drop} | dict(self.replaced)

    replaced: tuple[Any, ...] = ()

    def with_children(self, children):
        return Gate(self.n, tuple(children.items()))

    def forward(self, params, x, *, key=None):
        f = Forth(self, params, x, key)
        (a, ca), (b, cb) = f("value", x), f("gate", x)
        return f.end(lift(jnp.multiply, a, b)), (a, b, ca, cb)

    def backward_with(self, rule, params, cache, dy):
        f, (a, b, ca, cb) = Back(self, rule, params, dy), cache
        da, db = f("value", ca, lift(jnp.multiply, dy, b)), f("gate", cb, lift(jnp.multiply, dy, a))
        return f.end(lift(jnp.add, da, db))


def test_composites_of_ones_own_are_followed():
    net = fnn.Serial(
        gate=Gate(3), head=Halved(fnn.Serial(fnn.Dropout(0.5), Centred(), fnn.Dense(3, 5)))
    )
    params = net.init(KEY)
    evaluated, frozen = fnn.inference(net, params, X)
    y, _ = evaluated.forward(frozen, X)
    value, gate, head = params["gate"]["value"], params["gate"]["gate"][0], params["head"][2]
    a = (X @ value.w) * (X @ gate.w)
    chex.assert_trees_all_close(y, (a - a.mean(0)) @ head.w / 2, rtol=1e-10, atol=1e-12)
    one, _ = evaluated.forward(frozen, X[:1])
    chex.assert_trees_all_close(one, y[:1], rtol=1e-10, atol=1e-12)


def test_factored_logits_in_a_wrapper_of_ones_own_become_logits():
    net = Halved(fnn.Serial(fnn.Dropout(0.5), fnn.Dense(3, 5)))
    params = net.init(KEY)
    evaluated, same = fnn.inference(net, params)
    y, _ = evaluated.forward(same, X)
    chex.assert_trees_all_close(y, (X @ params[1].w) / 2, rtol=1e-12)

    wrapped = fnn.Recompute(fnn.Serial(fnn.Dense(3, 4), fnn.Unembed(4, 5)))
    params = wrapped.init(KEY)
    evaluated, dense = fnn.inference(wrapped, params)
    y, _ = evaluated.forward(dense, X)
    chex.assert_trees_all_close(y, X @ params[0].w @ params[1].w, rtol=1e-12)


@dataclass(frozen=True)
class Hiding(fnn.Identity):
    """A layer that holds others, in any field, and is no composite."""

    held: Any = None


HIDDEN = {
    "directly": fnn.Dropout(0.5),
    "in a tuple": (fnn.Tanh(), (fnn.Unembed(3, 4),)),
    "in a composite": fnn.Serial(fnn.Dense(3, 3), fnn.Residual(fnn.BatchNorm(3))),
    "in a composite without such fields": Gate(3),
    "in another layer that hides": Hiding(Hiding((fnn.Dropout(0.5),))),
    "mixing": Centred(),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_layer_that_hides_one_which_changes_is_refused_by_name(case):
    hiding = Hiding(HIDDEN[case])
    net = fnn.Serial(up=fnn.Dense(3, 3), rest=fnn.Serial(fnn.Tanh(), fnn.Residual(hiding)))
    params = net.init(KEY)
    message = r"^layer rest\.1, inference: Hiding\(.* holds .*, which is another layer at test time"
    with pytest.raises(NotImplementedError, match=message):
        fnn.inference(net, params, X)
    with pytest.raises(
        NotImplementedError, match=r"^inference: Hiding\(.* is not a Composite; make"
    ):
        fnn.inference(hiding, ())


def test_a_layer_that_holds_what_stays_the_same_stays_as_it_is():
    for layer in (fnn.GLU(3, 5), fnn.GLU(3, 5, fnn.Tanh()), Hiding((fnn.Tanh(), fnn.Dense(3, 3)))):
        params = layer.init(KEY)
        evaluated, same = fnn.inference(layer, params)
        assert evaluated == layer
        assert same is params


def test_a_hiding_layer_may_register_a_form_of_its_own():
    @dataclass(frozen=True)
    class Known(Hiding):
        pass

    evaluation_form.register(Known, lambda layer, params: (fnn.Identity(), params))
    assert fnn.inference(Known(fnn.Dropout(0.5)), ())[0] == fnn.Identity()


@pytest.mark.slow
def test_a_calibration_batch_of_sequences_is_one_too():
    net = fnn.Serial(fnn.RNN(3, 4), fnn.BatchNorm(4), fnn.Dropout(0.5), fnn.Last())
    params, x = net.init(KEY), jax.random.normal(KEY, (5, 6, 3))
    sequence = fnn.Sequence(x, jnp.ones((5, 6), bool))
    evaluated, frozen = fnn.inference(net, params, sequence)
    again, same = fnn.inference(net, params, x)
    assert evaluated == again
    chex.assert_trees_all_close(frozen, same, rtol=1e-12)
    ours, theirs = evaluated.forward(frozen, sequence)[0], evaluated.forward(frozen, x)[0]
    chex.assert_trees_all_close(ours, theirs, rtol=1e-12)


def test_a_layer_that_needs_data_is_named_by_its_place():
    net = fnn.Serial(up=fnn.Dense(3, 3), rest=fnn.Serial(fnn.Tanh(), fnn.Residual(Centred())))
    with pytest.raises(ValueError, match=r"^layer rest\.1, inference: Centred\(\) mixes examples"):
        fnn.inference(net, net.init(KEY))
