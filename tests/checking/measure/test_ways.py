"""Tests of fnn.checking.measure.ways."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.measuring import measure
from fnn.checking.measure.points import SMOOTH
from fnn.checking.measure.ways import ways_of

X, W = jnp.linspace(0.1, 0.9, 6).reshape(3, 2), jnp.array([[1.0, -2.0, 0.5, 1.5]] * 2)


def f(x, w):
    if x.dtype == "bfloat16":
        raise TypeError("no bfloat16")
    return jnp.sin(x) @ w


def backward(x, w, dy):
    if x.dtype == "float32":
        raise ValueError("no float32\nat all")
    batch = tuple(range(x.ndim - 1))
    return jnp.cos(x) * (dy @ w.T), 2 * jnp.tensordot(jnp.sin(x), dy, (batch, batch))


@pytest.fixture(scope="module")
def facts():
    problem = from_vjp("f", f, backward, (X, W), ("x", "w"), batched=(0,), inputs=(0,), widens=True)
    return measure(problem, 0)


def test_vmap_runs_two_points_at_once(facts):
    for j in (0, 1):
        for k, case in enumerate(SMOOTH[:2]):
            np.testing.assert_allclose(facts.ways["vmap"][j][k], facts.results[case].hand[j])


def test_the_first_and_the_last_example_run_alone(facts):
    y, hand, truth = facts.ways["one example"]
    given = facts.results["as given"]
    np.testing.assert_allclose(np.asarray(y[0])[:, 0], given.y[0][[0, -1]])
    np.testing.assert_allclose(np.asarray(hand[0])[:, 0], given.hand[0][[0, -1]])
    np.testing.assert_allclose(hand[1], 2 * np.asarray(truth[1]))


def test_an_axis_is_put_behind_the_batch(facts):
    hand, truth = facts.ways["another axis"]
    assert [a.shape for a in hand] == [(3, 2, 2), (2, 4)]
    np.testing.assert_allclose(hand[0], truth[0])


def test_a_way_that_the_forward_refuses_is_left_out_and_a_failing_backward_is_told(facts):
    assert not {"float32", "bfloat16"} & set(facts.ways)
    assert facts.errors == {"float32": "ValueError: no float32"}


def test_a_problem_is_asked_to_go_the_ways_that_it_has(facts):
    every = {"eager", "vmap", "another axis", "float32", "bfloat16", "1000 dy", "one example"}
    assert set(ways_of(facts.problem)) == every
    scalar = replace(facts.problem, one_dy=True, batched=(), widens=False)
    assert set(ways_of(scalar)) == {"eager", "vmap", "float32", "bfloat16"}
