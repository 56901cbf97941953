"""Text to learn from, as bytes: the standard library's own source, or a file of the user's.

A byte is a token: there are 256, whatever the text, so nothing is to be learned or stored
about the alphabet, no text is refused, and bits per byte can be set beside those of a
compressor. In source code nearly every byte is a character.

Every Python has the same kind of text, though not the same text: the modules of its standard
library, without what was installed beside them (site-packages), their tests, and tables
(encodings, _sysconfigdata). They are taken in the order of their paths. A module is held out
if the CRC-32 of its path is a multiple of 20, so that it stays so whatever else there is. Of
a file of the user's the last twentieth is held out.
"""

import gzip
import hashlib
import lzma
import sysconfig
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from experiments.common import files
from experiments.common.cli import DataError

N_BYTES = 256
ONE_IN = 20  # modules, or parts of a file, are held out
CHUNK = 2**22  # bytes that are counted at a time
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}


class Corpus(NamedTuple):
    """A text in two parts."""

    name: str
    train: NDArray[np.uint8]
    held_out: NDArray[np.uint8]

    def fingerprint(self) -> str:
        """SHA-256 of both parts."""
        sha = hashlib.sha256(f"{len(self.train)} {len(self.held_out)} ".encode())
        for part in (self.train, self.held_out):
            sha.update(part.data)
        return sha.hexdigest()


def read(path: Path | None, context: int) -> Corpus:
    """The file, or without one the standard library, if both parts have context + 1 bytes.

    Raises:
        DataError: where there is no such text, or too little of it.
    """
    text = library(Path(sysconfig.get_path("stdlib"))) if path is None else own(path)
    shortest = min(len(text.train), len(text.held_out))
    if shortest <= context:
        raise DataError(
            f"{text.name}: {len(text.train)} bytes to learn from and {len(text.held_out)} held "
            f"out; each part must be longer than --context, {context}. Take a longer --text."
        )
    return text


def library(folder: Path) -> Corpus:
    """The modules in a folder, one after another."""
    with files.reading(folder):
        paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.py")}
        parts: tuple[list[bytes], list[bytes]] = [], []
        for name in sorted(paths):
            tables = name.startswith("_sysconfigdata")
            if not tables and not LEFT_OUT & set(name.split("/")):
                parts[zlib.crc32(name.encode()) % ONE_IN == 0].append(paths[name].read_bytes())
    if not all(parts):
        raise DataError(f"{folder} holds too few .py files; give a text: --text FILE.")
    return Corpus("the standard library", *map(numbers, map(b"".join, parts)))


def own(path: Path) -> Corpus:
    """A file; its end is held out."""
    text = files.content(path)
    cut = len(text) - len(text) // ONE_IN
    return Corpus(str(path), numbers(text[:cut]), numbers(text[cut:]))


def numbers(text: bytes) -> NDArray[np.uint8]:
    """Its bytes."""
    return np.frombuffer(text, np.uint8)


def baselines(text: Corpus) -> dict[str, float]:
    """Bits per byte of the held-out part without a network.

    uniform      every byte as likely as any other, log₂ 256
    frequency    bytes as frequent as in the training part
    pairs        the next byte as frequent as in the training part behind the same byte
    gzip, xz     the size of the held-out part, compressed alone
    """
    t, h = text.train, text.held_out
    pairs = np.zeros((N_BYTES, N_BYTES))
    for i in range(0, len(t) - 1, CHUNK):  # counting takes eight bytes for one
        part = t[i : i + CHUNK + 1].astype(np.intp)
        pairs += np.bincount(N_BYTES * part[:-1] + part[1:], minlength=pairs.size).reshape(
            pairs.shape
        )
    alone = np.bincount(t[-1:], minlength=N_BYTES) + pairs.sum(1) + 1  # unseen may still come
    p = alone / alone.sum()
    behind = (pairs + p) / (pairs.sum(1, keepdims=True) + 1)
    sizes = len(gzip.compress(h.tobytes(), mtime=0)), len(lzma.compress(h.tobytes(), preset=9))
    return {
        "uniform": float(np.log2(N_BYTES)),
        "frequency": float(-np.log2(p[h]).mean()),
        "pairs": float(-np.log2(behind[h[:-1], h[1:]]).mean()),
        "gzip": 8 * sizes[0] / len(h),
        "xz": 8 * sizes[1] / len(h),
    }


def windows(
    part: NDArray[np.uint8], context: int, most: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(x, target), each [N, context]: windows side by side, at most `most`, evenly spread."""
    starts = np.arange(0, len(part) - context, context)
    if most is not None and len(starts) > most:
        starts = starts[np.linspace(0, len(starts) - 1, most).astype(int)]
    rows = part[starts[:, None] + np.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]


def drawn(part: Any, key: Any, n: int, context: int) -> tuple[Any, Any]:
    """(x, target), each [n, context]: windows that begin anywhere, with equal probability."""
    starts = jax.random.randint(key, (n, 1), 0, len(part) - context)
    rows = part[starts + jnp.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]
