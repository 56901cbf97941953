"""Tests of fnn.checking.measure.oracles, by what a check says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from foreign_rules import X, rule_of, sine
from jax import lax

import fnn


@jax.custom_jvp
def square(x):
    return x * x


square.defjvp(lambda x, dx: (x[0] ** 2, jnp.where(x[0] == 1, 7.0, 2 * x[0]) * dx[0]))


def misled(x):
    """sin x in a loop that only its own rule can go back through; the rule is wrong at 1."""

    @jax.custom_vjp
    def f(x):
        return lax.while_loop(lambda c: c[0] < 1, lambda c: (c[0] + 1, jnp.sin(c[1])), (0, x))[1]

    f.defvjp(lambda x: (f(x), x), lambda x, dy: (jnp.where(x == 1, 2, jnp.cos(x)) * dy,))
    return f(x)


@pytest.mark.parametrize("f", [jax.nn.softmax, jax.nn.log_softmax, jax.nn.logsumexp])
def test_a_stop_gradient_that_changes_nothing_hides_no_wrong_rule(f):
    def bad(x):
        return f(sine(x))

    def right(x):
        return f(jnp.sin(x))

    (finding,) = fnn.check_vjp(bad, rule_of(bad), X).findings
    assert finding.kind == "factor"
    report = fnn.check_vjp(bad, rule_of(right), X)
    assert report.verdict == "right"
    assert any("not that of its values: put aside" in note for note in report.notes)


def test_a_stop_gradient_that_cuts_leaves_autodiff_the_judge():
    def cut(x):
        return x * lax.stop_gradient(jnp.sin(x))

    report = fnn.check_vjp(cut, lambda x, dy: jnp.sin(x) * dy, X)
    assert report.verdict == "right"
    assert "stop_gradient inside: autodiff decides, not the values" in report.notes
    assert fnn.check_vjp(cut, lambda x, dy: 2 * jnp.sin(x) * dy, X).verdict == "wrong"


@pytest.mark.parametrize("c", [1.5, 1.0], ids=["the rule", "the plain derivative"])
def test_where_a_cut_and_a_rule_of_its_own_meet_nobody_can_tell(c):
    def f(x):
        return sine(x) * lax.stop_gradient(x)

    report = fnn.check_vjp(f, lambda x, dy: c * jnp.cos(x) * x * dy, X)
    assert report.verdict == "cannot tell"
    assert not report
    assert "a stop_gradient and a custom derivative inside, which disagree" in report.undecided[0]
    assert fnn.check_vjp(f, lambda x, dy: 3 * jnp.cos(x) * x * dy, X).verdict == "wrong"


@pytest.mark.parametrize(("f", "right"), [(square, lambda x: 2 * x), (misled, jnp.cos)])
def test_a_rule_that_is_wrong_as_given_only_is_found_there(f, right):
    ones = jnp.ones(3)
    (finding,) = fnn.check_vjp(f, rule_of(f), ones).findings
    assert finding.case == "as given"
    assert fnn.check_vjp(f, lambda x, dy: right(x) * dy, ones).verdict == "right"


def test_where_backward_is_the_forwards_own_rule_the_values_are_asked_and_it_is_said():
    def f(x):
        return misled(x + 0.1)

    report = fnn.check_vjp(f, rule_of(f), X)
    assert report.verdict == "right"
    (note,) = [note for note in report.notes if "is backward itself" in note]
    assert "as given, nearby 1, nearby 2" in note


def test_a_plain_forward_that_is_nan_where_its_rule_is_not_is_no_judge():
    def f(x):
        return jax.scipy.special.xlogy(x, x + 1)

    x = jnp.array([0.0, 0.5, 2.0])
    assert fnn.check_vjp(f, rule_of(f), x).verdict == "right"


def test_a_case_at_which_the_function_raises_is_left_out_by_name():
    def strict(a):
        if not np.asarray(a).any():
            raise ValueError("all zeros")
        return np.asarray(a) ** 2

    def f(x):
        return jax.pure_callback(strict, jax.ShapeDtypeStruct(x.shape, x.dtype), x)

    report = fnn.check_vjp(f, lambda x, dy: 2 * x * dy, X)
    assert report.verdict == "right"
    (note,) = [note for note in report.notes if note.startswith("outside the domain")]
    assert "zeros (raises " in note
    assert "zeros" not in report.cases


def test_a_function_that_raises_beside_a_point_does_not_end_the_check():
    def strict(a):
        if np.asarray(a).min() < np.asarray(X).min() - 0.01:
            raise ValueError("too small")
        return np.asarray(a) ** 2

    def f(x):
        shape = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.pure_callback(strict, shape, x, vmap_method="sequential")

    report = fnn.check_vjp(f, lambda x, dy: 2 * x * dy, X)
    assert not report.findings, report


@jax.custom_jvp
def power(x, y):
    return jnp.where(y == 0, 1.0, x**y)


@power.defjvp
def power_rule(primals, tangents):
    (x, y), (dx, dy) = primals, tangents
    return power(x, y), y * x ** (y - 1) * dx + jnp.log(x) * x**y * dy


def test_at_the_edge_of_a_domain_a_gradient_need_not_be_a_number():
    def backward(x, y, dy):
        return jax.vjp(power, x, y)[1](dy)

    x, y = jnp.array([0.4, 0.3, 0.7, 1.2]), jnp.array([2.0, 3, 1, 0.5])
    report = fnn.check_vjp(power, backward, x, y)
    assert report.verdict == "right", report  # at zeros both are −∞ or NaN
    assert any("is not, entries left out" in note for note in report.notes)


def test_nan_at_a_point_that_nobody_gave_is_wrong_where_the_function_is_smooth():
    def squares(x):
        return x * x

    def backward(x, dy):
        return 2 * x**3 / x**2 * dy

    (finding,) = fnn.check_vjp(squares, backward, X).findings
    assert (finding.kind, finding.case) == ("nan", "zeros")
    report = fnn.check_vjp(lambda x: x**4 / x**2, backward, X + 1)  # its values are NaN there
    assert report.verdict == "right"


def test_a_jump_is_no_slope():
    def hat(x):
        low, up = jnp.floor(x), jnp.ceil(x)
        p = (up - x) / (up - low + 1e-5)
        return jnp.stack([p, 1 - p])

    assert fnn.check_vjp(hat, rule_of(hat), X).verdict == "right"


def test_a_loop_that_might_not_end_is_not_moved_where_nobody_has_been():
    def f(x):
        return misled(jnp.abs(x) + 0.1)

    report = fnn.check_vjp(f, rule_of(f), X)
    assert report.verdict == "right"
    assert not {"far", "zeros", "ties"} & set(report.cases)
    assert any("a loop inside might not end elsewhere" in note for note in report.notes)


def test_a_stop_gradient_in_a_loop_leaves_a_contradiction_open():
    def f(x):
        return misled(x + 0.1) * lax.stop_gradient(x)

    def backward(x, dy):
        return jnp.cos(x + 0.1) * x * dy

    report = fnn.check_vjp(f, backward, X)
    assert report.verdict == "cannot tell"
    assert "a stop_gradient inside may be why" in report.undecided[0]
    assert fnn.check_vjp(f, lambda x, dy: 2 * backward(x, dy), X).verdict == "wrong"
