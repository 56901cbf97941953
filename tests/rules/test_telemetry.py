"""Tests of fnn.rules.telemetry."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import noise

import fnn
from benchmarks.blocks import public
from fnn.layers.activations import Elementwise
from fnn.rules import dead_units, delta_norms, first_non_finite, non_finite, saturation

KEY = jax.random.key(0)
LOSS = fnn.SquaredError()
BOUNDED = [layer() for layer in public(fnn, Elementwise) if len(layer.limits) == 2]


def of(rule, layer, x, params=()):
    """What the rule finds at this layer, of x and a δ of ones."""
    y, cache = layer.forward(params, x)
    result, dx = rule(layer, params, cache, jnp.ones_like(y))
    np.testing.assert_array_equal(dx, layer.backward(params, cache, jnp.ones_like(y))[1])
    return result


def test_a_unit_is_dead_that_is_0_for_the_whole_batch():
    x = jnp.array([[1.0, -1.0, 0.0, -2.0], [-3.0, -1.0, 0.0, 5.0], [-1.0, -9.0, 0.0, 2.0]])
    assert of(dead_units, fnn.ReLU(), x) == 2 / 4
    assert of(dead_units, fnn.HardTanh(), x) == 3 / 4  # at −1 or 1; 0 is no limit of it
    assert of(dead_units, fnn.Tanh(), x) == 0
    assert of(dead_units, fnn.Sigmoid(), jnp.array([[900.0, 0.0], [-900.0, 0.0]])) == 1 / 2


def test_a_unit_of_an_image_is_a_channel():
    x = jnp.ones((2, 3, 4, 5)).at[..., 1].set(-1).at[0, 0, 0, 2].set(-1).at[..., 4].set(-1)
    assert of(dead_units, fnn.ReLU(), x) == 2 / 5


def test_limits_are_said_by_the_class():
    assert {type(f).__name__ for f in BOUNDED} == {"Sigmoid", "Tanh", "Softsign", "HardTanh"}
    assert of(dead_units, fnn.LeakyReLU(), -jnp.ones((2, 3))) == ()
    assert of(saturation, fnn.ReLU(), jnp.zeros((2, 3))) == ()
    for rule in (dead_units, saturation):
        dense = fnn.Dense(3, 2)
        assert of(rule, dense, jnp.ones((2, 3)), dense.init(KEY)) == ()


@pytest.mark.parametrize("layer", BOUNDED, ids=str)
def test_limits_are_what_y_nears_and_where_f_is_flat(layer):
    ends = jnp.array([[-1e30, 1e30]])
    y, cache = layer.forward((), ends)
    np.testing.assert_allclose(y[0], layer.limits, rtol=1e-12)
    np.testing.assert_allclose(layer.backward((), cache, jnp.ones_like(y))[1], 0, atol=1e-12)


@pytest.mark.parametrize("layer", BOUNDED, ids=str)
def test_an_output_is_saturated_within_a_fortieth_of_the_way_between_the_limits(layer):
    x = 30 * noise(40, 7)
    y, (low, high) = np.asarray(layer.forward((), x)[0]), layer.limits
    far = (y - low) / (high - low)
    expected = np.mean((far < 0.025) | (far > 0.975))
    assert 0 < expected < 1
    np.testing.assert_allclose(of(saturation, layer, x), expected, rtol=1e-12)


def test_saturated_is_where_a_slope_is_less_than_a_tenth_of_the_largest():
    for layer, x in ((fnn.Sigmoid(), 3.6635616), (fnn.Tanh(), 1.8317808)):  # ln 39, ln 39 / 2
        slope = layer.df(layer.f(jnp.array(x))) / layer.df(layer.f(jnp.array(0.0)))
        assert 0.09 < slope < 0.1
        assert of(saturation, layer, jnp.array([[x - 1e-5, x + 1e-5]])) == 1 / 2


@pytest.mark.parametrize("size", [1.0, 1e-25, 1e25])
def test_norms_of_delta_are_right_at_any_size(size):
    layer, d = fnn.Identity(), jnp.array([[3.0, 0.0], [0.0, -4.0]], jnp.float32)
    found, _ = delta_norms(layer, (), (), size * d)
    np.testing.assert_allclose(found, 5 * size, rtol=1e-6)


def test_norms_of_a_cotangent_in_factors_are_those_of_what_it_is():
    layer, x = fnn.Unembed(3, 5), noise(4, 3)
    params = layer.init(KEY)
    y, cache = layer.forward(params, x)
    dz = noise(4, 5, seed=2)
    whole, factored = (
        delta_norms(layer, params, cache, d)[0] for d in (y.backward(dz), y.factors(dz))
    )
    expected = np.sqrt(np.sum((dz @ params.w.T) ** 2) + np.sum((x.T @ dz) ** 2))
    np.testing.assert_allclose([whole, factored], expected, rtol=1e-10)


def test_shares_that_are_not_finite_by_hand():
    dense = fnn.Dense(3, 2)
    params = dense.init(KEY)._replace(b=jnp.array([jnp.inf, 0]))
    x = jnp.ones((4, 3)).at[1, 2].set(jnp.nan)
    _, cache = dense.forward(params, x)
    d = jnp.zeros((4, 2)).at[0].set(-jnp.inf)
    found, _ = non_finite(dense, params, cache, d)
    np.testing.assert_allclose(found, (1 / 8, 1 / 12, 2 / 8), rtol=1e-12)
    found, _ = non_finite(fnn.Identity(), (), (), jnp.ones((2, 3)))
    assert found == (0, 0, 0)


class Blocks:
    """A net with everything that has a nesting of its own, and what the rules find in it."""

    net = fnn.Serial(
        up=fnn.Dense(3, 4),
        act=fnn.Frozen(fnn.Serial(fnn.Dense(4, 4), fnn.Sigmoid())),
        blocks=fnn.Repeat(2, fnn.Recompute(fnn.Residual(fnn.Serial(fnn.Dense(4, 4), fnn.ReLU())))),
        down=fnn.Cast(fnn.Serial(fnn.Tanh(), fnn.Dense(4, 2)), "float32"),
    )
    params = net.init(KEY)
    x, target = 3 * noise(5, 3), noise(5, 2, seed=2)
    fold: Any = staticmethod(jax.jit(fnn.fold))

    @classmethod
    def found(cls, params=None, x=None):
        rules = (
            fnn.rules.backprop,
            fnn.rules.deltas,
            delta_norms,
            dead_units,
            saturation,
            non_finite,
        )
        params = cls.params if params is None else params
        return cls.fold(
            cls.net, LOSS, params, cls.x if x is None else x, cls.target, rule=rules
        ).result


def test_results_nest_like_the_net():
    _, deltas, norms, dead, saturated, lost = Blocks.found()
    assert dead.keys() == {"act", "blocks", "down"}
    assert dead["blocks"][1].shape == (2,)  # one of every copy
    assert saturated.keys() == {"act", "down"}
    assert norms.keys() == lost.keys() == {"up", "act", "blocks", "down"}
    per_copy = np.sqrt((deltas["blocks"][0] ** 2).sum((1, 2)))
    np.testing.assert_allclose(norms["blocks"][0], per_copy, rtol=1e-10)
    np.testing.assert_allclose(norms["up"], np.linalg.norm(deltas["up"]), rtol=1e-10)
    assert saturated["act"][0] == saturated["down"][1] == ()
    assert saturated["act"][1].shape == saturated["down"][0].shape == ()


def test_the_first_number_that_is_not_finite_is_found_in_the_order_of_forward():
    net, params = Blocks.net, Blocks.params
    assert first_non_finite(net, Blocks.found()[-1]) is None
    w = params["blocks"][0].w.at[1, 0, 0].set(jnp.nan)
    broken = params | {"blocks": (params["blocks"][0]._replace(w=w), ())}
    place = first_non_finite(net, Blocks.found(broken)[-1])
    assert place == (0, "params", "blocks.0", (1,))
    place = first_non_finite(net, Blocks.found(x=Blocks.x.at[0, 0].set(jnp.inf))[-1])
    assert place == (0, "cache", "up", ())


def test_the_first_cotangent_that_is_not_finite_is_found_in_the_order_of_backward():
    good = Blocks.found()[-1]

    def broken(f):
        return f._replace(delta=jnp.ones_like(f.delta))

    lost = good | {"up": broken(good["up"]), "act": (good["act"][0], broken(good["act"][1]))}
    assert first_non_finite(Blocks.net, lost) == (0, "delta", "act.1", ())
    several = jax.tree.map(lambda *a: jnp.stack(a), good, good, lost)
    assert first_non_finite(Blocks.net, several) == (2, "delta", "act.1", ())


def test_what_is_not_of_the_net_is_refused():
    good = Blocks.found()[-1]
    with pytest.raises(
        TypeError, match="^first_non_finite: found must be what the rule non_finite"
    ):
        first_non_finite(Blocks.net, Blocks.found()[2])
    with pytest.raises(TypeError, match="at layer blocks.0"):
        first_non_finite(
            Blocks.net, good | {"blocks": jax.tree.map(lambda a: a[:1], good["blocks"])}
        )
    with pytest.raises(ValueError, match=r"one axis of steps.*fnn.watched\(history"):
        first_non_finite(Blocks.net, jax.tree.map(lambda a: a[None, None], good))


def test_every_use_of_tied_layers_has_its_own():
    tied = fnn.Tied(
        fnn.Serial(fnn.Dense(3, 4), fnn.Tanh(), fnn.Dense(4, 3, bias=False)), fnn.Tie(2, 0)
    )
    rules = fnn.rules.backprop, fnn.rules.deltas, delta_norms, non_finite
    done = Blocks.fold(tied, LOSS, tied.init(KEY), Blocks.x, noise(5, 3, seed=3), rule=rules)
    _, deltas, norms, lost = done.result
    expected = [np.linalg.norm(d) for d in deltas]
    np.testing.assert_allclose(norms, expected, rtol=1e-10)
    assert first_non_finite(tied, lost) is None
