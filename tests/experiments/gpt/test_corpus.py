import gzip
import math
import zlib

import jax
import numpy as np
import pytest

from experiments.common.cli import DataError
from experiments.gpt import corpus

HELD_OUT, LEARNED = "a22.py", "b0.py"


def text(train, held_out):
    return corpus.Corpus("a text", *map(corpus.numbers, (train, held_out)))


@pytest.fixture
def folder(tmp_path):
    """A library of eight modules; three of them are not for learning."""
    assert zlib.crc32(HELD_OUT.encode()) % 20 == 0 != zlib.crc32(LEARNED.encode()) % 20
    names = (
        "z/c.py",
        LEARNED,
        HELD_OUT,
        "site-packages/d.py",
        "a/test/e.py",
        "_sysconfigdata_x.py",
    )
    for name in (*names, "notes.txt"):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"# {name}\n".encode())
    return tmp_path / "lib"


def test_modules_come_in_the_order_of_their_paths_without_tests_tables_and_packages(folder):
    read = corpus.library(folder)
    assert read.train.tobytes() == b"# b0.py\n# z/c.py\n"
    assert read.held_out.tobytes() == b"# a22.py\n"


def test_what_is_held_out_does_not_depend_on_what_else_there_is(folder):
    (folder / LEARNED).unlink()
    assert corpus.library(folder).held_out.tobytes() == b"# a22.py\n"
    (folder / HELD_OUT).unlink()
    with pytest.raises(DataError, match=r"too few \.py files; give a text: --text FILE"):
        corpus.library(folder)


@pytest.mark.slow
def test_the_standard_library_is_large_and_is_the_same_twice():
    read = corpus.read(None, 64)
    assert len(read.train) > 5e6
    assert len(read.train) / 40 < len(read.held_out) < len(read.train) / 10
    assert read.fingerprint() == corpus.read(None, 64).fingerprint()


def test_the_last_twentieth_of_a_file_is_held_out(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(41)))
    read = corpus.read(path, 1)
    assert read.train.tolist() == list(range(39))
    assert read.held_out.tolist() == [39, 40]
    assert read.name == str(path)
    with pytest.raises(DataError, match=r"39 bytes to learn from and 2 held out; .*--context, 2"):
        corpus.read(path, 2)
    with pytest.raises(DataError, match="there is no file"):
        corpus.read(tmp_path / "b.txt", 1)
    with path.open("ab") as file:
        file.truncate(10**12)
    with pytest.raises(DataError, match=r"takes 1000000000000 bytes; at most 500000000 are read"):
        corpus.read(path, 1)


def test_fingerprint_knows_where_the_text_is_divided():
    assert text(b"ab", b"c").fingerprint() != text(b"a", b"bc").fingerprint()


def test_baselines_by_hand():
    found = corpus.baselines(text(b"aab", b"aba"))
    a, b = 3 / 259, 2 / 259  # two and one, and one of each of 256
    assert found["uniform"] == 8
    assert found["frequency"] == pytest.approx(-(2 * math.log2(a) + math.log2(b)) / 3)
    pairs = (1 + b) / 3, a / 1  # behind a once b of two; behind b nothing is known
    assert found["pairs"] == pytest.approx(-sum(map(math.log2, pairs)) / 2)
    assert found["gzip"] == 8 * len(gzip.compress(b"aba", mtime=0)) / 3
    assert found["xz"] > 8


def test_pairs_are_counted_in_pieces_and_over_their_ends(monkeypatch):
    text_of_all = text(bytes(range(256)) * 3 + b"aab", b"aba")
    whole = corpus.baselines(text_of_all)
    monkeypatch.setattr(corpus, "CHUNK", 7)
    assert corpus.baselines(text_of_all) == whole


def test_windows_lie_side_by_side_and_their_targets_are_one_further():
    part = np.arange(11, dtype=np.uint8)
    x, target = corpus.windows(part, 3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert target.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert corpus.windows(part, 2, most=3)[0].tolist() == [[0, 1], [4, 5], [8, 9]]
    assert corpus.windows(part[:4], 3)[1].tolist() == [[1, 2, 3]]


def test_windows_are_drawn_from_everywhere():
    x, target = corpus.drawn(np.arange(7, dtype=np.uint8), jax.random.key(0), 200, 4)
    assert set(x[:, 0].tolist()) == {0, 1, 2}
    np.testing.assert_array_equal(target, x + 1)
