"""Tests of fnn.layers.linear_attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import check_layer, check_sequence, noise, some

import fnn
from fnn.layers.linear_attention import LinearAttention, LinearAttentionParams
from fnn.rules.per_example import example_norms
from fnn.sequence import Sequence

KEY = jax.random.key(0)
LAYER = LinearAttention(12, 3, 6)
CASES = [
    LAYER,
    LinearAttention(12, 3, 2, norm=False, bias=True),
    LinearAttention(12, 1, 99, bias=True),
    LinearAttention(12, 3, 6, delta=True, bias=True),
]


@pytest.mark.parametrize("layer", some(CASES, 3), ids=str)
def test_contract(layer):
    check_layer(layer, noise(2, 29, 12))


@pytest.mark.parametrize(
    "length", [29, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 1, 6))]
)
@pytest.mark.parametrize(
    "layer",
    [LAYER, pytest.param(CASES[1], marks=pytest.mark.slow), LinearAttention(12, 3, 6, delta=True)],
    ids=str,
)
def test_contract_of_sequences(layer, length):
    mask = jnp.asarray(np.random.default_rng(0).random((2, length)) < 0.7)
    state = (noise(2, *layer.state_shape, seed=3),)
    check_sequence(layer, Sequence(noise(2, length, 12), mask, state))


def test_by_hand():
    layer = LinearAttention(1, 1, norm=False)
    weights = (jnp.array([[w]]) for w in (1.0, 2.0, 3.0, 4.0, 0.0))
    params = LinearAttentionParams(*weights, ba=jnp.zeros(1))
    y, _ = layer.forward(params, Sequence(jnp.array([[[1.0], [-1.0], [2.0]]])))
    # a = ½; k v = 6 x²: S = 6, ½·6 + 6 = 9, ½·9 + 24 = 28.5; y = 4 x S
    np.testing.assert_allclose(y.x[0, :, 0], [4 * 6, -4 * 9, 8 * 28.5], rtol=1e-14)
    np.testing.assert_allclose(y.state[0], [[[[28.5]]]], rtol=1e-14)
    lifted, _ = LinearAttention(1, 1).forward(params, jnp.array([[[1.0], [-1.0], [2.0]]]))
    np.testing.assert_allclose(lifted[0, :, 0], [4, -4, 4], rtol=1e-6)  # o of one feature: its sign


def parts(layer, params, x):
    """q, k and v of every head, [B, n_heads, T, d]."""
    split = (x @ params[i] for i in range(3))
    return [a.reshape(*a.shape[:2], layer.n_heads, -1).swapaxes(1, 2) for a in split]


def merged(o, params):
    """y of the o of all heads."""
    o = o.swapaxes(1, 2)
    return o.reshape(*o.shape[:2], -1) @ params.wo


def test_without_a_decay_it_is_attention_without_a_softmax():
    layer = LinearAttention(12, 3, 3, norm=False)
    params, x = layer.init(KEY)._replace(ba=jnp.full(3, 99.0)), noise(2, 7, 12)
    q, k, v = parts(layer, params, x)
    want = merged((np.tri(7) * (q @ k.mT) / 2) @ v, params)
    np.testing.assert_allclose(layer.forward(params, x)[0], want, rtol=1e-10, atol=1e-13)


def test_with_a_decay_that_never_changes_it_is_retention():
    """RetNet's eq. 5, D[t,s] = γ^(t−s), with the γ of its section 2.2."""
    layer = LinearAttention(12, 3, 3, norm=False)
    params, x = layer.init(KEY), noise(2, 7, 12)
    params = params._replace(wa=jnp.zeros((12, 3)))
    gamma = np.array([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128])[:, None, None]
    q, k, v = parts(layer, params, x)
    decay = np.tri(7) * gamma ** abs(np.arange(7)[:, None] - np.arange(7))
    want = merged((decay * (q @ k.mT) / 2) @ v, params)
    np.testing.assert_allclose(layer.forward(params, x)[0], want, rtol=1e-10)


def test_the_delta_rule_by_hand():
    layer = LinearAttention(1, 1, delta=True, norm=False)
    params = layer.init(KEY)._replace(ba=jnp.zeros(1), wa=jnp.zeros((1, 1)), wb=jnp.zeros((1, 1)))
    params = params._replace(**{name: jnp.ones((1, 1)) for name in ("wq", "wk", "wv", "wo")})
    y, _ = layer.forward(params, Sequence(jnp.array([[[4.0], [8.0]]])))
    # a = β = ½ and q = k = 1: S = ½·4 = 2, ½·2 + ½ (8 − ½·2) = 4.5
    np.testing.assert_allclose(y.x[0, :, 0], [2, 4.5], rtol=1e-6)


