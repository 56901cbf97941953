import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from experiments.gpt import sampling

CONTEXT = 6
NET = fnn.gpt(256, 8, 2, 2, CONTEXT)


@pytest.fixture(scope="module")
def params():
    with jax.enable_x64(False):
        drawn = NET.init(jax.random.key(3))
        return jax.tree.map(lambda a: 4 * a, drawn)  # far from all bytes alike


def likeliest(params, known):
    """The next byte, from as many bytes as there are, without a window that is filled up."""
    z = logits(params, jnp.asarray([list(known[-CONTEXT:])]))
    return int(z[0, -1].argmax())


@jax.jit
def logits(params, x):
    net, params = fnn.inference(NET, params)
    return net.forward(params, x)[0]


def generate(params, prompt, n, seed=0, **how):
    key = jax.random.key(seed)
    return sampling.generate(NET, params, prompt, n, CONTEXT, key, **how)


@pytest.mark.parametrize("prompt", [b"a", b"abcdef", b"longer than the window"])
def test_temperature_0_is_the_likeliest_byte_while_the_window_fills_and_slides(params, prompt):
    known = list(prompt)
    for _ in range(9):
        known.append(likeliest(params, known))
    assert generate(params, prompt, 9, temperature=0) == bytes(known[len(prompt) :])
    assert generate(params, prompt, 9, seed=1, temperature=2, top_k=1) == bytes(
        known[len(prompt) :]
    )


def test_a_seed_writes_the_same_text_again_and_another_seed_another(params):
    once = generate(params, b"a", 12, temperature=2)
    assert generate(params, b"a", 12, temperature=2) == once
    assert generate(params, b"a", 12, seed=1, temperature=2) != once


def test_frequencies_are_the_softmax_over_the_largest():
    z = jnp.log(jnp.array([1.0, 8.0, 2.0, 4.0]))
    keys = jax.random.split(jax.random.key(0), 4000)

    def shares(temperature, top_k):
        drawn = jax.vmap(lambda key: sampling.chosen(z, key, temperature, top_k))(keys)
        return np.bincount(drawn, minlength=4) / len(keys)

    np.testing.assert_allclose(shares(1.0, None), np.array([1, 8, 2, 4]) / 15, atol=0.03)
    np.testing.assert_allclose(shares(0.5, 2), [0, 64 / 80, 0, 16 / 80], atol=0.03)
    np.testing.assert_allclose(shares(1.0, 9), np.array([1, 8, 2, 4]) / 15, atol=0.03)
    np.testing.assert_array_equal(shares(0, None), [0, 1, 0, 0])


@pytest.mark.parametrize("temperature", [1e-3, 1.2e-38, 1e-38, 1e-40, 1e-300, 0.0])
@pytest.mark.parametrize("z", [[-3.0, 5.0, 4.9], [-1e38, 3e38, 1e38]])
def test_as_the_temperature_falls_to_0_the_likeliest_remains(z, temperature):
    keys = jax.random.split(jax.random.key(0), 50)
    drawn = jax.vmap(lambda key: sampling.chosen(jnp.array(z), key, temperature, None))(keys)
    np.testing.assert_array_equal(drawn, 1)


def test_of_equal_logits_exactly_top_k_can_be_chosen():
    keys = jax.random.split(jax.random.key(0), 100)
    drawn = jax.vmap(lambda key: sampling.chosen(jnp.zeros(5), key, 1.0, 2))(keys)
    assert len(set(drawn.tolist())) == 2


def test_what_steers_a_terminal_is_shown_and_does_nothing():
    assert sampling.printable("if x:\n\treturn 'é'\n".encode()) == "if x:\n\treturn 'é'\n"
    assert sampling.printable(b"\x1b[2J\r\x00") == r"\x1b[2J\r\x00"
    assert sampling.printable(b"a\xff\xc3") == r"a\xff\xc3"
