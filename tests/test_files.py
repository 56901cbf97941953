"""Tests of fnn.files."""

import contextlib
import errno
import importlib
import os
import sys

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from fnn import files
from fnn.files import CheckpointError, read, replace, write

TENSORS = {"a.w": np.arange(6, dtype=np.float32).reshape(2, 3), "a.b": np.ones(3, np.float16)}


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def refusing(monkeypatch, name):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, refuse)


def same(found, want):
    assert sorted(found) == sorted(want)
    for name, a in want.items():
        assert found[name].dtype == np.asarray(a).dtype
        assert found[name].shape == np.shape(a)
        assert found[name].tobytes() == np.asarray(a).tobytes()


def test_tensors_and_texts_come_back_and_other_readers_see_the_same(tmp_path):
    write(tmp_path / "a", TENSORS, {"what": "é\n"})
    found = read(tmp_path / "a")
    same(found.tensors, TENSORS)
    assert found.texts == {"what": "é\n", "sha256": files.digest(TENSORS, {"what": "é\n"})}
    same(load_file(tmp_path / "a"), TENSORS)


def test_layouts_and_dtypes_that_numpy_makes_come_back_as_they_look(tmp_path):
    a = np.arange(24.0).reshape(2, 3, 4)
    tensors = {
        "turned": a.T, "strided": a[:, ::2, ::-1], "ordered": np.asfortranarray(a),
        "repeated": np.broadcast_to(a[0, 0], (5, 4)), "number": np.array(3.0), "none": a[:0],
        "swapped": a.astype(">f4"), "half": np.asarray(jnp.arange(7, dtype="bfloat16")),
        "": np.arange(3), "with/slash": np.array([True, False]), "ü": np.float32(1.5),
    }  # fmt: skip
    write(tmp_path / "a", tensors, {})
    same(read(tmp_path / "a").tensors, tensors | {"swapped": a.astype("f4")})


def silent(path):
    """Whether a file is read as if nothing were wrong with it."""
    try:
        return "sha256" in read(path).texts
    except CheckpointError:
        return False


def test_every_changed_bit_is_an_error(tmp_path):
    path = tmp_path / "a"
    write(path, {"w": np.arange(3, dtype=np.float32)}, {})
    good = path.read_bytes()
    assert silent(path)
    for i in range(8 * len(good)):
        data = bytearray(good)
        data[i // 8] ^= 1 << i % 8
        path.write_bytes(data)
        assert not silent(path), i


def test_every_truncation_and_anything_behind_the_end_is_an_error(tmp_path):
    path = tmp_path / "a"
    write(path, TENSORS, {})
    good = path.read_bytes()
    for data in (*(good[:n] for n in range(len(good))), good + b"\0", good + bytes(8)):
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"is not a safetensors file: .+; take another"):
            read(path)


def test_files_of_others_have_no_digest_and_are_read(tmp_path):
    save_file(TENSORS, tmp_path / "a")
    found = read(tmp_path / "a")
    same(found.tensors, TENSORS)
    assert found.texts == {}


def test_a_digest_is_of_names_dtypes_shapes_numbers_and_texts():
    w, texts = TENSORS["a.w"], {"a": "b"}
    others = [
        ({"w": w}, {}), ({"v": w}, texts), ({"w": w.view("i4")}, texts),
        ({"w": w.reshape(3, 2)}, texts), ({"w": w + 1}, texts), ({"w": w}, {"a": "c"}),
    ]  # fmt: skip
    assert len({files.digest(*how) for how in (({"w": w}, texts), *others)}) == 7
    assert files.digest({"w": np.asfortranarray(w)}, texts) == files.digest({"w": w}, texts)


def test_more_names_and_texts_than_are_read_are_neither_read_nor_written(tmp_path):
    path = tmp_path / "a"
    path.write_bytes((2**24 + 1).to_bytes(8, "little") + b"{}")
    with pytest.raises(CheckpointError, match="take 16777217 bytes; at most 16777216 can be read"):
        read(path)
    with pytest.raises(CheckpointError, match="at most 16777216 can be read"):
        write(tmp_path / "b", {}, {"config": "x" * 2**24})
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("dtype", ["complex128", "longdouble", "float8_e4m3fn", "int4", "U1"])
def test_a_dtype_that_cannot_be_read_again_is_refused_and_the_old_file_stays(dtype, tmp_path):
    write(tmp_path / "a", TENSORS, {})
    a = np.zeros(2).astype(getattr(ml_dtypes, dtype, dtype))
    with pytest.raises(TypeError, match=rf"w must be of bools, .*, got {a.dtype}\."):
        write(tmp_path / "a", {"w": a}, {})
    same(read(tmp_path / "a").tensors, TENSORS)


def test_a_dtype_of_others_that_numpy_has_not_is_told(tmp_path):
    save_file({"w": np.zeros(2, ml_dtypes.float8_e5m2)}, tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"/a has a dtype that cannot be read: .*float8_e5m2"):
        read(tmp_path / "a")


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "a")
    with pytest.raises(IsADirectoryError):
        read(tmp_path)


def test_a_file_is_written_whole_and_replaces_the_one_before(tmp_path):
    for text in (b"one", b"two"):
        replace(tmp_path / "a", text)
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_what_the_system_refuses_leaves_the_old_file_alone(call, tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    refusing(monkeypatch, call)
    with pytest.raises(OSError, match="No space left"):
        replace(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(("number", "told"), [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_name_that_is_not_on_the_disk_is_told_but_where_folders_cannot_be(
    number, told, tmp_path, monkeypatch
):
    def fsync(handle, before=os.fsync):
        if os.path.isdir(f"/proc/self/fd/{handle}"):
            raise OSError(number, os.strerror(number))
        before(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="error") if told else contextlib.nullcontext():
        replace(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        f = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, f=f, n=name: (calls.append(n), f(*a))[1])
    write(tmp_path / "a", TENSORS, {})
    assert calls == ["fsync", "replace", "fsync"]  # file, name, folder


def test_what_a_kill_left_is_removed_and_links_are_replaced_not_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(b"mine")
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("a", "a.partial"):
        (folder / name).symlink_to(mine)
    replace(folder / "a", b"new")
    assert (folder / "a").read_bytes() == b"new"
    assert not (folder / "a").is_symlink()
    assert names(folder) == ["a"]
    assert mine.read_bytes() == b"mine"


def test_without_safetensors_the_error_says_what_to_install(monkeypatch):
    for name in ("fnn.files", "fnn.checkpoints"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for name in ("fnn.files", "fnn.checkpoints"):
        with pytest.raises(
            ImportError, match=r"need safetensors; pip install 'fnn\[checkpoints\]'"
        ):
            importlib.import_module(name)
