"""Tests of fnn.layers.encoder_decoder."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, QUICK, Look, moved, noise, states

import fnn
from fnn.layers.cross_attention import CrossAttention
from fnn.layers.dense import Dense
from fnn.layers.encoder_decoder import EncoderDecoder
from fnn.layers.lstm import LSTM
from fnn.layers.repeat import Repeat
from fnn.layers.scale import Scale
from fnn.layers.serial import Serial
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence, renewed, select, value

KEY = jax.random.key(0)
SEEN = jnp.array([[True, False, True, True, True, False, True], [True] * 6 + [False]])
BLOCK = fnn.transformer_block(6, 2, n_memory=4)
NET = EncoderDecoder(
    Serial(Dense(3, 4), Repeat(2, fnn.transformer_block(4, 2, causal=False))),
    Serial(Dense(5, 6), Repeat(2, BLOCK), Dense(6, 8)),
)


def drawn(net, x, source, *, masked=True):
    """Params, a Sequence with its source, and a dy."""
    x = Sequence(x, MASK, memory=Sequence(source, SEEN)) if masked else Sequence(x, memory=source)
    y = jax.eval_shape(lambda: net.forward(net.init(KEY), x)[0])
    return moved(net.init(KEY)), x, noise(*y.x.shape, seed=4)


def of_jax(params, x, dy):
    """y, and the cotangents of params, x and source by jax.vjp."""

    def f(params, a, z):
        z = renewed(x.memory, x=z) if isinstance(x.memory, Sequence) else z
        return NET.forward(params, x.with_fields(x=a, memory=z))[0].x

    y, vjp = jax.vjp(f, params, x.x, value(x.memory))
    return y, vjp(dy)


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_those_of_jax_with_and_without_masks(masked):
    params, x, dy = drawn(NET, noise(2, 5, 5), noise(2, 7, 3, seed=2), masked=masked)

    def ours(params, x, dy):
        y, cache = NET.forward(params, x)
        grads, dx = NET.backward(params, cache, Sequence(dy, x.mask))
        return y, grads, dx

    y, grads, dx = jax.jit(ours, compiler_options=QUICK)(params, x, dy)
    want = jax.jit(of_jax, compiler_options=QUICK)(params, x, dy)
    assert type(dx.memory) is type(x.memory)
    chex.assert_trees_all_close((y.x, (grads, dx.x, value(dx.memory))), want, **EXACT)
    chex.assert_trees_all_equal(renewed(y, x=x.x, state=None), x)  # mask and source as they came
    if masked:
        chex.assert_trees_all_equal((dx.mask, dx.memory.mask), (MASK, SEEN))


@pytest.mark.slow
def test_what_the_masks_leave_out_may_be_nan_on_both_sides():
    params, x, dy = drawn(NET, noise(2, 5, 5), noise(2, 7, 3, seed=2))
    dy = Sequence(select(MASK, dy), MASK)

    @jax.jit
    def run(x):
        y, cache = NET.forward(params, x)
        return select(MASK, y.x), NET.backward(params, cache, dy)

    broken = Sequence(
        jnp.where(MASK[..., None], x.x, jnp.nan), MASK,
        memory=Sequence(jnp.where(SEEN[..., None], x.memory.x, jnp.nan), SEEN),
    )  # fmt: skip
    chex.assert_trees_all_equal(run(broken), run(x))
    _, (_, dx) = run(x)
    assert not np.any(dx.x[~MASK])
    assert not np.any(dx.memory.x[~SEEN])


def test_by_hand():
    net = EncoderDecoder(Scale(2.0), Serial(Scale(3.0), Look()))
    x = Sequence(jnp.array([[[5.0], [7.0]]]), memory=jnp.array([[11.0]]))
    y, cache = net.forward({}, x)
    np.testing.assert_array_equal(y.x.ravel(), [5 * 3 * 22, 7 * 3 * 22])
    np.testing.assert_array_equal(y.memory, [[11]])
    dy = y.with_fields(x=jnp.array([[[1.0], [10.0]]]), memory=None)
    _, dx = net.backward({}, cache, dy)
    np.testing.assert_array_equal(dx.x.ravel(), [3 * 22, 10 * 3 * 22])
    np.testing.assert_array_equal(dx.memory, [[2 * (15 + 10 * 21)]])
    _, more = net.backward({}, cache, dy.with_fields(memory=jnp.array([[0.5]])))
    np.testing.assert_array_equal(more.memory, dx.memory + 0.5)  # of who looks at the source later


def test_a_decoder_that_does_not_look_leaves_the_encoder_without_a_gradient():
    net = EncoderDecoder(Dense(3, 4), Dense(5, 2))
    params, x, dy = drawn(net, noise(2, 5, 5), noise(2, 7, 3, seed=2))
    _, cache = net.forward(params, x)
    grads, dx = net.backward(params, cache, Sequence(dy, MASK))
    assert not np.any(dx.memory.x)
    chex.assert_trees_all_equal(grads["encoder"], jax.tree.map(jnp.zeros_like, params["encoder"]))
    np.testing.assert_array_equal(dx.memory.mask, SEEN)


@pytest.mark.slow
def test_states_of_both_come_out_by_their_names_and_go_in_again():
    net = EncoderDecoder(LSTM(3, 4), Serial(LSTM(5, 6), CrossAttention(6, 2, 4)))
    params, x, dy = drawn(net, noise(2, 5, 5), noise(2, 7, 3, seed=2))
    state = {"encoder": states(4, 4), "decoder": (states(6, 6, seed=7), ())}
    given = x.with_fields(state=state)
    y, cache = net.forward(params, given)
    chex.assert_trees_all_equal_shapes(y.state, state)

    def f(params, a, z, state):
        z = renewed(x.memory, x=z)
        y, _ = net.forward(params, x.with_fields(x=a, state=state, memory=z))
        return y.x, y.state

    arrays = params, x.x, x.memory.x, state
    dstate = jax.tree.map(lambda s: noise(*s.shape, seed=9), y.state)
    grads, dx = net.backward(params, cache, Sequence(dy, MASK, dstate))
    want = jax.vjp(f, *arrays)[1]((dy, dstate))
    chex.assert_trees_all_close((grads, dx.x, dx.memory.x, dx.state), want, **EXACT)


@pytest.mark.slow
def test_a_source_that_is_a_memory_with_a_memory_gets_both_cotangents():
    net = EncoderDecoder(Look(), CrossAttention(6, 2, 4))
    params, x, z, m = net.init(KEY), noise(2, 5, 6), noise(2, 7, 4, seed=2), noise(2, 4, seed=3)

    def f(x, z, m):
        return net.forward(params, Sequence(x, memory=Sequence(z, memory=m)))[0].x

    y, vjp = jax.vjp(f, x, z, m)
    _, cache = net.forward(params, Sequence(x, memory=Sequence(z, memory=m)))
    _, dx = net.backward(params, cache, Sequence(y))
    chex.assert_trees_all_close((dx.x, dx.memory.x, dx.memory.memory), vjp(y), **EXACT)


@fnn.rule(companion=True)
def scaled(layer, params, cache, dy, own):
    grads, dx = layer.backward(params, cache, dy)
    return jax.tree.map(jnp.multiply, grads, own), dx


@pytest.mark.slow
def test_rules_and_companions_go_through_and_norms_are_those_of_each_example_alone():
    target = noise(2, 5, 8, seed=6)
    params, x, _ = drawn(NET, noise(2, 5, 5), noise(2, 7, 3, seed=2))
    rules = (fnn.rules.backprop, example_norms, scaled.given(params))
    run = jax.jit(fnn.fold, compiler_options=QUICK)
    grads, norms, found = run(NET, fnn.SquaredError(), params, x, target, rule=rules).result
    chex.assert_trees_all_close(found, jax.tree.map(jnp.multiply, grads, params), **EXACT)
    for b in range(2):
        rows = jax.tree.map(lambda a, b=b: a[b : b + 1], (x, target))
        alone = run(NET, fnn.SquaredError(), params, *rows).result
        want = sum((g**2).sum() for g in jax.tree.leaves(alone))
        np.testing.assert_allclose(fnn.rules.total(norms)[b], want, rtol=1e-10)


def test_errors():
    message = "^EncoderDecoder: x must be a Sequence with the source as its memory: Sequence\\(x, m"
    for x in (noise(2, 5, 5), Sequence(noise(2, 5, 5))):
        with pytest.raises(TypeError, match=message):
            NET.forward(NET.init(KEY), x)
    with pytest.raises(ValueError, match=r"^layer encoder\.0, Dense\(.*x must have shape"):
        NET.forward(NET.init(KEY), Sequence(noise(2, 5, 5), memory=noise(2, 7, 4)))
    with pytest.raises(TypeError, match="^EncoderDecoder: decoder takes layers, got None"):
        EncoderDecoder(Dense(3, 4), None)
