"""Tests of benchmarks.cases.accelerator: its rows at tiny sizes, on whatever there is."""

import jax
import pytest

from benchmarks.cases import TABLES
from benchmarks.cases.accelerator import ACCELERATOR, Sizes, rows
from benchmarks.measure import QUICK, compare

TINY = Sizes(
    width=16, batch=8, widths=(4, 8, 8), images=2, hidden=8, series=(2, 16), heads=2,
    lengths=(8, 16), vocabularies=(64,), rows=8, gpt=(32, 16, 2, 2, 16), texts=2,
    small=(16, 8, 2, 2, 8), examples=3,
)  # fmt: skip


def test_it_is_left_out_where_it_is_not_asked_for():
    assert ACCELERATOR not in TABLES
    assert len({case.name for case in ACCELERATOR.cases}) == len(ACCELERATOR.cases) == 11


@pytest.mark.long
@pytest.mark.parametrize("case", rows(TINY), ids=lambda c: c.name)
def test_both_programs_of_a_row_find_the_same(case):
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"):  # as in a benchmark
        assert compare(case, QUICK).pairs
