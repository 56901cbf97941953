"""Tests of fnn.checking.explain.linearity."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checking.explain.linearity import by_example, of_dy
from fnn.checking.measure.building import from_vjp
from fnn.checking.measure.measuring import measure

X = jnp.asarray(np.random.default_rng(0).standard_normal((5, 3)))


def softmax(x):
    e = jnp.exp(x)
    return e / e.sum(1, keepdims=True)


def two(x):
    return {"a": x**2, "b": jnp.sin(x)}


@pytest.mark.parametrize(
    ("f", "backward", "kind", "text"),
    [
        (jnp.sin, lambda x, dy: jnp.cos(x), "dy", "it does not depend on dy"),
        (
            jnp.sin,
            lambda x, dy: jnp.cos(x) * dy**3,
            "dy",
            "it is not linear in dy: ",
        ),
        (two, lambda x, dy: 2 * x * dy["a"], "missing term", "back from output 1 is missing"),
        (
            softmax,
            lambda x, dy: softmax(x) * (1 - softmax(x)) * dy,
            "missing term",
            "only the diagonal of the Jacobian counts",
        ),
    ],
    ids=["no dy", "cubed", "one output", "diagonal"],
)
def test_a_wrong_use_of_dy_is_explained(f, backward, kind, text):
    (finding,) = fnn.check_vjp(f, backward, X).findings
    assert (finding.leaf, finding.kind) == ("x", kind)
    assert text in finding.text


def test_the_gradients_of_single_examples_sum_to_the_gradient():
    w = jnp.arange(1.0, 4.0)
    problem = from_vjp(
        "f", lambda x, w: jnp.sin(x) * w, lambda x, w, dy: (0 * x, dy.sum(0)), (X, w), ("x", "w")
    )
    facts = measure(problem, 0)
    cases = ["as given", "nearby 1"]
    parts = by_example(facts, 1, cases)
    assert parts.shape == (5, 2, 3)
    for k, case in enumerate(cases):
        x, dy = np.asarray(facts.points[case].leaves[0]), np.asarray(facts.points[case].dy[0])
        np.testing.assert_allclose(parts[:, k], np.sin(x) * dy)
        np.testing.assert_allclose(parts[:, k].sum(0), facts.results[case].truth[1])
    assert of_dy(facts, 1, "as given") is None  # dy is used as it should
