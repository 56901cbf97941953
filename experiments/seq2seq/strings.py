"""Strings of letters and their answers, as an encoder-decoder takes them.

    source    the task, then the letters                r e b d a
    answer    the letters in another order, the edge    a d b e |
    tokens    the edge, then the answer but its last    | a d b e

The net reads the source, and at every place of the tokens says which letter of the answer comes
next. Which strings are held out is decided by their letters alone, a tenth of all: what is
among them is never learned from, however it is drawn.
"""

import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import fnn

Letters = NDArray[np.int32]
TASKS: dict[str, Callable[[Letters], Letters]] = {"reverse": np.flip, "sort": np.sort}
LETTERS = 26
EDGE = LETTERS  # a token in front of every answer and behind it
N_TARGET, N_SOURCE = LETTERS + 1, LETTERS + len(TASKS)  # letters and the edge; letters and tasks


class Problems(NamedTuple):
    """Sources and their answers, row by row."""

    x: Any  # a Sequence of tokens [N, T], with that of the source [N, T] as its memory
    answer: Any  # [N, T]
    task: Any  # [N], the number of one of TASKS
    length: Any  # [N], letters


def held_out(word: Letters) -> bool:
    """Whether a string is never to be learned from: one of ten, by its hash."""
    return zlib.crc32(word.astype(np.uint8).tobytes()) % 10 == 0


def drawn(rng: np.random.Generator, n: int, lengths: tuple[int, int], *, held: bool) -> list:
    """n random strings of `lengths`, at least and at most, held out or not."""
    words: list[Letters] = []
    while len(words) < n:
        size = rng.integers(lengths[0], lengths[1] + 1)
        word = rng.integers(0, LETTERS, size).astype(np.int32)
        if held_out(word) == held:
            words.append(word)
    return words


def posed(words: list[Letters], tasks: NDArray[np.int_], longest: int) -> Problems:
    """The problems of these strings; behind their ends, which a mask leaves out, stands 0."""
    n, names = len(words), list(TASKS)
    source, answer = np.zeros((2, n, longest + 1), np.int32)
    length = np.array([len(word) for word in words], np.int32)
    for i, (word, task) in enumerate(zip(words, tasks, strict=True)):
        source[i, : len(word) + 1] = LETTERS + task, *word
        answer[i, : len(word) + 1] = *TASKS[names[task]](word), EDGE
    mask: Any = np.arange(longest + 1) <= length[:, None]
    tokens = np.concatenate([np.full((n, 1), EDGE, np.int32), answer[:, :-1]], 1)
    x = fnn.Sequence(tokens, mask, memory=fnn.Sequence(source, mask))
    return Problems(x, answer, tasks.astype(np.int32), length)


def written(tokens: Letters) -> str:
    """The letters of tokens, up to the edge."""
    ends = np.flatnonzero(tokens == EDGE)
    letters = tokens[: ends[0]] if len(ends) else tokens
    return "".join(chr(ord("a") + letter) for letter in letters)
