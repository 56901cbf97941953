"""Tests of fnn.checking.explain.diagnosis."""

import pytest

from fnn.checking.explain.diagnosis import Factor, Size, factor_of

BATCH, LAST = Size(7), Size(3, "y", -1)


@pytest.mark.parametrize(
    ("c", "form", "size"),
    [
        (1 / 7, "1/n", BATCH),
        (-7, "n", BATCH),
        (3**-0.5, "1/√n", LAST),
        (1.5, "n/2", LAST),
        (49, "n²", BATCH),
        (2, "", None),
        (1 + 1e-7, "", None),
        (1.37, "", None),
    ],
)
def test_a_factor_is_of_the_first_size_that_explains_it(c, form, size):
    assert factor_of(c, [BATCH, LAST]) == Factor(c, form, size)


def test_one_over_two_examples_is_of_the_examples_and_two_is_a_number():
    assert factor_of(0.5, [LAST, Size(2)]) == Factor(0.5, "1/n", Size(2))
    assert factor_of(2.0, [LAST, Size(2)]) == Factor(2.0, "", Size(2))
    assert factor_of(0.5, [Size(2, "y", -1)]) == Factor(0.5, "", Size(2, "y", -1))


def test_one_over_a_size_makes_a_mean_and_no_other_form_does():
    found = [factor_of(c, [BATCH, LAST]) for c in (1 / 7, -1 / 7, 7, 7**-0.5, 0.5)]
    assert [factor.is_mean for factor in found] == [True, False, False, False, False]
