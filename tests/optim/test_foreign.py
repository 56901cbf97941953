"""Tests of fnn.optim.foreign."""

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from optimizers import PARAMS, gradient, weights

import fnn
from fnn.optim.foreign import Foreign, as_optimizer


def test_a_foreign_optimizer_is_itself_and_traces_once():
    adam = optax.adam(0.1)
    traced = []

    @jax.jit
    def run(optimizer):
        traced.append(optimizer)
        updates, _ = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS), PARAMS)
        return updates

    with jax.numpy_dtype_promotion("standard"):
        run(as_optimizer("test", adam))
        ours = run(as_optimizer("test", adam))
        theirs, _ = adam.update(gradient(PARAMS), adam.init(PARAMS), PARAMS)
    assert len(traced) == 1
    chex.assert_trees_all_close(ours, theirs)


def asks(kind):
    """A transformation that multiplies the gradient by the loss, which it asks for."""

    def named(grads, state, params=None, *, value):
        return jax.tree.map(lambda g: -value * g, grads), state

    def gathered(grads, state, params=None, **more):
        return named(grads, state, params, **more)

    return Foreign(lambda params: (), {"named": named, "gathered": gathered}[kind])


@pytest.mark.parametrize("kind", ["named", "gathered"])
@pytest.mark.parametrize("where", [lambda f: f, lambda f: fnn.optim.Chain(f, fnn.optim.SGD(1.0))])
def test_the_loss_reaches_an_optimizer_that_asks_for_it(where, kind):
    optimizer, g = where(asks(kind)), weights(3.0)
    updates, _ = optimizer.update(g, optimizer.init(g), g, value=2.0)
    assert abs(updates.w[0]) == 6.0


def test_the_loss_does_not_reach_an_optimizer_that_does_not_ask():
    given = []
    plain = Foreign(lambda params: (), lambda *args: given.append(len(args)) or (args[0], ()))
    plain.update(PARAMS, (), PARAMS, value=2.0)
    assert given == [3]


def test_an_optimizer_that_evaluates_the_loss_itself_is_refused():
    lbfgs = as_optimizer("f", optax.lbfgs(0.1))
    with jax.numpy_dtype_promotion("standard"):
        state = lbfgs.init(PARAMS)
        with pytest.raises(TypeError, match="Foreign: the optimizer asks for more than gradients"):
            lbfgs.update(PARAMS, state, PARAMS, value=jnp.array(1.0))


def test_an_error_of_its_own_stays_what_it_is():
    def broken(grads, state, params=None):
        raise TypeError("no such thing")

    with pytest.raises(TypeError, match="^no such thing$"):
        Foreign(lambda params: (), broken).update(PARAMS, (), PARAMS)


def test_a_class_is_no_optimizer():
    with pytest.raises(TypeError, match=r"f: .* got <class .*Adam'>; build it: Adam\(\.\.\.\)"):
        as_optimizer("f", fnn.optim.Adam)
