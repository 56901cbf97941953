import gzip
import itertools
import math
import tracemalloc
import zlib

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


@pytest.mark.long
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
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty: 0 bytes"):
        corpus.read(path, 1)


def test_a_file_may_be_larger_than_memory(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"begin")
    with path.open("ab") as file:
        file.truncate(10**12)
    read = corpus.read(path, 1)
    assert (len(read.train), len(read.held_out)) == (95 * 10**10, 5 * 10**10)
    assert corpus.spread(read.train, 5, 2)[0].tolist() == [list(b"begin"), [0] * 5]
    assert next(corpus.all_windows(read.held_out, 3, 2))[1].tolist() == [[0] * 3] * 2
    x, _ = next(corpus.Drawn(read.train, 4, 10, seed=0).batches())
    assert x.shape == (10, 4)


@pytest.mark.parametrize(
    ("reads", "most"),
    [
        (lambda text: text.fingerprint(), 1e5),
        (lambda text: corpus.pair_counts(text.train), 1.5e6),  # two tables of 0.5 MB
        (lambda text: corpus.compressed(text.held_out, zlib.compressobj()), 4e5),
        (lambda text: [0 for _ in corpus.all_windows(text.held_out, 16, 8)], 1e5),
    ],
)
def test_what_reads_all_of_a_file_takes_no_memory_for_its_length(
    reads, most, tmp_path, monkeypatch
):
    monkeypatch.setattr(corpus, "CHUNK", 2**12)
    path = tmp_path / "a.txt"
    path.write_bytes(bytes(range(256)) * 2**15)
    text = corpus.own(path)
    tracemalloc.start()
    try:
        reads(text)
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def test_fingerprint_knows_where_the_text_is_divided_and_every_piece(monkeypatch):
    whole = text(b"abcdefg", b"hi").fingerprint()
    assert text(b"abcdef", b"ghi").fingerprint() != whole
    monkeypatch.setattr(corpus, "CHUNK", 3)
    assert text(b"abcdefg", b"hi").fingerprint() == whole
    assert text(b"abcdefh", b"hi").fingerprint() != whole


def test_baselines_by_hand():
    found = corpus.baselines(text(b"aab", b"aba"))
    a, b = 3 / 259, 2 / 259  # two and one, and one of each of 256
    assert found["uniform"] == 8
    assert found["frequency"] == pytest.approx(-(2 * math.log2(a) + math.log2(b)) / 3)
    pairs = (1 + b) / 3, a / 1  # behind a once b of two; behind b nothing is known
    assert found["pairs"] == pytest.approx(-sum(map(math.log2, pairs)) / 2)
    assert found["gzip"] == 8 * len(gzip.compress(b"aba", mtime=0)) / 3
    assert found["xz"] > 8


def test_baselines_are_the_same_in_pieces_and_over_their_ends(monkeypatch):
    text_of_all = text(bytes(range(256)) * 3 + b"aab", b"a line of a text\n" * 20)
    whole = corpus.baselines(text_of_all)
    monkeypatch.setattr(corpus, "CHUNK", 7)
    assert corpus.baselines(text_of_all) == whole


def test_windows_lie_side_by_side_and_their_targets_are_one_further():
    part = np.arange(11, dtype=np.uint8)
    x, target = corpus.spread(part, 3, most=3)
    assert x.tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert target.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert corpus.spread(part, 2, most=3)[0].tolist() == [[0, 1], [4, 5], [8, 9]]
    assert corpus.spread(part[:4], 3, most=9)[1].tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("n", [4, 9, 10, 11])
def test_batches_of_all_windows_are_those_that_lie_side_by_side(n):
    part = np.arange(n, dtype=np.uint8)
    batches = [*corpus.all_windows(part, 3, 2)]
    for found, wanted in zip(zip(*batches, strict=True), corpus.spread(part, 3, n), strict=True):
        assert [len(rows) for rows in found[:-1]] == [2] * (len(found) - 1)
        np.testing.assert_array_equal(np.concatenate(found), wanted)


def test_windows_are_drawn_from_everywhere():
    stream = corpus.Drawn(np.arange(7, dtype=np.uint8), 4, 50, seed=0)
    x, target = map(np.concatenate, zip(*itertools.islice(stream.batches(), 4), strict=True))
    assert {*x[:, 0].tolist()} == {0, 1, 2}
    np.testing.assert_array_equal(target, x + 1)


def test_a_batch_that_is_drawn_follows_from_seed_and_number_alone():
    part = np.arange(250, dtype=np.uint8)

    def starts(seed, first, begin):
        batches = corpus.Drawn(part, 5, 4, seed, first).batches(0, begin)
        return [x[:, 0].tolist() for x, _ in itertools.islice(batches, 3)]

    seen = starts(1, 0, 0) + starts(1, 3, 0)
    assert starts(1, 0, 2) == starts(1, 2, 0) == starts(1, 1, 1) == seen[2:5]
    assert len({*map(tuple, seen + starts(2, 0, 0))}) == 9
