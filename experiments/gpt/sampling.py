"""Text written by a net that predicts the next byte.

    p = softmax((z − max z) / temperature)      over the top_k largest z

z are the logits at the last byte known. At a temperature of 0, or so near that float32 takes
it for 0, the largest is chosen. The net sees the last n_context bytes; while there are fewer,
the window is filled up behind them with what a causal net does not look at, so that every
step has one shape. Nothing is kept from step to step but the window.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import fnn


def generate(
    net: Any,
    params: Any,
    prompt: bytes,
    n: int,
    context: int,
    key: Any,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
) -> bytes:
    """The n bytes that the net writes behind `prompt`, which is not empty."""
    seen = np.frombuffer(prompt, np.uint8)[-context:]
    window = np.zeros(context, np.int32)
    window[: len(seen)] = seen
    how = {"temperature": float(temperature), "top_k": top_k}
    keys = jax.random.split(key, n)
    return bytes(np.asarray(_generate(net, params, window, len(seen), keys, **how), np.uint8))


@partial(jax.jit, static_argnames=("temperature", "top_k"))
def _generate(net, params, window, known, keys, *, temperature, top_k):
    """One byte per key, from a window whose first `known` bytes count."""
    net, params = fnn.inference(net, params)
    context = len(window)

    def step(carry, key):
        window, known = carry
        z, _ = net.forward(params, window[None])
        byte = chosen(z[0, known - 1], key, temperature, top_k)
        window = jnp.where(known == context, jnp.roll(window, -1), window)
        window = window.at[jnp.minimum(known, context - 1)].set(byte)
        return (window, jnp.minimum(known + 1, context)), byte

    _, written = jax.lax.scan(step, (window, known), keys)
    return written


def chosen(z: Any, key: Any, temperature: float, top_k: int | None) -> Any:
    """The number of one of the logits z [V], drawn as above; int32."""
    if temperature < np.finfo(np.float32).tiny:
        return z.argmax().astype(jnp.int32)
    z, numbers = jax.lax.top_k(z.astype(jnp.float32), min(top_k or len(z), len(z)))
    return numbers[jax.random.categorical(key, (z - z[0]) / temperature)]


def printable(text: bytes) -> str:
    r"""As a terminal can show it: bytes that are no text, or that steer it, become \x1b."""
    letters = text.decode("utf-8", errors="backslashreplace")
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode()
        for c in letters
    )