@pytest.mark.slow
def test_with_the_delta_rule_the_size_of_q_and_k_is_no_matter():
    layer, x = LinearAttention(12, 3, 6, delta=True, norm=False), 9 * noise(2, 7, 12)
    params = layer.init(KEY)
    y, _ = layer.forward(params, x)
    larger = params._replace(wq=100 * params.wq, wk=params.wk * 7)
    np.testing.assert_allclose(layer.forward(larger, x)[0], y, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_with_a_norm_the_size_of_q_and_k_is_no_matter():
    params, x = LAYER.init(KEY), 9 * noise(2, 7, 12)
    y, _ = LAYER.forward(params, x)
    larger = params._replace(wq=100 * params.wq, wk=params.wk * 7)
    np.testing.assert_allclose(LAYER.forward(larger, x)[0], y, rtol=1e-4, atol=1e-5)


BLOCK = fnn.TransformerBlock(
    fnn.RMSNorm(6), LinearAttention(6, 2, 4), fnn.RMSNorm(6), fnn.GLU(6, 5)
)
MODEL = fnn.Serial(embed=fnn.Embedding(7, 6), blocks=fnn.Repeat(3, BLOCK), head=fnn.Dense(6, 7))


@pytest.mark.slow
def test_part_by_part_and_step_by_step_a_language_model_says_the_same():
    net = MODEL
    params, tokens = net.init(KEY), jax.random.randint(KEY, (2, 9), 0, 7)
    net, params = fnn.inference(net, params)
    run = jax.jit(lambda x, state: net.forward(params, Sequence(x, state=state))[0])
    whole = run(tokens, None)
    for sizes in ((4, 5), (1,) * 9):
        state, said = None, []
        for end, size in zip(np.cumsum(sizes), sizes, strict=True):
            y = run(tokens[:, end - size : end], state)
            state, said = y.state, [*said, y.x]
        np.testing.assert_allclose(jnp.concatenate(said, 1), whole.x, rtol=1e-5, atol=1e-6)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-5, 1e-6), state, whole.state)
    assert whole.state["blocks"]["attention"][0].shape == (3, 2, 2, 3, 3)


@pytest.mark.slow
def test_a_language_model_writes_what_is_likeliest():
    params, prompt = MODEL.init(KEY), jax.random.randint(KEY, (2, 5), 0, 7, "int32")
    tokens = fnn.generate(MODEL, params, prompt, 4, temperature=0)
    z, _ = MODEL.forward(params, jnp.concatenate([prompt, tokens], 1))
    np.testing.assert_array_equal(tokens, z[:, 4:-1].argmax(-1))


def test_the_state_is_single_precision_beside_half_precision_and_comes_out_as_it_went_in():
    params, x = fnn.numerics.cast((LAYER.init(KEY), noise(2, 7, 12)), "bfloat16")
    assert LAYER.zero_state(params, 2)[0].dtype == "float32"
    for state, dtype in ((None, "float32"), ((jnp.ones((2, 3, 4, 4), "bfloat16"),), "bfloat16")):
        y, cache = jax.eval_shape(LAYER.forward, params, Sequence(x, state=state))
        assert (y.x.dtype, y.state[0].dtype) == ("bfloat16", dtype)
        _, dx = jax.eval_shape(LAYER.backward, params, cache, y)
        assert dx.state is None if state is None else dx.state[0].dtype == dtype


@pytest.mark.slow
def test_time_and_memory_grow_with_the_length_and_not_with_its_square():
    def memory(length):
        def both(params, x):
            y, cache = LAYER.forward(params, x)
            return LAYER.backward(params, cache, y)

        args = jax.eval_shape(LAYER.init, KEY), jnp.zeros((2, length, 12))
        return jax.jit(both).lower(*args).compile().memory_analysis().temp_size_in_bytes

    assert memory(1024) < 4.5 * memory(256)


@pytest.mark.slow
def test_norms_of_examples_are_those_of_each_alone():
    x, target, loss = noise(3, 5, 12), noise(3, 5, 12, seed=2), fnn.SquaredError()

    @jax.jit
    def run(params):
        def result(at, **rule):
            return fnn.fold(LAYER, loss, params, x[at], target[at], **rule).result

        return result(slice(3), rule=example_norms), [result(slice(b, b + 1)) for b in range(3)]

    norms, alone = run(LAYER.init(KEY))
    want = [sum((g**2).sum() for g in jax.tree.leaves(one)) for one in alone]
    np.testing.assert_allclose(norms, want, rtol=1e-10)


def test_errors():
    with pytest.raises(
        ValueError, match=r"^LinearAttention\(n=6, n_heads=4, .*: n_heads must divi"
    ):
        LinearAttention(6, 4)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        LinearAttention(6, 2, 0)
    params, x = LAYER.init(KEY), noise(2, 7, 12)
    with pytest.raises(ValueError, match=r"x must have shape \[B, T, 12\], got \[2, 12\]"):
        LAYER.forward(params, x[:, 0])
    with pytest.raises(TypeError, match=r"state must be a tuple \(S,\), got"):
        LAYER.forward(params, Sequence(x, state=noise(2, 3, 4, 4)))
    with pytest.raises(
        ValueError, match=r"state S must have shape \[2, 3, 4, 4\], got \[2, 3, 4\]"
    ):
        LAYER.forward(params, Sequence(x, state=(noise(2, 3, 4),)))
    with pytest.raises(TypeError, match=r"params\.bq must be None, got"):
        LAYER.forward(params._replace(bq=jnp.zeros(12)), x)
