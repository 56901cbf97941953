"""Text to learn from, as bytes: the standard library's own source, or a file of the user's.

A byte is a token: there are 256, whatever the text, so nothing is to be learned or stored
about the alphabet, no text is refused, and bits per byte can be set beside those of a
compressor. In source code nearly every byte is a character.

Every Python has the same kind of text, though not the same text: the modules of its standard
library, without what was installed beside them (site-packages), their tests, and tables
(encodings, _sysconfigdata). They are taken in the order of their paths. A module is held out
if the CRC-32 of its path is a multiple of 20, so that it stays so whatever else there is. Of
a file of the user's the last twentieth is held out. The file is memory-mapped: it may be larger
than memory, and nothing here takes more of that for a longer one.
"""

import hashlib
import itertools
import lzma
import sysconfig
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from experiments.common import files
from experiments.common.cli import DataError

N_BYTES = 256
ONE_IN = 20  # modules, or parts of a file, are held out
CHUNK = 2**22  # bytes that are read at a time
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings"}

Bytes = NDArray[np.uint8]
Pair = tuple[Bytes, Bytes]  # (x, target), each [N, context]


class Corpus(NamedTuple):
    """A text in two parts."""

    name: str
    train: Bytes
    held_out: Bytes

    def fingerprint(self) -> str:
        """SHA-256 of both parts."""
        sha = hashlib.sha256(f"{len(self.train)} {len(self.held_out)} ".encode())
        for part in (self.train, self.held_out):
            for chunk in chunks(part):
                sha.update(chunk.data)
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
    with files.reading(files.existing(path, mapped=True)):
        text = np.memmap(path, np.uint8, "r")
    cut = len(text) - len(text) // ONE_IN
    return Corpus(str(path), text[:cut], text[cut:])


def numbers(text: bytes) -> Bytes:
    """Its bytes."""
    return np.frombuffer(text, np.uint8)


def chunks(part: Bytes, overlap: int = 0) -> Iterator[Bytes]:
    """The part in pieces, each with so many bytes of the next one."""
    for i in range(0, len(part), CHUNK):
        yield part[i : i + CHUNK + overlap]


def baselines(text: Corpus) -> dict[str, float]:
    """Bits per byte of the held-out part without a network.

    uniform      every byte as likely as any other, log₂ 256
    frequency    bytes as frequent as in the training part
    pairs        the next byte as frequent as in the training part behind the same byte
    gzip, xz     the size of the held-out part, compressed alone
    """
    pairs, seen = pair_counts(text.train), pair_counts(text.held_out)
    alone = pairs.sum(1) + 1  # unseen may still come
    alone[text.train[-1]] += 1
    p = alone / alone.sum()
    behind = (pairs + p) / (pairs.sum(1, keepdims=True) + 1)
    singles, n = seen.sum(1), len(text.held_out)
    singles[text.held_out[-1]] += 1
    return {
        "uniform": float(np.log2(N_BYTES)),
        "frequency": float(-(singles * np.log2(p)).sum() / n),
        "pairs": float(-(seen * np.log2(behind)).sum() / (n - 1)),
        "gzip": 8 * compressed(text.held_out, zlib.compressobj(9, wbits=31)) / n,
        "xz": 8 * compressed(text.held_out, lzma.LZMACompressor(preset=9)) / n,
    }


def pair_counts(part: Bytes) -> NDArray[np.float64]:
    """How often every byte stands behind every other one, [first, second]."""
    pairs = np.zeros(N_BYTES**2)
    for chunk in chunks(part, overlap=1):
        codes = chunk.astype(np.intp)
        pairs += np.bincount(N_BYTES * codes[:-1] + codes[1:], minlength=pairs.size)
    return pairs.reshape(N_BYTES, N_BYTES)


def compressed(part: Bytes, compressor: Any) -> int:
    """How many bytes it takes."""
    return sum(len(compressor.compress(chunk)) for chunk in chunks(part)) + len(compressor.flush())


def windows(part: Bytes, starts: NDArray[np.int64], context: int) -> Pair:
    """The windows that begin there; their targets are one further."""
    rows = part[starts[:, None] + np.arange(context + 1)]
    return rows[:, :-1], rows[:, 1:]


def spread(part: Bytes, context: int, most: int) -> Pair:
    """Windows side by side, at most `most`, evenly spread."""
    n = (len(part) - 1) // context
    return windows(part, context * np.linspace(0, n - 1, min(n, most)).astype(int), context)


def all_windows(part: Bytes, context: int, batch_size: int) -> Iterator[Pair]:
    """All windows side by side, batch by batch."""
    n = (len(part) - 1) // context
    for i in range(0, n, batch_size):
        yield windows(part, context * np.arange(i, min(i + batch_size, n)), context)


@dataclass(frozen=True, eq=False)
class Drawn:
    """A stream without an end, of windows that begin anywhere, with equal probability.

    Batch number i follows from (seed, i) alone, and the first one is number `begin`.
    """

    part: Bytes
    context: int
    batch_size: int
    seed: int
    begin: int = 0

    def batches(self, epoch: int = 0, begin: int = 0) -> Iterator[Pair]:
        """The batches from this one on; there is one epoch."""
        for i in itertools.count(self.begin + begin):
            last = len(self.part) - self.context
            starts = np.random.default_rng((self.seed, i)).integers(last, size=self.batch_size)
            yield windows(self.part, starts, self.context)
