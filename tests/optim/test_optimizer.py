"""Tests of fnn.optim.optimizer, and of what holds for every optimizer."""

import pickle
from dataclasses import dataclass, replace

import chex
import jax
import jax.numpy as jnp
import optax
import pytest
from contract import noise
from optimizers import EVERY, PARAMS, descend, gradient, weights

import fnn
from fnn.optim.optimizer import Optimizer, leafwise, next_step


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("rate", ["python", "float32", "float64", "vmapped"])
@pytest.mark.parametrize("name", EVERY)
def test_params_move_and_keep_their_dtype(name, rate, dtype):
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    if rate == "vmapped":
        rates = jnp.array([0.1, 0.2], jnp.float32)
        after = jax.vmap(lambda r: descend(EVERY[name](r), params, 5))(rates)
    else:
        number = 0.1 if rate == "python" else jnp.asarray(0.1, rate)
        after = descend(EVERY[name](number), params, 5)
    chex.assert_trees_all_equal_dtypes(after, params)
    moved = jax.tree.map(lambda a, p: bool((a != p).all()), after, params)
    assert all(jax.tree.leaves(moved))


@pytest.mark.parametrize("name", EVERY)
def test_learning_rates_share_one_compilation(name):
    traced = []

    @jax.jit
    def run(optimizer):
        traced.append(optimizer)
        return descend(optimizer, PARAMS, 3)

    slow, fast = run(EVERY[name](0.01)), run(EVERY[name](0.1))
    assert len(traced) == 1
    assert (slow.w != fast.w).any()


