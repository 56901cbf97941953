"""Tests of fnn.layers.frozen."""

from dataclasses import dataclass
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

import fnn
from fnn.layers.frozen import Frozen, FrozenParams
from fnn.penalties import weight_mask
from fnn.sequence import Sequence

KEY = jax.random.key(0)
BODY = fnn.Serial(up=fnn.Dense(3, 4), act=fnn.Tanh())
NET = fnn.Serial(body=Frozen(BODY), head=fnn.Dense(4, 2))
X, TARGET, LOSS = noise(5, 3), noise(5, 2, seed=2), fnn.SquaredError()


def test_contract():
    check_layer(Frozen(fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dense(4, 2))), noise(5, 3))


@pytest.mark.slow
@pytest.mark.parametrize("layer", [Frozen(fnn.LSTM(3, 4)), fnn.Repeat(2, Frozen(fnn.LSTM(3, 3)))])
def test_contract_of_sequences(layer):
    state = states(4, 4) if isinstance(layer, Frozen) else (noise(2, 2, 3), noise(2, 2, 3, seed=2))
    check_sequence(layer, Sequence(noise(2, 5, 3), MASK, state))


def test_by_hand():
    params = FrozenParams(fnn.DenseParams(jnp.array([[2.0], [3.0]]), jnp.array([1.0])))
    layer = Frozen(fnn.Dense(2, 1))
    y, cache = layer.forward(params, jnp.array([[4.0, 5.0]]))
    np.testing.assert_array_equal(y, [[8 + 15 + 1]])
    grads, dx = layer.backward(params, cache, jnp.array([[10.0]]))
    np.testing.assert_array_equal(dx, [[20, 30]])
    np.testing.assert_array_equal(grads.inner.w, [[0], [0]])
    np.testing.assert_array_equal(grads.inner.b, [0])


@dataclass(frozen=True)
class Counted(fnn.Layer):
    """y = w x, which tells when dw is computed."""

    def init(self, key):
        return jnp.ones(())

    def forward(self, params, x, *, key=None):
        return params * x, x

    def backward(self, params, cache, dy):
        def product(x, dy):
            COUNTS.append(1)
            return np.asarray((x * dy).sum())

        dw = jax.pure_callback(product, jax.ShapeDtypeStruct((), dy.dtype), cache, dy)
        return dw, params * dy


COUNTS: list[Any] = []


def test_gradients_are_never_computed_not_even_in_eager_mode():
    for layer, expected in ((Counted(), 1), (Frozen(Counted()), 0)):
        COUNTS.clear()
        params = layer.init(KEY)
        _, cache = layer.forward(params, X)
        jax.block_until_ready(layer.backward(params, cache, X))
        assert len(COUNTS) == expected


OPTIMIZERS = {
    "momentum": (fnn.optim.Momentum(0.1), None),
    "Adam": (fnn.optim.Adam(0.1), fnn.L1(0.1)),
    "AdamW": (fnn.optim.AdamW(0.1, weight_decay=0.1), fnn.L2(0.1)),
    "proximal": (fnn.optim.Proximal(fnn.optim.SGD(0.1), fnn.L1(0.1)), None),
    "select": (
        fnn.optim.AdamW(0.1, weight_decay=0.1, select=lambda path: True),
        fnn.L2(0.1, select=lambda path: path.endswith("w")),
    ),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] * (n != "AdamW")) for n in OPTIMIZERS],
)
def test_after_20_steps_what_is_frozen_is_there_bit_for_bit(name):
    optimizer, penalty = OPTIMIZERS[name]
    plan = fnn.Plan(NET, LOSS, optimizer, penalty=penalty)
    state = fnn.start(plan, KEY)
    after, _ = fnn.fit(plan, state, (X, TARGET), epochs=20, batch_size=5)
    chex.assert_trees_all_equal(after.params["body"], state.params["body"])
    assert (after.params["head"].w != state.params["head"].w).all()


def test_frozen_weights_are_none_and_no_warning_tells_of_params_of_no_class():
    params = {"a": FrozenParams({"w": jnp.ones(3)}), "b": fnn.Dense(2, 3).init(KEY)}
    assert weight_mask("test", params)["a"] == FrozenParams({"w": False})
    assert weight_mask("test", params)["b"].w
    assert weight_mask("test", params, lambda path: True)["a"] == FrozenParams({"w": False})


def test_the_rest_is_trained_as_if_the_inner_layer_stood_there():
    params = NET.init(KEY)
    bare = fnn.Serial(body=BODY, head=fnn.Dense(4, 2))
    thawed = params | {"body": params["body"].inner}
    done = fnn.fold(NET, LOSS, params, X, TARGET)
    want = fnn.fold(bare, LOSS, thawed, X, TARGET)
    chex.assert_trees_all_close(
        (done.loss, done.dx, done.result["head"]), (want.loss, want.dx, want.result["head"])
    )
    chex.assert_trees_all_equal(done.result["body"], jax.tree.map(jnp.zeros_like, params["body"]))


@fnn.rule
def signs(layer, params, cache, dy):
    grads, dx = layer.backward(params, cache, dy)
    return jax.tree.map(jnp.sign, grads), dx


