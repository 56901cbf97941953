"""What readers make of inputs that nobody wrote: a value, or an error of their own, soon.

An input is one of a reader's examples with some of its bytes changed, doubled, taken out or
replaced by words that mean something to it, or two of them in one.
"""

import gc
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from benchmarks.faults.found import Found
from benchmarks.faults.readers import Reader, readers

SOON = 1.0  # seconds of the processor
ROOM, LONGEST = 64 * 2**20, 1100  # bytes of memory beside twice the input, letters of a message


def fuzz(n: int, folder: Path, seed: int = 0) -> list[Found]:
    """n inputs for every reader, or its share of them."""
    return [fuzzed(n // reader.share, reader, seed) for reader in readers(folder / "fuzz")]


def fuzzed(n: int, reader: Reader, seed: int = 0) -> Found:
    """n inputs for one reader, behind its examples, which it must read."""
    draw = Random(f"{seed} {reader.name}")
    with Found(f"inputs for {reader.name}") as found:
        for example in reader.examples:  # what there is to compile is compiled
            judge(found, reader, example)
        if found.outcomes.keys() != {"read"}:
            found.blame(f"{reader.name}: an example was not read")
        gc.collect()
        before = largest()
        for _ in range(n):
            data = mutated(draw, reader.examples, reader.words)
            began = time.process_time()
            judge(found, reader, data)
            found.most("slowest, s", time.process_time() - began)
            if time.process_time() - began > SOON:
                found.blame(f"{reader.name}: {time.process_time() - began:.1f} s for {data!r:.300}")
        grown = largest() - before
        found.figures["memory grown by, MiB"] = grown / 2**20
        if grown > ROOM + 2 * max(map(len, reader.examples)):
            found.blame(f"{reader.name}: {grown / 2**20:.0f} MiB more memory")
    return found


def judge(found: Found, reader: Reader, data: bytes) -> None:
    """Count what reading makes of an input."""
    try:
        wrong = reader.read(data)
    except reader.errors as error:
        found.note("refused")
        text = f"{error}"
        if len(text) > LONGEST or not text.isprintable() or not text:
            found.blame(f"{reader.name}: not a message: {text!r:.200} for {data!r:.200}")
    except Exception as error:
        found.note("crashed")
        found.blame(f"{reader.name}: {type(error).__name__}: {error!s:.200} for {data!r:.300}")
    else:
        found.note("read")
        if wrong:
            found.blame(f"{reader.name}: {wrong} for {data!r:.300}")


def mutated(draw: Random, examples: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the examples, changed in one to eight places."""
    data = bytearray(draw.choice(examples))
    for _ in range(draw.choice((1, 1, 2, 3, 8))):
        i = draw.randrange(len(data) + 1)
        j = min(i + draw.choice((1, 1, 2, 4, 16, 200)), len(data))
        kind = draw.randrange(8)
        if kind == 0 and i < len(data):
            data[i] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[i:j] = draw.randbytes(j - i)
        elif kind == 2:
            del data[i:j]
        elif kind == 3:
            data[i:i] = data[i:j] * draw.choice((1, 2, 50))
        elif kind == 4:
            data[i:j] = draw.choice(words)
        elif kind == 5:
            data[i:i] = draw.choice(words)
        elif kind == 6:
            other = draw.choice(examples)
            data[i:] = other[draw.randrange(len(other) + 1) :]
        else:
            del data[i:]
    return bytes(data)


def largest() -> int:
    """Bytes of memory that this process has had at most."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
