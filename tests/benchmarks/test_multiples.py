"""Tests of benchmarks.multiples."""

import pytest

import fnn
from benchmarks import multiples
from benchmarks.case import draw, labels
from benchmarks.measure import QUICK


@pytest.mark.long
def test_every_quantity_of_a_net_has_its_ratios(monkeypatch):
    net = fnn.mlp([5, 7, 3])
    monkeypatch.setattr(
        multiples, "NETS", {"tiny": lambda: (net, draw(4, 5), labels(4, classes=3))}
    )
    first, second, *rows = multiples.table(QUICK).splitlines()
    assert (first, second) == ("| time / memory | tiny |", "| --- | --- |")
    assert len(rows) == len(multiples.quantities(net)) - 1
    assert all("nan" not in row and " / " in row for row in rows)
