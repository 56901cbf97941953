import jax
import jax.numpy as jnp
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


@jax.jit
def logits(params, x):
    net, params = fnn.inference(NET, params)
    return net.forward(params, x)[0]


def generate(params, prompt, n, seed=0, **how):
    key = jax.random.key(seed)
    return sampling.generate(NET, params, prompt, n, CONTEXT, key, **how)


@pytest.mark.long
@pytest.mark.parametrize("prompt", [b"a", b"abcdef", b"longer than the context"])
def test_temperature_0_is_the_likeliest_byte_while_contexts_fill_and_begin_anew(params, prompt):
    known = list(prompt[-3:])  # half a context
    written = []
    for i in range(9):
        if i and i % 4 == 0:
            known = known[-3:]
        z = logits(params, jnp.asarray([known]))
        known.append(int(z[0, -1].argmax()))
        written.append(known[-1])
    assert generate(params, prompt, 9, temperature=0) == bytes(written)
    assert generate(params, prompt, 9, seed=1, temperature=2, top_k=1) == bytes(written)


def test_a_seed_writes_the_same_text_again_and_another_seed_another(params):
    once = generate(params, b"a", 12, temperature=2)
    assert generate(params, b"a", 12, temperature=2) == once
    assert generate(params, b"a", 12, seed=1, temperature=2) != once


def test_what_steers_a_terminal_is_shown_and_does_nothing():
    assert sampling.printable("if x:\n\treturn 'é'\n".encode()) == "if x:\n\treturn 'é'\n"
    assert sampling.printable(b"\x1b[2J\r\x00") == r"\x1b[2J\r\x00"
    assert sampling.printable(b"a\xff\xc3") == r"a\xff\xc3"
