"""Tests of benchmarks.faults.kills and signals: runs in processes that are ended from outside."""

import pytest

from benchmarks.faults.kills import kills, ordered_kills
from benchmarks.faults.signals import signals


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_moment_goes_on(tmp_path):
    found = kills(3, tmp_path)
    assert (found.tried, found.wrong) == (3, [])


@pytest.mark.slow
def test_a_run_that_is_killed_at_a_call_that_writes_goes_on(tmp_path):
    found = ordered_kills(3, tmp_path)
    assert (found.tried, found.wrong) == (3, [])
    assert {*found.outcomes} != {"behind the end"}  # where the drawn calls never came


@pytest.mark.slow
def test_a_signal_saves_and_ends_a_run_and_a_second_one_ends_it_at_once(tmp_path):
    found = signals(4, tmp_path)
    assert found.wrong == []
    assert {"SIGINT: 130", "SIGTERM: 143"} <= {*found.outcomes}
