"""Tests of fnn.checking.explain.halving."""

import jax
import jax.numpy as jnp
import pytest

import fnn

X = jnp.linspace(-2, 2, 5000).reshape(50, 100)  # too large for differences along every entry


def cube(x):
    """Σ x³, where JAX cannot see it."""
    shape = jax.ShapeDtypeStruct((), x.dtype)
    return jax.pure_callback(lambda a: (a**3).sum(), shape, x, vmap_method="sequential")


def right(x):
    return 3 * x**2


@pytest.mark.parametrize(
    ("grad", "kind", "text"),
    [
        (right, None, ""),
        (lambda x: 2 * right(x), "factor", "it is 2 × the gradient, in a sample of 24 entries"),
        (lambda x: 0 * x, "zero", "entries are 0, in a sample"),
        (lambda x: right(x).at[3, 98].add(1.0), "one entry", "only [3, 98] is wrong"),
        (lambda x: right(x) + jnp.sin(x), "another function", "the remainder falls like t^1.0"),
    ],
)
def test_a_large_leaf_that_autodiff_cannot_judge_is_judged_by_the_order_test(grad, kind, text):
    report = fnn.check_gradient(cube, grad, X)
    assert [f.kind for f in report.findings] == ([] if kind is None else [kind])
    assert kind is None or text in report.findings[0].text
