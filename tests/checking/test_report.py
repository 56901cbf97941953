"""Tests of fnn.checking.report."""

import pytest

from fnn.checking.report import Finding, Leaf, Report

RIGHT = Report("Dense", (Leaf("params.w", (3, 4), 0.0), Leaf("x", (), 1e-16)), (), ("zeros",), ())
WRONG = RIGHT._replace(
    leaves=(Leaf("params.w", (3, 4), 2.0), Leaf("x", (), 0.25)),
    findings=(
        Finding("x", "factor", "it is 2 × the gradient", "as given", 0.25),
        Finding("x", "vmap", "they differ", "vmap", 0.5),
        Finding("backward", "float32", "it fails", "float32", float("inf")),
    ),
    cases=("as given", "far"),
    notes=("kinks (zeros)",),
)


def test_a_report_is_true_exactly_without_findings():
    assert RIGHT
    assert not WRONG


def test_only_a_report_with_findings_raises_and_the_error_is_the_table():
    RIGHT.raise_if_wrong()
    with pytest.raises(AssertionError) as caught:
        WRONG.raise_if_wrong()
    assert str(caught.value) == str(WRONG)


def test_the_table_of_a_right_report_says_ok_for_every_gradient():
    assert str(RIGHT).splitlines() == [
        "Dense: right, 2 gradients in 1 cases",
        "  gradient  shape   error",
        "  params.w  [3, 4]  0e+00  ok",
        "  x         []      1e-16  ok",
        "  cases: zeros",
    ]


def test_the_table_of_a_wrong_report_has_a_line_for_every_finding():
    assert str(WRONG).splitlines() == [
        "Dense: WRONG in backward, x",
        "  gradient  shape   error",
        "  params.w  [3, 4]  2e+00  ok",
        "  x         []      2e-01  factor: it is 2 × the gradient",
        "                           vmap: they differ (vmap)",
        "  backward                 float32: it fails (float32)",
        "  cases: as given, far",
        "  note: kinks (zeros)",
    ]
