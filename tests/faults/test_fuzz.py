"""Tests of benchmarks.faults.fuzz: readers end in a value or in an error of their own."""

import random

import jax
import pytest

from benchmarks.faults.fuzz import fuzzed, mutated
from benchmarks.faults.readers import Reader, readers


@pytest.fixture(autouse=True)
def single_precision():
    """As experiments are run."""
    with jax.enable_x64(False):
        yield


NAMES = "tables", "images", "labels", "texts", "commands", "files of tensors"


def test_readers_of_what_nobody_wrote_end_in_a_value_or_in_their_error(tmp_path):
    for reader in readers(tmp_path / "a", NAMES):
        found = fuzzed(60, reader)
        assert found.wrong == [], reader.name
        assert {"read", "refused"} >= {*found.outcomes}


@pytest.mark.long
def test_so_do_those_of_what_a_file_says_with_a_right_digest(tmp_path):
    for reader in readers(tmp_path / "a"):
        assert fuzzed(300 // reader.share, reader).wrong == [], reader.name


def test_a_crash_a_wrong_value_and_a_poor_message_are_blamed():
    def read(data):
        if len(data) == 4:
            raise KeyError("nothing")
        if len(data) > 4:
            raise ValueError("\n")
        return len(data) < 4 and "too short"

    found = fuzzed(200, Reader("bytes", [b"abcde"], [b"x"], read, (ValueError,)))
    told = "".join(found.wrong)
    for part in ("KeyError", "not a message: '\\n'", "too short"):
        assert part in told


def test_inputs_are_drawn_from_a_seed_and_differ():
    many = [[mutated(random.Random(i), [b"abcdef" * 9], [b"x"]) for i in range(50)] for _ in "ab"]
    assert many[0] == many[1]
    assert len({*many[0]}) > 40
