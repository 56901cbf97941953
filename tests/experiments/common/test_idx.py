import gzip
import struct
import tracemalloc

import numpy as np
import pytest

from experiments.common import idx
from experiments.common.cli import DATA, DataError

IMAGES = np.arange(3 * 2 * 5, dtype=np.uint8).reshape(3, 2, 5)
NAMES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip


def content(a):
    return bytes([0, 0, 8, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.tobytes()


def failure(path, n_axes=3):
    with pytest.raises(DataError) as caught:
        idx.read(path, n_axes)
    assert caught.value.code == DATA
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "some-file"


@pytest.fixture
def mnist(tmp_path):
    rng = np.random.default_rng(0)
    for name, n in zip(NAMES, (200, 200, 50, 50), strict=True):
        a = rng.integers(0, 256, (n, 28, 28)) if "images" in name else np.arange(n) % 4 + 1
        (tmp_path / name).write_bytes(content(a.astype(np.uint8)))
    return tmp_path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_bytes_come_back_as_they_were_written_plain_or_gzipped_whatever_the_name(path, pack):
    for a in (IMAGES, np.array([3, 0, 255], np.uint8)):
        path.write_bytes(pack(content(a)))
        np.testing.assert_array_equal(idx.read(path, a.ndim), a)


def test_a_file_cut_anywhere_is_told_with_the_offset(path):
    whole = content(IMAGES)
    for n in range(len(whole)):
        path.write_bytes(whole[:n])
        said = failure(path)
        if n == 0:
            assert "is empty" in said
        elif n < 4:
            assert f"ends at offset {n}; expected 0x00000803" in said
        elif n < 16:
            assert f"header ends at offset {n}, expected 16 bytes" in said
        else:
            assert f"declares 3 × 2 × 5 values, 46 bytes in all; found {n}." in said


def test_a_gzipped_file_cut_or_changed_anywhere_is_told(path):
    whole = gzip.compress(content(IMAGES), mtime=0)
    for n in range(1, len(whole)):
        path.write_bytes(whole[:n])
        assert n == 1 or "the compressed file is cut off, after offset " in failure(path)
    failures = 0
    for i in range(10, len(whole)):  # what precedes is a header: time, system
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 255]) + whole[i + 1 :])
        failures += bool(failure(path))
    assert failures == len(whole) - 10
    path.write_bytes(whole + b"more")
    assert "the compressed file is damaged" in failure(path)


