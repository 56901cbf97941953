"""Tests of fnn.saving.checkpointing."""

import signal
from pathlib import Path

import pytest

import fnn
from fnn.saving.checkpointing import Checkpointing, Interrupted, NotFinite


def test_a_path_is_meant_from_where_the_program_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = Checkpointing("run", 5)
    assert (one.directory, one.every, one.keep, one.changed) == (tmp_path / "run", 5, 2, ())
    assert Checkpointing(Path("run"), 5.0, changed="optimizer").changed == ("optimizer",)
    assert not (tmp_path / "run").exists()
    assert fnn.Checkpointing is Checkpointing


@pytest.mark.parametrize(
    ("args", "error", "message"),
    [
        ((3, 5), TypeError, "Checkpointing: directory must be a path, got 3"),
        (("", 5), TypeError, "Checkpointing: directory must be a path, got ''"),
        (("a", 0), ValueError, "Checkpointing: every must be at least 1, got 0"),
        (("a", 2.5), TypeError, "Checkpointing: every must be an integer, got 2.5"),
        (("a", True), TypeError, "Checkpointing: every must be a"),
        (("a", 5, 0), ValueError, "Checkpointing: keep must be at least 1, got 0"),
        (("a", 5, 2, (3,)), TypeError, r"Checkpointing: changed must be names of parts .*\(3,\)"),
        (("a", 5, 2, 3), TypeError, "Checkpointing: changed must be names of parts .* got 3"),
        (("a", 5, 2, "optimiser"), ValueError, "got 'optimiser'; did you mean 'optimizer'"),
        (("a", 5, 2, ("net", "x")), ValueError, "parts of a Plan, net, loss, .* got 'x'"),
    ],
)
def test_what_cannot_be_is_refused(args, error, message):
    with pytest.raises(error, match=message):
        Checkpointing(*args)


def test_errors_say_what_was_saved():
    error = Interrupted(signal.SIGTERM, 7, Path("a"))
    assert isinstance(error, KeyboardInterrupt)
    assert (error.signal, error.code, error.step, error.path) == (15, 143, 7, Path("a"))
    assert str(error) == "fit: stopped by SIGTERM after step 7, saved in a."
    assert isinstance(NotFinite("told", ("loss",), 7, None), FloatingPointError)
