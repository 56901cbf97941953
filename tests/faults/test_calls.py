"""Tests of benchmarks.faults.calls."""

import errno
import os

import pytest

from benchmarks.faults.calls import Fault, at_call, gone, refused
from fnn.files import replace


def test_every_call_that_writes_into_the_folder_is_counted_and_no_other(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    with at_call(inside) as calls:
        outside.write_bytes(b"a")
        replace(inside / "a", b"new")
        (inside / "a").read_bytes()
    assert calls.names == ["unlink", "open", "write", "fsync", "replace", "open", "fsync"]
    assert (inside / "a").read_bytes() == b"new"
    before = os.replace
    with at_call(inside):
        assert os.replace is not before
    assert os.replace is before


@pytest.mark.parametrize("lasting", [False, True])
def test_a_write_is_refused_once_or_from_then_on(lasting, tmp_path):
    fault = Fault(refused(errno.ENOSPC), 3, lasting=lasting)
    with at_call(tmp_path, fault) as calls:
        with pytest.raises(OSError, match="No space left"):
            replace(tmp_path / "a", b"new")
        assert calls.names == ["unlink", "open", "write", "unlink"]
        left = [(p.name, p.read_bytes()) for p in tmp_path.iterdir()]
        assert left == ([("a.partial", b"n")] if lasting else [])
    assert calls.struck == 1 + lasting


def test_the_folder_can_go_at_a_call_of_a_name_or_behind_it(tmp_path):
    folder = tmp_path / "a"
    for after in (False, True):
        folder.mkdir()
        with (
            at_call(folder, Fault(gone, 1, "replace", after=after)) as calls,
            pytest.raises(FileNotFoundError),
        ):
            replace(folder / "a", b"new")
        assert not folder.exists()
        assert calls.names[-2 + after :] == (["open"] if after else ["replace", "unlink"])