@pytest.mark.parametrize(
    ("magic", "n_axes", "message"),
    [
        ("00000801", 3, "labels, 1 axis: found 0x00000801, expected 0x00000803"),
        ("00000803", 1, "images, 3 axes: found 0x00000803, expected 0x00000801"),
        ("00000802", 3, "2 axes: found 0x00000802"),
        ("00000D03", 3, "another type of number: found 0x00000D03"),
        ("00000903", 3, "another type of number"),
        ("03080000", 3, "not an IDX file: found 0x03080000"),
        ("89504E47", 3, "not an IDX file"),
    ],
)
def test_another_magic_number_is_named_with_the_one_expected(path, magic, n_axes, message):
    path.write_bytes(bytes.fromhex(magic) + content(IMAGES)[4:])
    said = failure(path, n_axes)
    assert message in said
    assert "(unsigned bytes; " in said
    assert "at offset 0" in said


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("sizes", [(2**32 - 1,) * 3, (2**30, 2**20, 2**14), (60000, 28, 28)])
def test_sizes_that_the_file_cannot_hold_take_no_memory(path, sizes, pack):
    path.write_bytes(pack(b"\0\0\x08\x03" + struct.pack(">3I", *sizes) + bytes(100)))
    tracemalloc.start()
    said = failure(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    product = sizes[0] * sizes[1] * sizes[2]
    assert f"{product + 16} bytes in all; found {len(path.read_bytes())}" in said
    assert peak < 2**18


def test_a_gzipped_file_is_read_no_further_than_it_declares(path):
    a = content(np.zeros((64, 32, 32), np.uint8))
    path.write_bytes(gzip.compress(a + bytes(2**26)))
    tracemalloc.start()
    assert "found more than 65552" in failure(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
    path.write_bytes(gzip.compress(a[:-1]))
    assert "65552 bytes in all; found 65551." in failure(path)


def test_bytes_behind_the_last_one_and_axes_of_size_0_are_refused(path):
    path.write_bytes(content(IMAGES) + b"\n")
    assert "46 bytes in all; found 47." in failure(path)
    path.write_bytes(content(np.zeros((3, 0, 5), np.uint8)))
    assert "axis 1 has size 0, at offset 8" in failure(path)


def test_a_folder_becomes_a_data_set_of_images_from_0_to_1(mnist):
    dataset = idx.mnist(mnist)
    assert dataset.classes == ("1", "2", "3", "4")
    assert dataset.shape == (28, 28)
    assert [len(rows.x) for rows in dataset.parts().values()] == [168, 32, 50]
    assert np.bincount(dataset.validation.label).tolist() == [8, 8, 8, 8]
    images = idx.read(mnist / NAMES[2], 3)
    np.testing.assert_allclose(dataset.test.x[7].reshape(28, 28) * 255, images[7], rtol=1e-6)
    assert dataset.test.label[:5].tolist() == [0, 1, 2, 3, 0]
    train = idx.read(mnist / NAMES[0], 3).reshape(200, -1)
    row = np.flatnonzero((train == np.rint(dataset.train.x[5] * 255)).all(1))
    assert dataset.train.label[5] == row % 4


def test_files_are_found_under_their_other_names(mnist):
    packed = mnist / "train-images.idx3-ubyte.gz"
    packed.write_bytes(gzip.compress((mnist / NAMES[0]).read_bytes()))
    before = idx.mnist(mnist)
    (mnist / NAMES[0]).unlink()
    (mnist / NAMES[1]).rename(mnist / "train-labels.idx1-ubyte")
    np.testing.assert_array_equal(idx.mnist(mnist).train.x, before.train.x)
    packed.unlink()
    with pytest.raises(DataError, match="has no train-images-idx3-ubyte, plain or .gz; it holds"):
        idx.mnist(mnist)


def test_files_that_do_not_belong_together_are_refused(mnist):
    def replaced(name, a, message):
        before = (mnist / name).read_bytes()
        (mnist / name).write_bytes(content(np.asarray(a, np.uint8)))
        with pytest.raises(DataError) as caught:
            idx.mnist(mnist)
        (mnist / name).write_bytes(before)
        assert message in str(caught.value)

    replaced(
        NAMES[1], np.arange(199) % 4, "holds 200 images, but train-labels-idx1-ubyte holds 199"
    )
    replaced(NAMES[3], np.arange(50) % 5, "label 0 at offset 8 is not among the training")
    replaced(NAMES[2], np.zeros((50, 28, 27)), "images are 28 × 28, test images 28 × 27")
    replaced(NAMES[2], np.arange(50), "labels, 1 axis: found 0x00000801")
    replaced(NAMES[1], [1] * 3 + [2, 3, 4] * 65 + [2] * 2, "class '1' has 3 of 200 rows")
    idx.mnist(mnist)


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_that_are_true_and_huge_are_refused_before_they_are_read(packed, path, monkeypatch):
    monkeypatch.setenv("FNN_MAX_BYTES", "10000000")
    header = bytes([0, 0, 8, 3]) + struct.pack(">3I", 100, 500, 500)
    if packed:
        path.write_bytes(gzip.compress(header + bytes(25_000_000)))
    else:
        path.write_bytes(header)
        with path.open("ab") as file:
            file.truncate(25_000_016)
    tracemalloc.start()
    said = failure(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "takes 25000016 bytes; at most 10000000 are read" in said
    assert "set FNN_MAX_BYTES=25000016" in said
    assert peak < 3_000_000
