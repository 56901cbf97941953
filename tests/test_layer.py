"""Tests of fnn.layer."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, check_layer, check_sequence, noise, states

from fnn.factors import Rows
from fnn.layer import Layer, as_jax, check_cotangent, check_layer_type
from fnn.layers.dense import Dense
from fnn.layers.dropout import Dropout
from fnn.layers.flatten import Flatten
from fnn.layers.rnn import RNN
from fnn.layers.scale import Scale
from fnn.sequence import Sequence, lift, select

KEY = jax.random.key(0)
X = noise(2, 5, 3)


@dataclass(frozen=True)
class Square(Layer):
    """y = x²."""

    def forward(self, params, x, *, key=None):
        return x**2, x

    def backward(self, params, cache, dy):
        return (), 2 * cache * dy


def test_a_layer_of_two_methods_keeps_the_contract():
    check_layer(Square(), noise(5, 3))
    assert Square().init(KEY) == ()


@dataclass(frozen=True)
class SlightlyWrong(Square):
    """A backward that is one part in a million off."""

    def backward(self, params, cache, dy):
        return (), 2.000002 * cache * dy


@dataclass(frozen=True)
class WrongAtSecondOrder(Square):
    """A right value with a wrong derivative of its own."""

    def backward(self, params, cache, dy):
        return (), 2 * jax.lax.stop_gradient(cache) * dy


@dataclass(frozen=True)
class BatchLast(Square):
    """A cache whose first axis is not the batch."""

    def forward(self, params, x, *, key=None):
        return x**2, x.T

    def backward(self, params, cache, dy):
        return (), 2 * cache.T * dy


@dataclass(frozen=True)
class Narrow(Square):
    """A gradient that loses digits on the way."""

    def backward(self, params, cache, dy):
        return (), (2 * cache * dy).astype("bfloat16").astype(dy.dtype)


@pytest.mark.parametrize("layer", [SlightlyWrong(), WrongAtSecondOrder(), BatchLast(), Narrow()])
def test_contract_refuses(layer):
    with pytest.raises(AssertionError):
        check_layer(layer, noise(5, 3))


def test_undecorated_subclass_is_refused():
    class Plain(Square):
        factor: float = 1.0

    message = r"^Plain: write @dataclass\(frozen=True\) above the class; without it the fields"
    with pytest.raises(TypeError, match=message):
        Plain()


def test_undecorated_subclass_of_a_decorated_layer_is_refused():
    class Steeper(Scale):
        pass

    with pytest.raises(TypeError, match=r"^Steeper: write @dataclass\(frozen=True\)"):
        Steeper(2.0)


def test_decorated_subclass_that_is_not_frozen_is_refused_by_python():
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):

        @dataclass
        class Mutable(Square):
            pass


def test_incomplete_subclass_is_refused():
    @dataclass(frozen=True)
    class Incomplete(Layer):
        def init(self, key):
            return ()

    with pytest.raises(TypeError, match="abstract class Incomplete .*backward.*forward"):
        Incomplete()


def test_layers_of_different_types_are_not_equal():
    @dataclass(frozen=True)
    class Other(Square):
        pass

    assert Square() == Square()
    assert Square() != Other()


def test_different_fields_run_different_layers_under_jit():
    run = jax.jit(lambda layer, x: layer.forward((), x)[0])
    x = jnp.ones((1, 1))
    assert (run(Scale(2.0), x), run(Scale(3.0), x)) == (2, 3)


class HookedParams(NamedTuple):
    """The factor."""

    w: jax.Array  # [n]


@dataclass(frozen=True)
class Hooked(Square):
    """y = x² w plus noise, of positive x: every hook says something."""

    draws: ClassVar[bool] = True

    n: int

    def shapes(self):
        return {"w": (self.n,)}

    def check_input(self, x):
        if np.any(np.asarray(x) < 0):
            raise ValueError(f"{self}: x must be positive.")

    def forward(self, params, x, *, key=None):
        assert isinstance(x, jax.Array)
        return x**2 * params.w + jax.random.normal(key, x.shape), x


def test_what_a_class_says_is_checked_before_its_forward_runs():
    layer, params, x = Hooked(3), HookedParams(jnp.ones(3)), np.ones((5, 3))
    y, _ = layer.forward(params, x, key=KEY)  # numpy has become a jax.Array
    np.testing.assert_allclose(y, 1 + jax.random.normal(KEY, (5, 3)), rtol=1e-12)
    with pytest.raises(ValueError, match=r"^Hooked\(n=3\): x must be positive"):
        layer.forward((), -x)
    with pytest.raises(TypeError, match=r"^Hooked\(n=3\): params must have a field w, got \(\)"):
        layer.forward((), x)
    with pytest.raises(ValueError, match=r"^Hooked\(n=3\): params\.w must have shape \[3\], got"):
        layer.forward(HookedParams(jnp.ones(2)), x)
    with pytest.raises(ValueError, match=r"^Hooked\(n=3\): forward needs a key; pass key="):
        layer.forward(params, x)
    with pytest.raises(TypeError, match=r"^Hooked\(n=3\): key must be a typed key, got 0"):
        layer.forward(params, x, key=0)


def test_checks_run_under_jit_and_in_a_subclass_that_calls_its_parent():
    @dataclass(frozen=True)
    class Doubled(Dense):
        def forward(self, params, x, *, key=None):
            y, cache = super().forward(params, x)
            return 2 * y, cache

        def backward(self, params, cache, dy):
            return super().backward(params, cache, 2 * dy)

    layer = Doubled(3, 4)
    params = layer.init(KEY)
    with pytest.raises(ValueError, match=r"^.*Doubled\(n_in=3, n_out=4\): x must have shape"):
        jax.jit(layer.forward)(params, noise(5, 2))
    check_sequence(layer, Sequence(X, MASK))


def test_arrays_of_numpy_become_those_of_jax():
    x = as_jax({"a": np.ones(3), "b": jnp.ones(2), "c": 1.0})
    assert isinstance(x["a"], jax.Array)
    assert x["c"] == 1.0


class Methods:
    """The two methods of a layer, in a class that is none."""

    def forward(self, params, x, *, key=None):
        return 2 * x, ()

    def backward(self, params, cache, dy):
        return (), 2 * dy


def test_methods_of_a_class_that_is_no_layer_stand_behind_the_checks_too():
    @dataclass(frozen=True)
    class Double(Methods, Layer):
        pass

    @dataclass(frozen=True)
    class OfPositions(Methods, Layer):
        sequences: ClassVar = "positions"

    assert isinstance(Double().forward((), np.ones((2, 3)))[0], jax.Array)
    with pytest.raises(TypeError, match=r"Double\(\): x must be an array, got a Sequence"):
        Double().forward((), Sequence(X, MASK))
    y, _ = OfPositions().forward((), Sequence(X, MASK))
    np.testing.assert_array_equal(y.x, 2 * np.where(MASK[..., None], X, 0))


@dataclass(frozen=True)
class Positions(Square):
    """y = x² of every step."""

    sequences: ClassVar = "positions"


def test_a_layer_of_positions_sees_the_steps_of_a_sequence_as_an_array():
    check_sequence(Positions(), Sequence(X, MASK))
    memory = noise(2, 4)
    y, cache = Positions().forward((), Sequence(X, MASK, None, memory))
    assert isinstance(cache, jax.Array)
    assert (y.mask is MASK, y.state, y.memory is memory) == (True, None, True)
    np.testing.assert_array_equal(y.x, np.where(MASK[..., None], X, 0) ** 2)
    _, dx = Positions().backward((), cache, Sequence(jnp.ones((2, 5, 3)), MASK))
    np.testing.assert_array_equal(dx.x, np.where(MASK[..., None], 2 * X, 0))
    assert dx.mask is MASK


def test_a_layer_of_positions_has_no_state():
    with pytest.raises(TypeError, match=r"^Positions\(\): x\.state must be None, this layer"):
        Positions().forward((), Sequence(X, state=states(3)))
    for none in (None, (), {}):
        Positions().forward((), Sequence(X, state=none))


@pytest.mark.parametrize("layer", [Square(), Flatten()], ids=repr)
def test_a_layer_that_does_not_say_what_a_sequence_means_to_it_refuses_one(layer):
    message = rf"^{type(layer).__name__}\(\): x must be an array, got a Sequence: .*\"positions\"\."
    with pytest.raises(TypeError, match=message):
        layer.forward((), Sequence(X, MASK))


def test_checks_run_on_the_steps_of_a_sequence():
    with pytest.raises(ValueError, match=r"^Dense\(.*\): x must have shape \[B, ..., 3\], got"):
        Dense(3, 2).forward(Dense(3, 2).init(KEY), Sequence(noise(2, 5, 4), MASK))
    with pytest.raises(ValueError, match=r"^Dropout\(.*\): forward needs a key"):
        Dropout(0.5).forward((), Sequence(X, MASK))


@dataclass(frozen=True)
class ForgetsTheLastState(RNN):
    """The cotangent of the last state is dropped."""

    def backward(self, params, cache, dy):
        return super().backward(params, cache, dy.with_fields(state=None))


@dataclass(frozen=True)
class HandsOnTheFirstState(RNN):
    """The state that comes out is the one that went in."""

    def forward(self, params, x, *, key=None):
        y, cache = super().forward(params, x)
        return y.with_fields(state=x.state), cache


@dataclass(frozen=True)
class ForgetsTheMask(RNN):
    """Steps that are left out are steps."""

    def forward(self, params, x, *, key=None):
        y, cache = super().forward(params, x.with_fields(mask=None))
        return y.with_fields(mask=x.mask), cache


@dataclass(frozen=True)
class ForgetsTheForm(RNN):
    """dx is an array."""

    def backward(self, params, cache, dy):
        grads, dx = super().backward(params, cache, dy)
        return grads, dx.x


@pytest.mark.parametrize(
    "kind", [ForgetsTheLastState, HandsOnTheFirstState, ForgetsTheMask, ForgetsTheForm]
)
def test_contract_of_sequences_refuses(kind):
    with pytest.raises(AssertionError):
        check_sequence(kind(3, 4), Sequence(X, MASK, states(4)))


@dataclass(frozen=True)
class Multiplies(Square):
    """Steps that are left out are multiplied by 0: 0 · NaN is NaN."""

    sequences: ClassVar = "own"

    def forward(self, params, x, *, key=None):
        a = x.x * x.mask[..., None].astype(float)
        return lift(lambda _: a**2, x), a

    def backward(self, params, cache, dy):
        return (), lift(lambda d: select(dy.mask, 2 * cache * d), dy)


def test_contract_of_sequences_refuses_a_mask_that_multiplies():
    with pytest.raises(AssertionError):
        check_sequence(Multiplies(), Sequence(X, MASK))


def test_what_is_no_layer_is_named():
    check_layer_type("f", Square())
    with pytest.raises(TypeError, match=r"^f takes layers, got <class .*; build it: Dense\(\.\.\."):
        check_layer_type("f", Dense)
    with pytest.raises(TypeError, match=r"^f takes layers, got None\.$"):
        check_layer_type("f", None)


def test_a_cotangent_is_made_of_floating_arrays_and_factors():
    check_cotangent("f", "dy", (jnp.ones(2), Rows(jnp.ones((2, 1), int), jnp.ones((2, 1, 3)), 4)))
    with pytest.raises(TypeError, match=r"^f: dy\.1 must be floating, got int64"):
        check_cotangent("f", "dy", (jnp.ones(2), jnp.ones(2, int)))
    with pytest.raises(TypeError, match=r"^f: dy must be an array, got NoneType"):
        check_cotangent("f", "dy", None)