@fnn.rule(companion=True, learns=True)
def stepping(layer, params, cache, dy, own):
    grads, dx = layer.backward(params, cache, dy)
    return (grads, jax.tree.map(jnp.add, own, grads)), dx


INSIDE = {
    "serial": BODY,
    "repeat": fnn.Serial(up=fnn.Dense(3, 4), act=fnn.Repeat(2, fnn.Residual(fnn.Dense(4, 4)))),
    "cast": fnn.Cast(BODY, "float64"),
    "recompute": fnn.Recompute(BODY),
    "frozen": Frozen(BODY),
}


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n != "repeat")) for n in INSIDE]
)
def test_rules_pass_through_and_find_gradients_of_0(name):
    bare = fnn.Serial(body=INSIDE[name], head=fnn.Dense(4, 2))
    net = fnn.Serial(body=Frozen(INSIDE[name]), head=fnn.Dense(4, 2))
    thawed = bare.init(KEY)
    params = thawed | {"body": FrozenParams(thawed["body"])}
    rules = (signs, fnn.rules.deltas, fnn.rules.example_norms, stepping.given(params))
    done = jax.jit(fnn.fold)(net, LOSS, params, X, TARGET, rule=rules)
    want = fnn.fold(bare, LOSS, thawed, X, TARGET, rule=(*rules[:3], stepping.given(thawed)))
    chex.assert_trees_all_close(done.dx, want.dx, rtol=1e-12)
    for found, wanted in zip(done.result, want.result, strict=True):
        chex.assert_trees_all_close(found["head"], wanted["head"], rtol=1e-12)
    zero = jax.tree.map(jnp.zeros_like, params["body"])
    chex.assert_trees_all_equal((done.result[0]["body"], done.result[3]["body"]), (zero, zero))
    chex.assert_trees_all_close(done.result[1]["body"], want.result[1]["body"], rtol=1e-12)
    assert not any(np.any(a) for a in jax.tree.leaves(done.result[2]["body"]))
    chex.assert_trees_all_equal(done.companion[3]["body"], params["body"])


@pytest.mark.parametrize("around", [lambda f: fnn.Repeat(2, f), lambda f: fnn.Cast(f, "float32")])
def test_around_it(around):
    net = around(Frozen(fnn.Dense(3, 3)))
    params = net.init(KEY)
    y, cache = net.forward(params, X)
    grads, dx = net.backward(params, cache, y)
    chex.assert_trees_all_equal_shapes_and_dtypes((grads, dx), (params, X))
    assert not any(np.any(a) for a in jax.tree.leaves(grads))
    assert np.any(dx)


@pytest.mark.slow
def test_a_frozen_table_has_no_dx_and_inference_gives_the_inner_layer():
    net = Frozen(fnn.Serial(fnn.Embedding(7, 3), fnn.Dropout(0.5), fnn.BatchNorm(3)))
    params, x = net.init(KEY), jnp.array([[1, 6], [3, 4]])
    y, cache = net.forward(params, x, key=KEY)
    assert net.backward(params, cache, y)[1] is None
    with pytest.raises(NotImplementedError, match=r"BatchNorm.*: nothing per example here"):
        fnn.fold(net, LOSS, params, x, y, key=KEY, rule=fnn.rules.example_norms)
    evaluated, inner = fnn.inference(net, params, x)
    want, thawed = fnn.inference(net.inner, params.inner, x)
    assert evaluated == want
    chex.assert_trees_all_equal(inner, thawed)


def test_the_table_of_a_net_has_its_layers():
    rows = [line.split() for line in fnn.summary(NET, NET.init(KEY), X).splitlines()]
    assert ["body.up", "Dense(n_in=3,", "n_out=4)", "[5,", "4]", "16"] in rows


def test_errors():
    with pytest.raises(TypeError, match="^Frozen takes layers, got"):
        Frozen(fnn.Tanh)
    message = r"^layer body, Frozen: params must be FrozenParams, got .*; write FrozenParams\(param"
    with pytest.raises(TypeError, match=message):
        NET.forward(NET.init(KEY) | {"body": BODY.init(KEY)}, X)
    with pytest.raises(ValueError, match=r"^layer body.up, Dense\(n_in=3, n_out=4\): x must have"):
        NET.forward(NET.init(KEY), noise(5, 4))


@pytest.mark.slow
def test_statistics_inside_are_averaged():
    body = fnn.Serial(fnn.Dense(3, 4), fnn.BatchNorm(4))
    found = []
    for around in (Frozen, fnn.Residual):
        net = fnn.Serial(around(fnn.Serial(body, fnn.Dense(4, 3))), fnn.Dense(3, 2))
        rule = fnn.rules.backprop, fnn.rules.running_averages(net)
        plan = fnn.Plan(net, LOSS, fnn.optim.SGD(1e-12), rule=rule)
        state, _ = fnn.fit(plan, fnn.start(plan, KEY), (X, TARGET), epochs=2, batch_size=3)
        assert np.isfinite(fnn.evaluate(plan, state, (X, TARGET))["loss"])
        found.append(jax.tree.leaves(state.companion[1]))
    assert found[0]
    chex.assert_trees_all_close(*found)
