"""Tests of fnn.checking.explain.patterns, as report puts them into words."""

from typing import NamedTuple

import numpy as np
import pytest

from fnn.checking.explain.diagnosis import Size
from fnn.checking.explain.patterns import Suspect, explain
from fnn.checking.report import sentence

SIZES = [Size(7), Size(3, "y", -1)]


def noise(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class Explained(NamedTuple):
    kind: str
    text: str


def explained(make, truth=None, **more):
    """The explanation of the wrong gradient make(truth), at two points."""
    truth = noise(2, 3, 5) if truth is None else truth
    return of(make(truth), truth, **more)


def of(hand, truth, **more):
    given = {
        "value": noise(*truth.shape, seed=1),
        "wrong": hand != truth,
        "sizes": SIZES,
        "others": (),
        "by_example": lambda: None,
    }
    found = explain(Suspect("w", hand, truth, **given | more))
    return found and Explained(found.kind, sentence(found))


def changed(truth, index, value):
    """A copy with other entries at an index of every point."""
    hand = truth.copy()
    hand[(slice(None), *index)] = value(hand[(slice(None), *index)])
    return hand


def test_zero_everywhere():
    assert explained(lambda t: 0 * t) == ("zero", "all 15 entries are 0")


def test_a_turned_sign():
    assert explained(lambda t: -t) == ("sign", "it is −1 × the gradient")


@pytest.mark.parametrize(
    ("c", "kind", "name"),
    [
        (2, "factor", "2"),
        (-2, "factor", "−2"),
        (0.5, "factor", "1/2"),
        (7, "factor", "7 (7 is the number of examples)"),
        (1 / 7, "averaged", "1/7 (7 is the number of examples)"),
        (-1 / 3, "factor", "−1/3 (3 is the last axis of y)"),
        (2 / 7, "factor", "2/7 (7 is the number of examples)"),
        (3.5, "factor", "7/2 (7 is the number of examples)"),
        (7**0.5, "factor", "√7 (7 is the number of examples)"),
        (7**-0.5, "factor", "1/√7 (7 is the number of examples)"),
        (49, "factor", "7² (7 is the number of examples)"),
        (1 / 9, "factor", "1/3² (3 is the last axis of y)"),
        (1.37, "factor", "1.37"),
        (-1e5, "factor", "-100000"),
    ],
)
def test_a_constant_factor_is_named(c, kind, name):
    assert explained(lambda t: c * t) == (kind, f"it is {name} × the gradient")


def test_a_factor_that_is_a_size_too_says_so():
    text = "it is 2 (2 is also the number of examples) × the gradient"
    assert explained(lambda t: 2 * t, sizes=[Size(2)]) == ("factor", text)


def test_one_number_has_a_factor_only_if_all_points_share_it():
    truth = noise(2)
    assert of(3.3 * truth, truth).kind == "factor"
    assert of(truth * [3.3, 3.4], truth) is None


@pytest.mark.parametrize("make", [lambda t: np.swapaxes(t, 1, 2), lambda t: -np.swapaxes(t, 1, 2)])
def test_a_square_gradient_transposed(make):
    found = explained(make, noise(2, 4, 4))
    assert found.kind == "transposed"
    assert found.text.startswith("it is the gradient transposed")


def test_a_gradient_transposed_and_reshaped_to_fit():
    found = explained(lambda t: np.swapaxes(t, 1, 2).reshape(t.shape))
    assert found == ("transposed", "it is the gradient transposed, then reshaped")


def test_a_transposed_gradient_with_a_factor():
    found = explained(lambda t: np.swapaxes(t, 1, 2) / 7, noise(2, 4, 4))
    text = "it is the gradient transposed, times 1/7 (7 is the number of examples)"
    assert found == ("transposed", text)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_reversed_axis(axis):
    found = explained(lambda t: np.flip(t, axis + 1))
    assert found == ("reversed", f"it is reversed along axis {axis}")


@pytest.mark.parametrize(
    ("shape", "k", "axis"), [((3, 5), 1, 1), ((3, 5), -1, 0), ((3, 40), -2, 1), ((40,), 20, 0)]
)
def test_a_rolled_axis(shape, k, axis):
    found = explained(lambda t: np.roll(t, k, axis + 1), noise(2, *shape))
    assert found == ("rolled", f"it is rolled by {k} along axis {axis}")


def test_one_entry():
    found = explained(lambda t: changed(t, (1, 2), lambda a: a + 1))
    assert found.kind == "one entry"
    assert found.text.startswith("only [1, 2] is wrong: ")
    assert found.text.endswith("14 are right")


@pytest.mark.parametrize(
    ("value", "text"),
    [(lambda a: 0, "it is 0"), (lambda a: -a, "its sign is wrong"), (lambda a: 2 * a, "it is 2 ×")],
)
def test_one_entry_says_what_it_is(value, text):
    assert text in explained(lambda t: changed(t, (0, 4), value)).text


@pytest.mark.parametrize(
    ("index", "where"), [((1,), "[1, :]"), ((slice(None), 4), "[:, 4]")], ids=["row", "column"]
)
def test_one_slice(index, where):
    found = explained(lambda t: changed(t, index, lambda a: -a))
    assert found == ("one slice", f"only {where} is wrong: its sign is wrong")


@pytest.mark.parametrize(("c", "times"), [(1, ""), (-1, "−1 × "), (2, "2 × ")])
def test_the_gradient_of_another_leaf(c, times):
    other = noise(2, 3, 5, seed=5)
    found = explained(lambda t: c * other, others=[("params.v", other)])
    assert found == ("swapped", f"it is {times}the gradient of params.v")


PARTS = noise(4, 2, 5, seed=9)  # the gradients of four examples at two points


@pytest.mark.parametrize(
    ("weights", "text"),
    [
        ([0, 0, 1, 0], "only example 2 of 4 counts"),
        ([1, 0, 1, 1], "only examples 0, 2, 3 of 4 count"),
        ([1, 2, 3, 4], "the examples count 1, 2, 3, 4 times instead of once"),
    ],
)
def test_a_sum_that_leaves_examples_out(weights, text):
    hand = np.tensordot(weights, PARTS, 1)
    assert of(hand, PARTS.sum(0), by_example=lambda: PARTS) == ("not summed", text)


def test_a_penalty_on_the_parameter():
    value = noise(2, 3, 5, seed=1)
    found = explained(lambda t: t + 0.01 * value, value=value)
    assert found == ("penalty", "it is the gradient + 0.01 × w, as of a penalty")


def test_a_constant_that_is_added():
    assert explained(lambda t: t + 0.25) == ("penalty", "it is the gradient + 0.25 everywhere")


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_an_entry_that_is_no_number(number):
    found = explained(lambda t: changed(t, (2, 3), lambda a: number))
    assert found == ("nan", f"{number} at [2, 3], 1 of 15 entries")


def test_a_nan_of_the_reference_is_no_nan_of_ours():
    truth = changed(noise(2, 3, 5), (0, 0), lambda a: np.nan)
    hand = changed(truth, (1, 2), lambda a: -a)
    wrong = (hand != truth) & np.isfinite(truth)
    assert of(hand, truth, wrong=wrong).text.startswith("only [1, 2] is wrong: its sign is wrong")


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_numbers_of_a_low_precision(dtype):
    found = explained(lambda t: t.astype(dtype).astype(float))
    assert found == ("low precision", f"its entries are {np.dtype(dtype)} numbers")


def test_right_digits_are_counted():
    found = explained(lambda t: t * (1 + 1e-7 * np.sign(noise(2, 3, 5, seed=3))))
    assert found == ("low precision", "it has 7 right digits of 16")


@pytest.mark.parametrize(("make", "text"), [(abs, "absolute value"), (np.sign, "sign")])
def test_a_function_of_the_gradient(make, text):
    assert explained(make) == ("another function", f"it is its {text}")


@pytest.mark.parametrize("seed", range(20))
def test_a_random_gradient_has_no_explanation(seed):
    others = [("v", noise(2, 3, 5, seed=50 + seed))]
    hand, parts = noise(2, 3, 5, seed=100 + seed), noise(4, 2, 3, 5, seed=150 + seed)
    found = explained(lambda t: hand, parts.sum(0), others=others, by_example=lambda: parts)
    assert found is None


@pytest.mark.parametrize("seed", range(200, 205))
def test_an_explanation_must_fit_a_small_error_too(seed):
    """An error of a millionth is no factor 1.000001."""
    found = explained(lambda t: t + 1e-6 * noise(2, 3, 5, seed=seed) * abs(t).max())
    assert found is None or found.kind == "low precision"
