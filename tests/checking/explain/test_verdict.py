"""Tests of fnn.checking.explain.verdict."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fnn

rng = np.random.default_rng(0)
X, W, B = (jnp.asarray(rng.standard_normal(s)) for s in ((5, 3), (3, 4), (4,)))


def dense(x, w, b):
    return jnp.tanh(x) @ w + b


def right(x, w, b, dy):
    return (1 - jnp.tanh(x) ** 2) * (dy @ w.T), jnp.tanh(x).T @ dy, dy.sum(0)


def checked(wrong, f=dense, args=(X, W, B), **more):
    return fnn.check_vjp(f, wrong, *args, **more)


def kinds(report):
    return {f.leaf: f.kind for f in report.findings}


def test_each_wrong_gradient_has_one_finding_with_its_own_explanation():
    def wrong(x, w, b, dy):
        dx, dw, _ = right(x, w, b, dy)
        return -dx, dw / len(x), dy[0]

    report = checked(wrong)
    assert kinds(report) == {"x": "sign", "w": "averaged", "b": "not summed"}
    assert [f.case for f in report.findings] == ["as given"] * 3
    texts = [f.text for f in report.findings]
    assert "1/5 (5 is the number of examples)" in texts[1]
    assert texts[2] == "only example 0 of 5 counts"
    assert [leaf.name for leaf in report.leaves] == ["x", "w", "b"]
    assert report.findings[0].error == report.leaves[0].error == pytest.approx(2)


def test_a_missing_derivative_a_penalty_and_an_average_at_once():
    def wrong(x, w, b, dy):
        return dy @ w.T, jnp.tanh(x).T @ dy + 0.01 * w, dy.mean(0)

    report = checked(wrong)
    assert kinds(report) == {"x": "missing derivative", "w": "penalty", "b": "averaged"}
    assert "+ 0.01 × w" in report.findings[1].text


def test_gradients_that_are_swapped():
    def f(x, a, b):
        return a * x + b * x**2

    def wrong(x, a, b, dy):
        return dy * (a + 2 * b * x), (dy * x**2).sum(0), (dy * x).sum(0)

    report = checked(wrong, f, (X, W[:, 0], W[:, 1]))
    assert kinds(report) == {"a": "swapped", "b": "swapped"}
    assert report.findings[0].text == "it is the gradient of b"


def test_the_same_seed_gives_the_same_report_and_another_seed_other_points():
    def wrong(x, dy):
        return jnp.cos(x) * dy + 0.25

    one, two, other = (fnn.check_vjp(jnp.sin, wrong, X, seed=seed) for seed in (3, 3, 4))
    assert one == two
    assert one != other


@pytest.mark.parametrize(
    ("grad", "kind"),
    [
        (lambda x: 2 * x + jnp.stack([x[1], -x[0], 0 * x[0]]), "not a gradient"),
        (lambda x: jnp.arctan(x), "another function"),
    ],
)
def test_what_nothing_explains_is_shown_by_one_entry(grad, kind):
    (finding,) = fnn.check_gradient(
        lambda x: (x**2).sum(), grad, jnp.array([0.3, 1.2, -0.7])
    ).findings
    assert finding.kind == kind
    assert "entries are wrong, such as" in finding.text
    assert (kind == "not a gradient") == ("uᵀHv" in finding.text)


def test_right_for_one_example_and_wrong_for_several():
    def f(x, w):
        return jnp.sin(x) * w

    def wrong(x, w, dy):
        mixed = jnp.cos(x) if len(x) == 1 else jnp.cumsum(jnp.cos(x), 0)
        return dy * w * mixed, (dy * jnp.sin(x)).sum(0)

    assert kinds(checked(wrong, f, (X, W[:, 0]))) == {"x": "batch"}


def means(x):
    return x.mean(0).sum() + (jnp.sin(x)).mean(1).sum()


def test_right_only_where_all_sizes_are_equal():
    """The mean over the last axis is divided by the size of the first."""
    report = fnn.check_gradient(means, lambda x: (1 + jnp.cos(x)) / len(x), X)
    assert kinds(report) == {"x": "sizes"}


def test_a_backward_that_fails_unless_all_sizes_are_equal():
    report = fnn.check_vjp(jnp.sin, lambda x, dy: jnp.cos(x) * (dy @ jnp.eye(len(x))), X)
    assert kinds(report) == {"backward": "sizes"}
    assert "right where all sizes are equal" in report.findings[0].text
    assert "backward" in str(report)


def test_a_backward_that_always_fails_raises():
    def wrong(x, dy):
        raise TypeError("never works")

    with pytest.raises(TypeError, match="check_vjp of sin: backward fails with TypeError: never"):
        fnn.check_vjp(jnp.sin, wrong, X)


def test_a_gradient_of_nan_where_the_function_is_finite():
    def norm_grad(x):
        return x / jnp.sqrt((x**2).sum())

    def norm(x):
        square = (x**2).sum()
        return jnp.sqrt(jnp.where(square > 0, square, 1)) * (square > 0).astype(x.dtype)

    report = fnn.check_gradient(lambda x: norm(x) ** 2, lambda x: 2 * norm(x) * norm_grad(x), X)
    assert kinds(report) == {"x": "nan"}
    assert report.findings[0].case == "zeros"


def test_the_checker_needs_no_derivative_of_the_backward():
    def wrong(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(np.exp, shape, x, vmap_method="sequential")

    assert not fnn.check_gradient(lambda x: (x**2).sum(), wrong, X)


def test_a_fault_is_explained_by_the_cases_that_show_it():
    def backward(x, dy):
        return jnp.cos(x) * dy * jnp.where(x.sum() > X.sum() + 1e-3, 2, 1)

    (finding,) = fnn.check_vjp(jnp.sin, backward, X).findings
    assert finding.kind == "factor"
    assert finding.case != "as given"
