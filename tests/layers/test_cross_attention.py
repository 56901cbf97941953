"""Tests of fnn.layers.cross_attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import EXACT, MASK, noise

import fnn
from fnn.layers.cross_attention import CrossAttention
from fnn.sequence import Sequence, value

KEY = jax.random.key(0)
LAYERS = [
    CrossAttention(6, 2, chunk=2),
    CrossAttention(8, 4, 7, n_kv_heads=2, bias=True),
    CrossAttention(6, 1, 5, chunk=None),
]
SEEN = jnp.array([[True, False, True, True, True, False, True], [True] * 7])


def plain(layer, params, x, z, mask=None, seen=None):
    """Every query with every key by one softmax."""
    x = x if mask is None else jnp.where(mask[..., None], x, 0)
    z = z if seen is None else jnp.where(seen[..., None], z, 0)
    d, groups = layer.n // layer.n_heads, layer.n_heads // layer.kv_heads
    q, k, v = x @ params.wq, z @ params.wk, z @ params.wv
    if layer.bias:
        q, k, v = q + params.bq, k + params.bk, v + params.bv
    outs = []
    for h in range(layer.n_heads):
        at, kv = slice(h * d, (h + 1) * d), slice(h // groups * d, (h // groups + 1) * d)
        u = q[..., at] @ k[..., kv].mT / d**0.5
        u = u if seen is None else jnp.where(seen[:, None], u, -jnp.inf)
        outs.append(jax.nn.softmax(u, -1) @ v[..., kv])
    y = jnp.concatenate(outs, -1) @ params.wo
    return y + params.bo if layer.bias else y


def drawn(layer):
    params = jax.tree.map(lambda p: p + noise(*p.shape, seed=3) / 9, layer.init(KEY))
    return (
        params,
        noise(2, 5, layer.n),
        noise(2, 7, layer.n_z, seed=2),
        noise(2, 5, layer.n, seed=4),
    )


@pytest.mark.slow
@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_values_and_gradients_are_those_of_the_textbook(layer, masked):
    params, x, z, dy = drawn(layer)
    masks = (MASK, SEEN) if masked else (None, None)
    memory = Sequence(z, SEEN) if masked else z
    y, cache = layer.forward(params, Sequence(x, masks[0], memory=memory))
    want, vjp = jax.vjp(lambda *a: plain(layer, *a, *masks), params, x, z)
    np.testing.assert_allclose(y.x, want, **EXACT)
    assert y.memory is memory
    grads, dx = layer.backward(params, cache, Sequence(dy, masks[0]))
    assert type(dx.memory) is type(memory)
    for a, b in zip(
        jax.tree.leaves((grads, dx.x, value(dx.memory))), jax.tree.leaves(vjp(dy)), strict=True
    ):
        np.testing.assert_allclose(a, b, **EXACT)


def test_what_the_masks_leave_out_may_be_nan():
    layer = LAYERS[0]
    params, x, z, dy = drawn(layer)

    def both(x, z):
        y, cache = layer.forward(params, Sequence(x, MASK, memory=Sequence(z, SEEN)))
        return y.x[MASK], layer.backward(params, cache, Sequence(dy, MASK))

    broken = (jnp.where(m[..., None], a, jnp.nan) for m, a in ((MASK, x), (SEEN, z)))
    for a, b in zip(jax.tree.leaves(both(*broken)), jax.tree.leaves(both(x, z)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_who_sees_nothing_of_the_memory_says_nothing():
    layer = LAYERS[0]
    params, x, z, dy = drawn(layer)
    nothing = Sequence(z, jnp.zeros((2, 7), bool))
    y, cache = layer.forward(params, Sequence(x, memory=nothing))
    grads, dx = layer.backward(params, cache, Sequence(dy))
    np.testing.assert_array_equal(y.x, 0)
    assert all((g == 0).all() for g in jax.tree.leaves((grads.wq, grads.wk, dx.x, dx.memory.x)))


@pytest.mark.slow
def test_every_layer_that_looks_adds_to_the_memorys_cotangent():
    net = fnn.Serial(CrossAttention(6, 2), fnn.Tanh(), CrossAttention(6, 3))
    params, (_, x, z, _) = net.init(KEY), drawn(LAYERS[0])

    def loss(z):
        y, _ = net.forward(params, Sequence(x, memory=z))
        return (y.x**2).sum() / 2

    y, cache = net.forward(params, Sequence(x, memory=z))
    _, dx = net.backward(params, cache, y.with_fields(memory=None))
    np.testing.assert_allclose(dx.memory, jax.grad(loss)(z), **EXACT)


def test_the_memorys_rows_in_another_order_say_the_same():
    layer = LAYERS[0]
    params, x, z, _ = drawn(layer)
    order = jnp.array([3, 0, 6, 1, 5, 2, 4])
    y, _ = layer.forward(params, Sequence(x, memory=z))
    other, _ = layer.forward(params, Sequence(x, memory=z[:, order]))
    np.testing.assert_allclose(other.x, y.x, **EXACT)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (noise(2, 5, 6), TypeError, r"x must be a Sequence with memory: Sequence\(x, memory=z\)"),
        (Sequence(noise(2, 5, 6)), TypeError, "x must be a Sequence with memory"),
        (Sequence(noise(2, 5, 6), memory=noise(2, 7, 5)), ValueError, r"x\.memory .* 6"),
        (Sequence(noise(2, 5, 6), memory=noise(3, 7, 6)), ValueError, "the 2 examples of x, got 3"),
        (Sequence(noise(2, 5, 6), None, (1.0,), noise(2, 7, 6)), TypeError, "has no state"),
    ],
)
def test_errors(x, error, message):
    layer = LAYERS[0]
    with pytest.raises(error, match=message):
        layer.forward(layer.init(KEY), x)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="n_memory must be at least 1, or None"):
        CrossAttention(6, 2, 0)
    with pytest.raises(ValueError, match="n_heads must divide n"):
        CrossAttention(6, 4)
