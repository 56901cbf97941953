"""Tests of benchmarks.cases.accelerator: its rows at tiny sizes, on whatever there is."""

import datetime

import jax
import pytest

from benchmarks.__main__ import Options, main
from benchmarks.cases import TABLES
from benchmarks.cases.accelerator import ACCELERATOR, TINY, rows
from benchmarks.measure import QUICK, compare
from benchmarks.steps import LARGE
from benchmarks.updates import LARGE as LARGE_UPDATES


def test_it_is_left_out_where_it_is_not_asked_for():
    assert ACCELERATOR not in TABLES
    assert len({case.name for case in ACCELERATOR.cases}) == len(ACCELERATOR.cases) == 11


@pytest.mark.long
@pytest.mark.parametrize("case", rows(TINY), ids=lambda c: c.name)
def test_both_programs_of_a_row_find_the_same(case):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # as in a benchmark
        found = compare(case, QUICK)
    assert found.pairs
    assert found.products


@pytest.mark.slow
def test_every_part_of_it_runs_at_tiny_sizes(tmp_path, monkeypatch):
    monkeypatch.delenv("FNN_TORCH_PYTHON", raising=False)
    options = Options(quick=True, out=tmp_path, only=("accelerator",))
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # as in a benchmark
        report = main(options, lambda text: None)
    text, content = (tmp_path / "tables.md").read_text(), (tmp_path / "results.json").read_text()
    assert [r.name for r in report.rated] == [r.name for _, rows in report.tables for r in rows]
    assert all(r.share > 0 and r.gibibytes > 0 for r in report.rated)
    assert list(dict.fromkeys(s.net for s in report.steps)) == list(LARGE)
    assert {s.peer for s in report.steps if s.peer.startswith("fnn") and s.seconds}
    assert report.updates[0].name.startswith(next(iter(LARGE_UPDATES)))
    for found in (text, content):
        assert jax.devices()[0].device_kind in found
        assert datetime.date.today().isoformat() in found
    assert (tmp_path / "ratios.png").stat().st_size > 10_000
