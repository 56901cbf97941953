"""Text written by a net that predicts the next byte, of n_context bytes at most.

It writes until its context is full; the last half of what is there then begins a new one. Every
piece has the same shape: the half in front, padded where there is less, and room for the rest.
"""

from typing import Any

import jax
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
    text, half = prompt, (context + 1) // 2
    how: dict[str, Any] = {"temperature": temperature, "top_k": top_k}
    while len(text) < len(prompt) + n:
        window = fnn.Sequence(*padded(text, half))
        piece = fnn.generate(
            net, params, window, context - half + 1, jax.random.fold_in(key, len(text)), **how
        )
        text += bytes(np.asarray(piece[0], np.uint8))
    return text[len(prompt) :][:n]


def padded(text: bytes, length: int) -> tuple[Any, Any]:
    """The last bytes of a text, [1, length], and which of them are there."""
    seen = np.frombuffer(text, np.uint8)[-length:]
    empty = length - len(seen)
    return np.pad(seen, (empty, 0))[None], (np.arange(length) >= empty)[None]


def printable(text: bytes) -> str:
    r"""As a terminal can show it: bytes that are no text, or that steer it, become \x1b."""
    letters = text.decode("utf-8", errors="backslashreplace")
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode()
        for c in letters
    )
