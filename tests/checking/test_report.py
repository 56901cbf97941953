"""Tests of fnn.checking.report."""

import ast
import pathlib

import pytest

import fnn
from fnn.checking.explain.diagnosis import Diagnosis, Factor, Note, Operation, Size
from fnn.checking.report import FAILS, NOTES, SENTENCES, Finding, Leaf, Report, note, sentence

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
        "Dense: right, 2 gradients in 1 case, in float64",
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


def test_a_quick_report_says_what_it_left_out():
    lines = str(RIGHT._replace(left_out=("far", "vmap"))).splitlines()
    assert lines[-1] == "  quick, left out: far, vmap"


@pytest.mark.parametrize("key", SENTENCES)
def test_every_sentence_can_be_made_of_a_diagnosis(key):
    kind, _, form = key.partition(", ")
    numbers, names = (1.0, 2.0, 3.0), ("v", "")
    text = sentence(Diagnosis(kind, form, Factor(2.0), numbers=numbers, names=names))
    assert text
    assert "{" not in text


def literal_diagnoses():
    """The kind and the form of every Diagnosis(...) that is written with both as strings."""
    for path in (pathlib.Path(fnn.__file__).parent / "checking/explain").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Diagnosis":
                values = [a.value for a in node.args[:2] if isinstance(a, ast.Constant)]
                if len(values) == len(node.args[:2]):
                    yield ", ".join(values)


def test_every_diagnosis_has_its_sentence():
    found = set(literal_diagnoses())
    assert len(found) > 20
    assert found <= set(SENTENCES) | {"another function"}


def test_a_mistake_at_an_operation_has_its_line_its_operand_and_its_factor():
    where = Operation("tanh", "net.py:7", 1)
    told = sentence(
        Diagnosis("missing term", "path", Factor(0.25, "1/n", Size(4)), operation=where)
    )
    assert told == (
        "the path of the derivative through tanh, net.py:7 (operand 1) is missing, "
        "and it is 1/4 (4 is the number of examples) × that"
    )


def test_a_comparison_speaks_of_its_reference_and_a_sample_of_its_size():
    assert sentence(Diagnosis("sign", "", Factor(-1.0)), "reference") == "it is −1 × the reference"
    text = sentence(Diagnosis("zero", total=24, sample=24))
    assert text == "all 24 entries are 0, in a sample of 24 entries"


@pytest.mark.parametrize(
    ("way", "text"),
    [
        ("vmap", "it fails under vmap: no"),
        ("one example", "it fails for a batch of one: no"),
        ("float32", "it fails in float32: no"),
    ],
)
def test_a_way_that_fails_is_named(way, text):
    assert sentence(Diagnosis("vmap", "fails", names=(way,), message="no")) == text
    assert FAILS.startswith("it fails")


def test_sizes_are_named_by_their_axis():
    sizes = [Size(5, "y", -1), Size(5, "w", 1), Size(5, "w", 4), Size(5, "w")]
    texts = [sentence(Diagnosis("factor", "", Factor(5.0, "n", size))) for size in sizes]
    assert [text.split(" is ")[2].split(")")[0] for text in texts] == [
        "the last axis of y",
        "the second axis of w",
        "axis 4 of w",
        "the size of w",
    ]


def test_notes_are_sentences():
    assert set(NOTES) >= {"outside", "kinks", "digits"}
    assert note(Note("kinks", ("as given", "zeros"))).startswith("kinks (as given, zeros): ")
    text = note(Note("does not run", ("bfloat16", "TypeError: no")))
    assert text == "backward does not run in bfloat16: TypeError: no"
