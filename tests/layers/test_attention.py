"""Tests of fnn.layers.attention."""

import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, check_layer, check_sequence, noise, once

from fnn.layers.attention import Attention, AttentionParams
from fnn.sequence import Sequence

KEY = jax.random.key(0)
CASES = [
    pytest.param(Attention(6, 2, chunk=2), marks=pytest.mark.slow),
    Attention(4, 4, causal=False, n_kv_heads=2, chunk=None, bias=True),
    pytest.param(Attention(8, 2, n_kv_heads=1, chunk=3, rotary=100.0), marks=pytest.mark.slow),
    Attention(8, 2, n_kv_heads=1, rotary=30.0),  # whose softmax saturates far out
    pytest.param(Attention(6, 2, chunk=2, window=3, bias=True), marks=pytest.mark.long),
    pytest.param(
        Attention(12, 4, causal=False, n_kv_heads=2, chunk=3, distances=3, alibi=True),
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize("layer", CASES, ids=str)
def test_contract(layer):
    check_layer(layer, noise(2, 5, layer.n))


@pytest.mark.parametrize("layer", CASES, ids=str)
def test_contract_of_sequences(layer):
    check_sequence(layer, Sequence(noise(2, 5, layer.n), MASK), steps=False)


def kv(layer, capacity):
    """A state in which two steps of the first row count, three of the other."""
    shape = 2, layer.kv_heads, capacity, layer.n // layer.n_heads
    keys = jnp.arange(capacity) >= jnp.array([capacity - 2, capacity - 3])[:, None]
    return noise(*shape, seed=5), noise(*shape, seed=6), keys


CARRYING = [
    Attention(8, 4, n_kv_heads=2, chunk=2, rotary=30.0),
    pytest.param(Attention(6, 2, chunk=3, window=4, bias=True), marks=pytest.mark.slow),
    pytest.param(Attention(6, 3, distances=3, alibi=True), marks=pytest.mark.slow),
]


@pytest.mark.parametrize("layer", CARRYING, ids=str)
def test_contract_of_states(layer):
    check_sequence(layer, Sequence(noise(2, 5, layer.n), MASK, kv(layer, 9)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chunk", "fields"),
    [
        (2, {"rotary": 9.0}),
        pytest.param(None, {"rotary": 9.0}, marks=pytest.mark.slow),
        pytest.param(2, {"window": 3}, marks=pytest.mark.slow),
        (None, {"alibi": True, "distances": 2, "n_kv_heads": 1}),
    ],
    ids=str,
)
def test_part_by_part_is_the_whole_with_the_gradients_of_all_parts(fields, chunk):
    layer = Attention(12, 2, chunk=chunk, **fields)
    params = jax.tree.map(lambda p: p + noise(*p.shape, seed=3) / 9, layer.init(KEY))
    x, dy = noise(2, 7, 12), noise(2, 7, 12, seed=2)
    want, cache = layer.forward(params, x)
    want_grads, want_dx = layer.backward(params, cache, dy)
    state, caches, y = layer.zero_state(params, 2, 7), [], []
    parts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    for at in parts:
        out, cache = layer.forward(params, Sequence(x[:, at], state=state))
        state, caches, y = out.state, [*caches, cache], [*y, out.x]
    np.testing.assert_allclose(jnp.concatenate(y, 1), want, rtol=1e-10, atol=1e-12)
    dstate, grads, dx = None, jax.tree.map(jnp.zeros_like, params), []
    for at, cache in zip(parts[::-1], caches[::-1], strict=True):
        more, d = layer.backward(params, cache, Sequence(dy[:, at], state=dstate))
        grads, dx, dstate = jax.tree.map(jnp.add, grads, more), [d.x, *dx], d.state
    chex.assert_trees_all_close(grads, want_grads, **EXACT)
    np.testing.assert_allclose(jnp.concatenate(dx, 1), want_dx, **EXACT)


def test_what_is_older_than_the_capacity_is_forgotten():
    layer = Attention(6, 2, chunk=2)
    params, x = layer.init(KEY), noise(2, 7, 6)
    start = layer.zero_state(params, 2, 3)
    state = layer.forward(params, Sequence(x[:, :5], state=start))[0].state
    y, _ = layer.forward(params, Sequence(x[:, 5:], state=state))
    near = layer.forward(params, x[:, 2:])[0][:, 3:]
    np.testing.assert_allclose(y.x[:, 0], near[:, 0], rtol=1e-10)
    again = layer.forward(params, Sequence(x[:, 2:5], state=start))[0].state
    chex.assert_trees_all_close(state, again, **EXACT)


def test_a_window_remembers_what_it_sees():
    layer = Attention(6, 2, window=4)
    assert layer.zero_state(layer.init(KEY), 2, 9)[0].shape == (2, 2, 3, 3)


def test_a_state_of_another_dtype_comes_out_as_it_came():
    layer = Attention(6, 2)
    params = jax.tree.map(jnp.float32, layer.init(KEY))
    state = layer.zero_state(layer.init(KEY), 2, 3)
    y, cache = layer.forward(params, Sequence(jnp.float32(noise(2, 5, 6)), state=state))
    _, dx = layer.backward(params, cache, y.with_fields(state=(*y.state[:2], None)))
    chex.assert_trees_all_equal_shapes_and_dtypes(y.state, state)
    chex.assert_trees_all_equal_shapes_and_dtypes(dx.state, (*state[:2], None))


def affine(x, w, b):
    return x @ w if b is None else x @ w + b


def distance_scores(layer, params, h, delta):
    """What is added to the scores of head h, entry by entry."""
    a = jnp.zeros(delta.shape)
    if layer.distances is not None:
        n = layer.distances
        a = params.r[h][np.clip(delta, 1 - n, n - 1) + n - 1]
    if layer.alibi:
        a = a - abs(delta) * 2.0 ** (-8 * (h + 1) / layer.n_heads)
    return a


def plain(layer, params, x, mask=None, pairs=None):
    """The textbook: softmax of all products, head by head, of x that is 0 where it is masked."""
    x = x if mask is None else jnp.where(mask[..., None], x, 0)
    _batch, length, n = x.shape
    d, groups = n // layer.n_heads, layer.n_heads // layer.kv_heads
    q, k, v = (affine(x, params[i], params[i + 4]) for i in range(3))
    delta = np.arange(length)[:, None] - np.arange(length)
    outs = []
    for h in range(layer.n_heads):
        at, kv = slice(h * d, (h + 1) * d), slice(h // groups * d, (h // groups + 1) * d)
        u = q[..., at] @ k[..., kv].mT / math.sqrt(d) + distance_scores(layer, params, h, delta)
        if layer.causal:
            u = jnp.where(delta >= 0, u, -jnp.inf)
        if layer.window is not None:
            u = jnp.where(abs(delta) < layer.window, u, -jnp.inf)
        if mask is not None:
            u = jnp.where(mask[:, None], u, -jnp.inf)
        if pairs is not None:
            u = jnp.where(pairs, u, -jnp.inf)
        outs.append(jax.nn.softmax(u, -1) @ v[..., kv])
    return affine(jnp.concatenate(outs, -1), params.wo, params.bo)


@pytest.mark.slow
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, None])
@pytest.mark.parametrize("kv", [1, 2, 4])
def test_chunks_and_shared_heads_have_the_values_and_gradients_of_the_textbook(causal, chunk, kv):
    layer = Attention(12, 4, causal, kv, chunk)
    params, x, dy = layer.init(KEY), noise(2, 5, 12), noise(2, 5, 12, seed=2)
    mask = jnp.array([[True, True, True, False, True], [True, True, True, True, False]])
    y, cache = layer.forward(params, Sequence(x, mask))
    want, vjp = jax.vjp(lambda p, x: plain(layer, p, x, mask), params, x)
    np.testing.assert_allclose(y.x, want, rtol=1e-10, atol=1e-12)
    grads, dx = layer.backward(params, cache, Sequence(dy, mask))
    for a, b in zip(jax.tree.leaves((grads, dx.x)), jax.tree.leaves(vjp(dy)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


SIGHTS = [
    {"window": 2},
    {"window": 2, "causal": False},
    {"window": 1, "alibi": True},
    {"bias": True, "alibi": True},
    {"distances": 3, "n_kv_heads": 2},
    {"distances": 9, "causal": False, "alibi": True, "window": 4},
]


@pytest.mark.parametrize(("chunk", "paired"), [(2, True), (None, False)])
@pytest.mark.parametrize("fields", SIGHTS, ids=str)
def test_windows_distances_biases_and_pairs_are_those_of_the_textbook(fields, chunk, paired):
    layer = Attention(12, 4, chunk=chunk, **fields)
    params = jax.tree.map(lambda p: p + noise(*p.shape, seed=3) / 9, layer.init(KEY))
    x, dy = noise(2, 5, 12), noise(2, 5, 12, seed=2)
    pairs = (noise(2, 5, 5, seed=4) > -1) | jnp.eye(5, dtype=bool) if paired else None

    def both(params, x):
        y, cache = layer.forward(params, Sequence(x, pairs=pairs))
        want, vjp = jax.vjp(lambda p, x: plain(layer, p, x, pairs=pairs), params, x)
        grads, dx = layer.backward(params, cache, Sequence(dy))
        return (y.x, grads, dx.x), (want, *vjp(dy))

    chex.assert_trees_all_close(*once(both, params, x), **EXACT)


def test_what_pairs_leave_out_may_be_nan():
    layer, pairs = Attention(6, 2, causal=False, chunk=2), jnp.eye(5, dtype=bool)[None]
    params, x = layer.init(KEY), noise(1, 5, 6).at[:, 3].set(jnp.nan)
    y, _ = layer.forward(params, Sequence(x, pairs=pairs))
    assert np.isnan(y.x).any(-1).tolist() == [[False, False, False, True, False]]


@pytest.mark.slow
def test_a_window_costs_what_it_sees():
    def memory(length):
        layer = Attention(8, 2, chunk=32, window=32)

        def both(params, x):
            y, cache = layer.forward(params, x)
            return layer.backward(params, cache, y)

        shapes = jax.eval_shape(layer.init, KEY), jnp.zeros((1, length, 8))
        return jax.jit(both).lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert memory(1024) < 5 * memory(256)


def test_by_hand():
    layer = Attention(1, 1)
    params = AttentionParams(*(jnp.array([[w]]) for w in (1.0, 2.0, 3.0, 4.0)))
    y, _ = layer.forward(params, jnp.array([[[0.5], [1.0]]]))
    p = np.exp([1.0, 2.0])
    np.testing.assert_allclose(y[0, :, 0], [6, 4 * (p @ [1.5, 3]) / p.sum()], rtol=1e-12)


def test_no_position_sees_a_later_one():
    layer = Attention(6, 2, chunk=2)
    params, x = layer.init(KEY), noise(1, 5, 6)
    y, _ = layer.forward(params, x)
    other, _ = layer.forward(params, x.at[:, 3:].set(100))
    np.testing.assert_allclose(other[:, :3], y[:, :3], rtol=1e-12)


def test_without_positions_a_permutation_permutes_the_answers():
    layer = Attention(6, 2, causal=False)
    params, x, order = layer.init(KEY), noise(1, 5, 6), jnp.array([3, 1, 4, 0, 2])
    y, _ = layer.forward(params, x)
    np.testing.assert_allclose(layer.forward(params, x[:, order])[0], y[:, order], rtol=1e-10)


@pytest.mark.parametrize("chunk", [2, None])
def test_a_position_that_sees_nothing_says_nothing_and_is_not_nan(chunk):
    layer = Attention(6, 2, chunk=chunk)
    params, x = layer.init(KEY), noise(2, 5, 6)
    mask = jnp.array([[False] * 5, [False, True, True, True, True]])

    def both(params, x):
        y, cache = layer.forward(params, Sequence(x, mask))
        return y, *layer.backward(params, cache, Sequence(jnp.ones_like(x), mask))

    y, grads, dx = once(both, params, x)
    np.testing.assert_array_equal(y.x[0], 0)
    np.testing.assert_array_equal(y.x[1, 0], 0)
    np.testing.assert_array_equal(dx.x[0], 0)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_hessian_vector_products_and_vmap_go_through():
    layer = Attention(6, 2, chunk=2)
    params, x = layer.init(KEY), noise(3, 2, 5, 6)

    def gradient(params, x):
        y, cache = layer.forward(params, x)
        return layer.backward(params, cache, jnp.cos(y))[0]

    def reference(params, x):
        return jax.grad(lambda p: jnp.sin(plain(layer, p, x)).sum())(params)

    def both(f):
        product = jax.jvp(lambda p: f(p, x[0]), (params,), (params,))[1]
        return jax.tree.leaves((product, jax.vmap(lambda x: f(params, x))(x)))

    for a, b in zip(both(gradient), both(reference), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)


def test_with_rotary_positions_only_distances_count():
    layer = Attention(8, 2, causal=False, rotary=100.0)
    params, x = layer.init(KEY), jnp.tile(noise(1, 1, 8), (1, 7, 1))
    x = x.at[:, 2].add(noise(8, seed=3)).at[:, 3].add(noise(8, seed=4))
    mask = jnp.arange(7)[None] < 5
    y, _ = layer.forward(params, Sequence(x, mask))
    later, _ = layer.forward(params, Sequence(jnp.roll(x, 2, 1), jnp.roll(mask, 2, 1)))
    np.testing.assert_allclose(later.x[:, 2:], y.x[:, :-2], rtol=1e-10)
    assert not np.allclose(y.x[:, 0], y.x[:, 1])  # equal x at other distances


@pytest.mark.parametrize("chunk", [2, None])
def test_an_empty_sequence_has_an_empty_answer_and_no_gradient(chunk):
    layer = Attention(6, 2, chunk=chunk)
    params, x = layer.init(KEY), jnp.zeros((2, 0, 6))
    y, cache = layer.forward(params, x)
    grads, dx = layer.backward(params, cache, y)
    assert y.shape == dx.shape == (2, 0, 6)
    assert all((np.asarray(g) == 0).all() for g in jax.tree.leaves(grads))


def test_large_scores_do_not_overflow():
    layer = Attention(4, 1)
    params = AttentionParams(*(1e3 * jnp.eye(4) for _ in range(4)))
    y, cache = layer.forward(params, noise(1, 5, 4))
    grads, _ = layer.backward(params, cache, jnp.ones_like(y))
    assert all(np.isfinite(g).all() for g in jax.tree.leaves((y, grads)))


def test_errors():
    with pytest.raises(ValueError, match="n_heads must divide n, got 4 and 6"):
        Attention(6, 4)
    with pytest.raises(ValueError, match="n_kv_heads must divide n_heads, got 2 and 3"):
        Attention(6, 3, n_kv_heads=2)
    with pytest.raises(ValueError, match="chunk must be at least 1, or None"):
        Attention(6, 3, chunk=0)
    for wrong in (Attention, 6, 2, 1.0), (Attention, 6, 2, 100.0):
        with pytest.raises(ValueError, match="rotary must be above 1, and n / n_heads even"):
            wrong[0](*wrong[1:3], rotary=wrong[3])
    layer = Attention(6, 2)
    params = layer.init(KEY)
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, 6\], got \[5, 6\]"):
        layer.forward(params, noise(5, 6))
    x, state = noise(2, 5, 6), layer.zero_state(params, 2, 4)
    for wrong, error, message in [
        (state[:2], TypeError, r"state must be a tuple \(k, v, keys\), got"),
        ((*state[:2], state[0]), TypeError, "state keys must be an array of booleans"),
        ((*state[:2], state[2][:, :3]), ValueError, r"state keys must have shape \[2, 4\]"),
        (
            (state[0][:, :1], *state[1:]),
            ValueError,
            r"k must have shape \[2, 2, 4, 3\], got \[2, 1",
        ),
        (
            (state[0], state[1][:, :, 1:], state[2]),
            ValueError,
            r"state v must have shape \[2, 2, 4",
        ),
    ]:
        with pytest.raises(error, match=message):
            layer.forward(params, Sequence(x, state=wrong))
    with pytest.raises(ValueError, match="zero_state needs a capacity, the steps to remember"):
        layer.zero_state(params, 2)
    both = Attention(6, 2, causal=False)
    with pytest.raises(TypeError, match=r"x\.state must be None: it sees later steps"):
        both.forward(params, Sequence(x, state=state))
    with pytest.raises(ValueError, match="no state to begin with: it sees later steps"):
        both.zero_state(params, 2, 4)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("chunk", [2, None])
def test_a_value_that_is_not_finite_reaches_who_may_see_it_alone(chunk, causal):
    layer = Attention(4, 2, causal=causal, chunk=chunk)
    params, x, mask = layer.init(KEY), noise(2, 7, 4), jnp.arange(7) != 4

    def both(params, x):
        y, cache = layer.forward(params, Sequence(x, jnp.stack([mask, mask])))
        return y, *layer.backward(params, cache, Sequence(noise(2, 7, 4)))

    made = once(both, params, x.at[0, 4].set(jnp.nan))  # nobody sees it
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(made) if a.dtype != bool)

    bad = params._replace(wk=jnp.zeros_like(params.wk))  # keys say nothing of it: v alone does
    y, _ = once(layer.forward, bad, x.at[0, 4, 0].set(1e308).at[0, 4, 1].set(-1e308) * 10)
    seen = np.arange(7) >= 4 if causal else np.ones(7, bool)
    np.testing.assert_array_equal(np.isnan(y[0]).any(-1), seen)
    assert np.isfinite(y[1]).all()
