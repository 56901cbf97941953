"""Tests of fnn.decoding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import moved

import fnn
from fnn.decoding import drawn
from fnn.sequence import Sequence, value

KEY = jax.random.key(0)
V = 11
SIZES = {"n_vocab": V, "n": 8, "n_heads": 2, "n_layers": 2, "n_context": 9}
NETS = {
    "learned": fnn.gpt(**SIZES, bias=True, dropout=0.2),
    "sinusoidal": fnn.gpt(**SIZES, positions="sinusoidal", recompute=True),
    "rotary": fnn.gpt(**SIZES, positions="rotary", n_kv_heads=1, chunk=2),
    "recurrent": fnn.Serial(
        fnn.Embedding(V, 5), fnn.LSTM(5, 6), fnn.Residual(fnn.GRU(6, 6)), fnn.Dense(6, V)
    ),
    "windows": fnn.Serial(
        embed=fnn.Embedding(V, 6),
        attention=fnn.Residual(fnn.Attention(6, 2, window=3, alibi=True)),
        rnn=fnn.RNN(6, 5),
        head=fnn.Unembed(5, V),
    ),
    "memoryless": fnn.Serial(fnn.Embedding(V, 5), fnn.Serial(fnn.Tanh(), fnn.Dense(5, V))),
}
PROMPT = jnp.array([[3, 1, 4], [1, 5, 9]])


def params_of(net):
    """Params with which logits are far from equal."""
    return jax.tree.map(lambda p: 3 * p, moved(net.init(KEY)))


@jax.jit
def greedy(net, params, tokens):
    """The likeliest next tokens and the gap to the second, from the whole forward."""
    net, params = fnn.inference(net, params)
    z = value(net.forward(params, tokens)[0])[:, -1]
    first, second = jax.lax.top_k(z, 2)[0].T
    return z.argmax(-1), first - second


SLOW = ("learned", "sinusoidal", "windows", "recurrent")


def ways(*names):
    """Nets by name, some only among the slow tests."""
    marks = [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in names]
    return pytest.mark.parametrize("name", marks)


@ways(*NETS)
def test_at_temperature_0_the_tokens_are_those_of_the_whole_forward(name):
    net = NETS[name]
    params, tokens = params_of(net), PROMPT
    written = fnn.generate(net, params, PROMPT, 4, temperature=0)
    assert (written.shape, written.dtype) == ((2, 4), jnp.int32)
    for i in range(4):
        want, gap = greedy(net, params, tokens)
        assert gap.min() > 1e-6
        np.testing.assert_array_equal(written[:, i], want)
        tokens = jnp.concatenate([tokens, want[:, None]], 1)


@pytest.mark.parametrize(
    ("dtype", "within"),
    [("float64", 1e-10), pytest.param("float32", 1e-5, marks=pytest.mark.slow)],
)
@ways("learned", "sinusoidal", "rotary", "recurrent")
def test_logits_step_by_step_are_those_of_the_whole_forward(name, dtype, within):
    net, params = fnn.inference(NETS[name], NETS[name].init(KEY))
    params = jax.tree.map(lambda p: p.astype(dtype), params)
    tokens = jax.random.randint(KEY, (2, 9), 0, V)
    want, _ = net.forward(params, tokens)

    def step(state, token):
        y, _ = net.forward(params, Sequence(token[:, None], state=state))
        return y.state, y.x[:, 0]

    _, z = jax.lax.scan(step, net.zero_state(params, 2, 9), tokens.T)
    assert abs(z.swapaxes(0, 1) - want).max() < within * abs(want).max()


@pytest.mark.slow
@ways("learned", "rotary", "windows", "recurrent")
@pytest.mark.parametrize("front", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_prompts_of_different_length_go_on_as_each_would_alone(name, front):
    net = NETS[name]
    params = params_of(net)
    prompts = [[3, 1, 4, 2], [7], [2, 6]]
    tokens, mask = np.full((3, 4), V - 1), np.zeros((3, 4), bool)
    for row, prompt in enumerate(prompts):
        at = slice(4 - len(prompt), 4) if front else slice(0, len(prompt))
        tokens[row, at], mask[row, at] = prompt, True
    written = fnn.generate(net, params, Sequence(tokens, mask), 5, temperature=0)
    for row, prompt in enumerate(prompts):
        alone = fnn.generate(net, params, jnp.array([prompt]), 5, temperature=0)
        np.testing.assert_array_equal(written[row], alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
def test_an_encoder_decoder_writes_what_its_whole_forward_says(masked):
    net = fnn.encoder_decoder(V, 8, 2, 2, 9)
    params, tokens = params_of(net), jnp.zeros((2, 1), int)
    source = jnp.array([[3, 1, 4, 5], [2, 7, 1, 8]])
    mask = jnp.array([[True] * 4, [True, True, False, False]])
    source = Sequence(source, mask) if masked else source
    written = fnn.generate(net, params, Sequence(tokens, memory=source), 5, temperature=0)
    for i in range(5):
        want, gap = greedy(net, params, Sequence(tokens, memory=source))
        assert gap.min() > 1e-6
        np.testing.assert_array_equal(written[:, i], want)
        tokens = jnp.concatenate([tokens, want[:, None]], 1)


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [fnn.Recompute, lambda net: fnn.Cast(net, "float64")])
def test_around_an_encoder_decoder_the_encoder_runs_once_too(wrap):
    decoder = fnn.Serial(
        fnn.Embedding(V, 8), fnn.Residual(fnn.CrossAttention(8, 2)), fnn.Dense(8, V)
    )
    net = fnn.EncoderDecoder(fnn.Serial(fnn.Embedding(V, 6), fnn.LSTM(6, 8)), decoder)
    params, begin = params_of(net), jnp.zeros((2, 1), int)
    x = Sequence(begin, memory=Sequence(jnp.array([[3, 1, 4, 5], [2, 7, 1, 8]])))
    want = fnn.generate(net, params, x, 4, temperature=0)
    np.testing.assert_array_equal(fnn.generate(wrap(net), params, x, 4, temperature=0), want)
    outside = fnn.Serial(net, fnn.Identity())
    with pytest.raises(ValueError, match="Serial has an EncoderDecoder inside; that must be the n"):
        fnn.generate(outside, (params, ()), x, 4, temperature=0)


def test_numbers_out_of_range_that_only_a_run_knows_make_no_token():
    net = NETS["memoryless"]
    params = net.init(KEY)

    @jax.jit
    def write(temperature, top_p):
        return fnn.generate(net, params, PROMPT, 2, KEY, temperature=temperature, top_p=top_p)

    assert (write(1.0, 0.9) >= 0).all()
    for temperature, top_p in ((-1.0, 0.9), (jnp.nan, 0.9), (1.0, 0.0), (1.0, 2.0)):
        np.testing.assert_array_equal(write(temperature, top_p), -1)

    mask = jnp.array([[True] * 3, [False] * 3])
    written = jax.jit(lambda m: fnn.generate(net, params, Sequence(PROMPT, m), 2, KEY))(mask)
    assert ((written >= 0).all(1) == jnp.array([True, False])).all()


def test_behind_the_stop_token_there_is_nothing_else():
    net = NETS["memoryless"]
    params = params_of(net)
    free = fnn.generate(net, params, PROMPT, 6, temperature=0)
    stop = int(free[0, 1])
    written = fnn.generate(net, params, PROMPT, 6, temperature=0, stop=stop)
    for row, other in zip(np.asarray(written), np.asarray(free), strict=True):
        end = list(other).index(stop) if stop in other else 6
        np.testing.assert_array_equal(row[:end], other[:end])
        assert (row[end:] == stop).all()


def test_a_key_writes_the_same_again_and_nothing_compiles_for_other_numbers():
    net = NETS["memoryless"]
    params, traced = params_of(net), []

    @jax.jit
    def write(params, prompt, key, temperature, top_p):
        traced.append(1)
        how = {"temperature": temperature, "top_k": 5, "top_p": top_p}
        return fnn.generate(net, params, prompt, 20, key, **how)

    once = write(params, PROMPT, KEY, 2.0, 0.9)
    np.testing.assert_array_equal(write(params, PROMPT, KEY, 2.0, 0.9), once)
    assert (write(params, PROMPT, jax.random.key(1), 2.0, 0.9) != once).any()
    cold = write(params, PROMPT, KEY, 0.0, 0.9)
    np.testing.assert_array_equal(cold, fnn.generate(net, params, PROMPT, 20, temperature=0))
    np.testing.assert_array_equal(write(params, PROMPT, KEY, 1e-30, 0.9), cold)
    assert len(traced) == 1
    for row in once:  # rows draw for themselves
        assert ((row >= 0) & (row < V)).all()


def test_frequencies_are_the_softmax_over_what_is_left():
    z = jnp.log(jnp.array([[1.0, 8.0, 2.0, 4.0]]))
    keys = jax.random.split(KEY, 4000)

    def shares(temperature, top_k, top_p):
        found = jax.vmap(lambda key: drawn(z, key, temperature, top_k, top_p))(keys)
        return np.bincount(found[:, 0], minlength=4) / len(keys)

    np.testing.assert_allclose(shares(1.0, None, None), np.array([1, 8, 2, 4]) / 15, atol=0.03)
    np.testing.assert_allclose(shares(0.5, 2, None), [0, 64 / 80, 0, 16 / 80], atol=0.03)
    np.testing.assert_allclose(shares(1.0, 9, 0.5), [0, 1, 0, 0], atol=0)  # 8/15 alone is enough
    np.testing.assert_allclose(shares(1.0, None, 0.6), [0, 8 / 12, 0, 4 / 12], atol=0.03)
    np.testing.assert_allclose(shares(1.0, None, 1.0), np.array([1, 8, 2, 4]) / 15, atol=0.03)
    np.testing.assert_array_equal(shares(0.0, None, 1e-9), [0, 1, 0, 0])


@pytest.mark.parametrize("temperature", [1e-3, 1.2e-38, 1e-300, 0.0])
@pytest.mark.parametrize("z", [[-3.0, 5.0, 4.9], [-1e38, 3e38, 1e38], [-jnp.inf, 0.0, -jnp.inf]])
def test_as_the_temperature_falls_to_0_the_largest_remains(z, temperature):
    rows = jnp.tile(jnp.array(z), (50, 1))
    np.testing.assert_array_equal(drawn(rows, KEY, temperature, None, None), 1)


def test_of_equal_logits_exactly_top_k_can_be_chosen():
    found = drawn(jnp.zeros((100, 5)), KEY, 1.0, 2, None)
    assert len(set(found.tolist())) == 2


def test_logits_that_are_not_finite_make_the_token_no_token():
    z = jnp.array([[1.0, jnp.nan], [jnp.inf, 0.0], [0.0, 1.0], [-jnp.inf, -jnp.inf]])
    np.testing.assert_array_equal(drawn(z, KEY, 0.0, None, None), [-1, -1, 1, -1])
    net = NETS["memoryless"]
    broken = jax.tree.map(lambda p: p * jnp.nan, net.init(KEY))
    np.testing.assert_array_equal(fnn.generate(net, broken, PROMPT, 2, KEY), -1)


@pytest.mark.parametrize("prompt", [np.uint8([[1, 2]]), jnp.int32([[1, 2]]), [[1, 2]]], ids=type)
def test_any_integers_are_a_prompt(prompt):
    net = NETS["memoryless"]
    assert fnn.generate(net, net.init(KEY), prompt, 3, KEY).shape == (1, 3)


@pytest.mark.slow
def test_it_goes_through_vmap_and_half_precision():
    net = fnn.Cast(NETS["rotary"], "bfloat16")
    params = jax.vmap(net.init)(jax.random.split(KEY, 3))
    written = jax.vmap(lambda p: fnn.generate(net, p, PROMPT, 3, temperature=0))(params)
    assert written.shape == (3, 2, 3)


def test_errors():
    net = NETS["learned"]
    bidirectional = fnn.Serial(fnn.Embedding(V, 5), fnn.Bidirectional.of(fnn.RNN(5, 6)))
    seer = fnn.Serial(fnn.Embedding(V, 6), fnn.Attention(6, 2, causal=False))
    reader = fnn.Serial(fnn.Embedding(V, 5), fnn.Last(), fnn.Dense(5, V))
    none = Sequence(PROMPT, jnp.array([[True] * 3, [False] * 3]))
    how = {"n": 2, "key": KEY}
    for error, message, f, prompt, options in [
        (ValueError, "generate, layer positions, .* a sequence of 10 is longer than n_context, 9",
         net, PROMPT, {"n": 8}),
        (ValueError, r"prompt must have shape \[B, T\], T at least 1, got \[3\]; one prompt is",
         net, PROMPT[0], {}),
        (ValueError, r"T at least 1, got \[2, 0\]", net, PROMPT[:, :0], {}),
        (TypeError, "must be an array of integers, got float", net, PROMPT.astype(float), {}),
        (ValueError, "the mask must leave a token to every prompt, row 1 has none", net, none, {}),
        (ValueError, "draws at random; pass key", net, PROMPT, {"key": None}),
        (ValueError, "n must be at least 1, got 0", net, PROMPT, {"n": 0}),
        (ValueError, "top_k must be at least 1, got 0", net, PROMPT, {"top_k": 0}),
        (ValueError, r"top_p must be in \(0, 1\], got 0", net, PROMPT, {"top_p": 0}),
        (ValueError, "temperature must be in", net, PROMPT, {"temperature": -1}),
        (ValueError, "Bidirectional: no state to begin with: it sees later steps",
         bidirectional, PROMPT, {}),
        (ValueError, r"layer 1, Attention\(.*\): no state to begin with", seer, PROMPT, {}),
        (ValueError, r"must make logits \[B, T, V\] .* it makes \[2, 11\]", reader, PROMPT, {}),
    ]:  # fmt: skip
        with pytest.raises(error, match=message):
            fnn.generate(f, f.init(KEY), prompt, **how | options)


def test_a_layer_of_ones_own_that_reads_sequences_says_its_state():
    from contract import Look

    with pytest.raises(NotImplementedError, match="zero_state is missing; a class that reads"):
        Look().zero_state((), 2)