@pytest.mark.parametrize("name", EVERY)
def test_vmapped_rates_equal_a_loop(name):
    rates = jnp.array([0.01, 0.1])
    swept = jax.vmap(lambda r: descend(EVERY[name](r), PARAMS, 5))(rates)
    each = [descend(EVERY[name](float(r)), PARAMS, 5) for r in rates]
    chex.assert_trees_all_close(swept, jax.tree.map(lambda *p: jnp.stack(p), *each), rtol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_what_is_not_finite_in_a_gradient_shows_behind_it(name):
    optimizer = EVERY[name](0.1)
    assert not optimizer.hides()

    def finite(bad):
        _, state = optimizer.update(gradient(PARAMS), optimizer.init(PARAMS), PARAMS)
        grads = gradient(PARAMS)._replace(b=jnp.array([0.1, 1.0]) * bad)
        updates, state = optimizer.update(grads, state, PARAMS)
        each = jax.tree.leaves((fnn.optim.apply_updates(PARAMS, updates), state))
        return jnp.stack([jnp.isfinite(a).all() for a in each]).all()

    found = jax.jit(jax.vmap(finite))(jnp.array([1.0, jnp.inf, -jnp.inf, jnp.nan]))
    assert found.tolist() == [True, False, False, False]


@pytest.mark.parametrize("name", EVERY)
def test_descends(name):
    after = descend(EVERY[name](0.05), PARAMS, 300)
    size = sum(abs(p).sum() for p in jax.tree.leaves(PARAMS))
    assert sum(abs(p).sum() for p in jax.tree.leaves(after)) < size / 2


@pytest.mark.parametrize("name", EVERY)
def test_an_optimizer_is_a_value(name):
    optimizer = EVERY[name](0.1)
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer
    leaves, tree = jax.tree.flatten(optimizer)
    assert tree.unflatten(leaves) == optimizer


@pytest.mark.parametrize("name", EVERY)
def test_a_zero_gradient_leads_nowhere(name):
    optimizer = EVERY[name](0.1)
    zero = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = optimizer.update(zero, optimizer.init(zero), zero)
    chex.assert_trees_all_equal(updates, zero)


@pytest.mark.parametrize("size", [1e-35, 1e-8, 1.0, 1e20, 1e38])
@pytest.mark.parametrize("name", [n for n in EVERY if n != "SOAP"])  # of one direction: rounding
def test_a_gradient_of_any_size_leaves_a_state_that_goes_on_as_in_exact_arithmetic(name, size):
    optimizer = EVERY[name](0.1)

    def updates(dtype):
        params, found = jax.tree.map(lambda p: p.astype(dtype), PARAMS), []
        state = optimizer.init(params)
        for factor in (size, 1.0, -size):
            grads = jax.tree.map(lambda p, f=factor: p / 3 * f, params)
            update, state = optimizer.update(grads, state, params)
            found.append(update)
        return found, state

    (ours, state), (exact, _) = updates("float32"), updates("float64")
    for leaf in jax.tree.leaves(state):
        assert jnp.isfinite(leaf).all()
    exact = jax.tree.map(lambda a: a.astype("float32"), exact)
    roundings = 5e-7 if name == "Proximal" else 1e-37  # it knows an update as new w − old w
    chex.assert_trees_all_close(ours, exact, rtol=1e-5, atol=roundings)


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_works_inside_optax_chain_multi_steps_and_masked(name):
    ours = EVERY[name](0.1)
    weights_only = fnn.DenseParams(w=True, b=False)
    wrapped = optax.MultiSteps(
        optax.chain(optax.clip(10.0), optax.masked(ours, weights_only)), every_k_schedule=2
    )
    with jax.numpy_dtype_promotion("standard"):
        state, params = wrapped.init(PARAMS), PARAMS
        for _ in range(2):
            updates, state = wrapped.update(gradient(PARAMS), state, params)
            params = optax.apply_updates(params, updates)

    w = fnn.UnembedParams(PARAMS.w)
    expected, _ = ours.update(gradient(w), ours.init(w), w)
    chex.assert_trees_all_close(updates.w, expected.w, rtol=1e-6)
    chex.assert_trees_all_close(updates.b, gradient(PARAMS).b, rtol=1e-6)  # passed on


def test_gradients_that_are_not_like_the_state_are_named_by_path():
    optimizer, params = fnn.optim.Adam(0.1), PARAMS._asdict()
    state = optimizer.init(params)
    with pytest.raises(ValueError, match=r"Adam: grads\.w is missing; its state has it"):
        optimizer.update({"b": PARAMS.b}, state)
    with pytest.raises(ValueError, match=r"grads\.w must have shape \[2, 2\] .*got \[2\]"):
        optimizer.update({"w": PARAMS.b, "b": PARAMS.b}, state)
    with pytest.raises(ValueError, match=r"grads\.c is unexpected"):
        optimizer.update(params | {"c": PARAMS.b}, state)
    with pytest.raises(ValueError, match="must have the node types of"):
        leafwise(optimizer, lambda g, s: (g, s), [PARAMS.b], (PARAMS.b,))


def test_updates_are_added_and_params_keep_their_dtype():
    params = {"w": jnp.array([1.0, 2.0], jnp.bfloat16)}
    updates = {"w": jnp.array([0.5, -0.5], jnp.float32)}
    after = fnn.optim.apply_updates(params, updates)
    assert after["w"].dtype == jnp.bfloat16
    chex.assert_trees_all_equal(after["w"], jnp.array([1.5, 1.5], jnp.bfloat16))


def test_updates_of_another_shape_are_not_broadcast():
    with pytest.raises(ValueError, match=r"apply_updates: updates\.w must have shape \[2\]"):
        fnn.optim.apply_updates({"w": jnp.ones(2)}, {"w": jnp.ones(1)})


def test_integer_parameters_are_refused():
    with pytest.raises(TypeError, match=r"params\.w must be floating, got int"):
        fnn.optim.apply_updates({"w": jnp.arange(2)}, {"w": jnp.ones(2)})


@dataclass(frozen=True)
class Told(Optimizer):
    """update = −η L: what reaches an optimizer as `value`."""

    learning_rate: float

    def init(self, params):
        return ()

    def update(self, grads, state, params=None, *, value=None):
        return jax.tree.map(lambda g: jnp.full_like(g, -self.learning_rate * value), grads), state


WRAPPED = {
    "Chain": lambda o: fnn.optim.Chain(fnn.optim.ClipByNorm(1.0), o),
    "Scheduled": lambda o: fnn.optim.Scheduled(o, fnn.optim.Constant(0.5)),
    "Proximal": lambda o: fnn.optim.Proximal(o, fnn.L1(0.0)),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_the_loss_reaches_an_optimizer_inside_another(name):
    optimizer, p = WRAPPED[name](Told(0.5)), weights(1.0)
    updates, _ = optimizer.update(p, optimizer.init(p), p, value=4.0)
    chex.assert_trees_all_close(updates, weights(-2.0))


@pytest.mark.parametrize("name", EVERY)
def test_an_optimizer_that_does_not_ask_for_the_loss_may_be_told_it(name):
    optimizer = EVERY[name](0.1)
    state, g = optimizer.init(PARAMS), gradient(PARAMS)
    told, _ = optimizer.update(g, state, PARAMS, value=4.0)
    chex.assert_trees_all_equal(told, optimizer.update(g, state, PARAMS)[0])


def test_the_step_count_stays_at_the_largest_integer():
    largest = jnp.array(2**31 - 1, jnp.int32)
    assert next_step(largest) == largest
    assert next_step(jnp.array(2**31 - 2, jnp.int32)) == largest
    assert next_step(jnp.array(4, jnp.int32)) == 5


def test_a_replaced_hyperparameter_is_checked_and_a_traced_one_is_not():
    with pytest.raises(ValueError, match=r"SGD: learning_rate must be in \(0, inf\), got -1"):
        replace(fnn.optim.SGD(0.1), learning_rate=-1.0)
    assert jax.jit(lambda r: fnn.optim.SGD(r).learning_rate)(-1.0) == -1.0


@pytest.mark.parametrize("optimizer", [fnn.optim.SGD(0.1), fnn.optim.Adam(0.1)], ids=repr)
def test_updates_are_computed_in_single_precision_and_have_the_dtype_of_the_gradients(optimizer):
    g = {"a": noise(50).astype("bfloat16")}
    exact = {"a": g["a"].astype("float32")}
    updates, _ = optimizer.update(g, optimizer.init(g))
    want, _ = optimizer.update(exact, optimizer.init(exact))
    assert updates["a"].dtype == "bfloat16"
    chex.assert_trees_all_equal(updates["a"], want["a"].astype("bfloat16"))


def test_updates_are_added_before_they_are_rounded():
    params, updates = {"a": jnp.array([256.0], "bfloat16")}, {"a": jnp.array([1.001], "float32")}
    after = fnn.optim.apply_updates(params, updates)
    assert after["a"].dtype == "bfloat16"
    assert after["a"] == 258  # 257.001, not 256 + 1, which is rounded to 256
