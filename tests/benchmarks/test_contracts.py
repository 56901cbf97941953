"""Tests of benchmarks.contracts."""

import pytest

from benchmarks.contracts import contracts

FEW = ["tests/layers/test_flatten.py"]


@pytest.mark.slow
def test_contract_tests_say_how_many_passed_and_where(monkeypatch):
    assert "passed" in contracts(FEW)
    assert contracts(FEW).endswith("device: cpu")
    monkeypatch.setattr("benchmarks.contracts.jax.devices", lambda: [Chip()])
    with pytest.raises(SystemExit, match="did not run on this device: chip"):
        contracts(FEW)


@pytest.mark.slow
def test_where_one_fails_nothing_is_measured():
    with pytest.raises(SystemExit, match=r"(?s)The contract tests fail:.*nowhere"):
        contracts(["tests/nowhere.py"])


class Chip:
    """A device that is not there."""

    device_kind = "chip"
