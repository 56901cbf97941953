"""The run that nothing happened to is made anew for every test, as it is then."""

import pytest

from benchmarks.faults import task


@pytest.fixture(autouse=True)
def straight():
    task.straight.cache_clear()
