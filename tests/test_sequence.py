"""Tests of fnn.sequence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import MASK, noise

import fnn
from fnn.sequence import (
    Sequence,
    add,
    lift,
    mask_of,
    memory_of,
    over_positions,
    renewed,
    select,
    state_of,
    value,
)

KEY = jax.random.key(0)
X = noise(2, 5, 3)
MEMORY = noise(2, 4, 6, seed=2)
WHOLE = Sequence(X, MASK, (noise(2, 3),), MEMORY)


def test_it_is_a_pytree_of_its_fields():
    leaves, tree = jax.tree.flatten(WHOLE)
    assert [a.shape for a in leaves] == [(2, 5, 3), (2, 5), (2, 3), (2, 4, 6)]
    assert isinstance(tree.unflatten([None] * 4), Sequence)
    same = jax.jit(lambda s: s)(WHOLE)
    assert isinstance(same, Sequence)
    np.testing.assert_array_equal(same.x, X)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(WHOLE)]
    assert paths == [".x", ".mask", ".state[0]", ".memory"]


def test_it_is_no_tuple_that_could_be_added_or_measured():
    with pytest.raises(TypeError, match="unsupported operand"):
        WHOLE + WHOLE
    with pytest.raises(TypeError, match=r"has no len\(\)"):
        len(WHOLE)


def test_what_an_array_lacks_is_none():
    assert (value(X) is X, value(WHOLE) is X) == (True, True)
    assert (mask_of(X), state_of(X), memory_of(X)) == (None, None, None)
    assert mask_of(WHOLE) is MASK
    assert state_of(WHOLE) is WHOLE.state
    assert memory_of(WHOLE) is MEMORY
    assert (Sequence(X).mask, Sequence(X).state, Sequence(X).memory) == (None, None, None)


def test_other_fields_make_another_sequence_and_leave_an_array_alone():
    other = renewed(WHOLE, x=1.0, state=None)
    assert (other.x, other.state, other.mask is MASK) == (1.0, None, True)
    assert WHOLE.x is X
    assert renewed(X, state=(1.0,)) is X


def test_lift_has_the_form_of_its_first_argument():
    y = lift(jnp.add, WHOLE, X)
    np.testing.assert_array_equal(y.x, 2 * X)
    assert (y.mask is MASK, y.state is WHOLE.state, y.memory is MEMORY) == (True, True, True)
    np.testing.assert_array_equal(lift(jnp.add, X, WHOLE), 2 * X)
    np.testing.assert_array_equal(lift(lambda a, b, c: a + b - c, X, WHOLE, X), X)


def test_select_replaces_what_is_left_out_whatever_stands_there():
    broken = jnp.where(MASK[..., None], X, jnp.nan)
    found = select(MASK, {"x": broken, "n": jnp.ones((2, 5), int)})
    np.testing.assert_array_equal(found["x"], np.where(MASK[..., None], X, 0))
    np.testing.assert_array_equal(found["n"], np.asarray(MASK))
    assert select(None, broken) is broken


def test_cotangents_of_one_value_add_up_and_none_is_nothing():
    assert add(None, None) is None
    assert (add(X, None) is X, add(None, X) is X) == (True, True)
    np.testing.assert_array_equal(add(X, X), 2 * X)
    total = add(Sequence((X, X), MASK), Sequence((X, 2 * X), MASK))
    np.testing.assert_array_equal(total.x[1], 3 * X)
    assert total.mask is MASK


def test_over_positions_hands_the_steps_to_a_layer_that_knows_no_time():
    def f(d):
        return d.sum(), 2 * d

    result, dx = over_positions(f, X)
    np.testing.assert_array_equal(dx, 2 * X)
    lifted, dx = over_positions(f, WHOLE)
    assert lifted == result
    np.testing.assert_array_equal(dx.x, np.where(MASK[..., None], 2 * X, 0))
    assert (dx.mask is MASK, dx.state, dx.memory is MEMORY) == (True, None, True)
    _, dx = over_positions(lambda d: (0, None), WHOLE)
    assert dx.x is None


def test_states_are_nested_like_the_layers():
    cell = fnn.LSTM(3, 3)
    net = fnn.Serial(
        first=fnn.Residual(cell),
        stack=fnn.Repeat(4, cell),
        dense=fnn.Dense(3, 3),
        both=fnn.Bidirectional.of(fnn.GRU(3, 5)),
    )
    y, _ = jax.eval_shape(net.forward, net.init(KEY), Sequence(X))
    shapes = jax.tree.map(lambda a: a.shape, y.state)
    assert shapes == {
        "first": ((2, 3), (2, 3)),
        "stack": ((4, 2, 3), (4, 2, 3)),
        "both": {"ahead": ((2, 5),), "behind": ((2, 5),)},
    }


def test_zeros_like_the_state_that_comes_out_begin_any_net():
    net = fnn.Serial(fnn.Repeat(2, fnn.GRU(3, 3)), fnn.Dense(3, 4), fnn.LSTM(4, 2))
    params = net.init(KEY)
    state = jax.eval_shape(net.forward, params, Sequence(X))[0].state
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), state)
    y, _ = net.forward(params, Sequence(X, MASK, zeros))
    np.testing.assert_array_equal(y.x, net.forward(params, Sequence(X, MASK))[0].x)


@pytest.mark.slow
def test_a_long_sequence_in_parts_is_the_sequence_and_with_dstate_so_is_its_gradient():
    net = fnn.Serial(fnn.LSTM(3, 4), fnn.GRU(4, 2))
    params = net.init(KEY)
    whole, cache = net.forward(params, Sequence(X, MASK))
    first, first_cache = net.forward(params, Sequence(X[:, :2], MASK[:, :2]))
    rest = Sequence(X[:, 2:], MASK[:, 2:], first.state)
    second, second_cache = net.forward(params, rest)
    np.testing.assert_allclose(jnp.concatenate([first.x, second.x], 1), whole.x, rtol=1e-12)
    np.testing.assert_allclose(second.state[1][0], whole.state[1][0], rtol=1e-12)
    dy = noise(2, 5, 2, seed=2)
    grads, _ = net.backward(params, cache, Sequence(dy, MASK))
    late, dx = net.backward(params, second_cache, Sequence(dy[:, 2:], MASK[:, 2:]))
    early, _ = net.backward(params, first_cache, Sequence(dy[:, :2], MASK[:, :2], dx.state))
    for a, b, want in zip(*map(jax.tree.leaves, (early, late, grads)), strict=True):
        np.testing.assert_allclose(a + b, want, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (jnp.ones((2, 5)), TypeError, "must be an array of booleans, got float64"),
        ([[True] * 5] * 2, TypeError, "must be an array of booleans, got list"),
        (True, TypeError, "must be an array of booleans, got bool"),
        (MASK[:, :4], ValueError, r"must have shape \[B, T\], \[2, 5\] as x, got \[2, 4\]"),
        (MASK[0], ValueError, r"must have shape \[B, T\], \[2, 5\] as x, got \[5\]"),
        (MASK[..., None], ValueError, r"must have shape \[B, T\], .*got \[2, 5, 1\]"),
    ],
    ids=["numbers", "list", "flag", "length", "one sequence", "rank 3"],
)
def test_a_mask_that_does_not_fit_is_refused(mask, error, message):
    with pytest.raises(error, match="^Sequence: mask " + message):
        Sequence(X, mask)


def test_a_mask_of_what_is_no_batch_of_sequences_is_refused():
    with pytest.raises(ValueError, match=r"must have shape \[B, T\], \[5\] as x, got \[5\]"):
        Sequence(X[0, :, 0], MASK[0])


def test_numpy_is_taken():
    x = Sequence(np.asarray(X), np.asarray(MASK), (np.zeros((2, 4)),))
    layer = fnn.RNN(3, 4)
    y, _ = layer.forward(layer.init(KEY), x)
    np.testing.assert_array_equal(y.x, layer.forward(layer.init(KEY), Sequence(X, MASK))[0].x)
