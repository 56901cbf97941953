"""Tests of fnn.checking.measure.sets."""

import jax.numpy as jnp
import numpy as np
import pytest

import fnn
from fnn.checking.measure.sets import KINDS, memberships

B = np.random.default_rng(0).normal(size=(3, 3))
DEFINITE, SYMMETRIC = jnp.array(B @ B.T + np.eye(3)), jnp.array(B + B.T)
P = jnp.array([[0.25, 0.25, 0.5], [0.125, 0.75, 0.125]])


@pytest.mark.parametrize(
    ("a", "name"),
    [
        (DEFINITE, "positive definite"),
        (SYMMETRIC, "symmetric"),
        (P, "on the simplex"),
        (jnp.stack([DEFINITE, 2 * DEFINITE]), "positive definite"),
        (jnp.array(B), None),
        (2 * P, None),
        (jnp.ones(3), None),
    ],
)
def test_the_narrowest_set_is_found_and_another_member_lies_on_it(a, name):
    a = np.asarray(a)
    found = memberships({4: a})
    assert [member.kind.name for member in found] == ([name] if name else [])
    for member in found:
        assert member.leaf == 4
        assert not member.by_chance
        another = member.kind.another(a, np.random.default_rng(1))
        assert another.shape == a.shape
        assert member.kind.holds(another)
        assert abs(another - a).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_what_leads_off_the_set_is_not_along_it(kind):
    g = np.random.default_rng(2).normal(size=(3, 3))
    np.testing.assert_allclose(kind.along(kind.along(g)), kind.along(g), atol=1e-15)
    assert not np.allclose(kind.along(g), g)


def logdet(a):
    return jnp.linalg.slogdet(a)[1]


def symmetric_only(a, dy):
    return dy * jnp.linalg.inv(a)  # A⁻ᵀ is right anywhere


def test_a_gradient_that_is_wrong_off_the_set_alone_is_reported_as_just_that():
    report = fnn.check_vjp(logdet, symmetric_only, DEFINITE)
    assert report.verdict == "right"
    (note,) = [note for note in report.notes if "off that set" in note]
    assert "right where it was given (a positive definite)" in note
    assert note.endswith("(off the set)")  # nearby points lie on it
    right = fnn.check_vjp(logdet, lambda a, dy: symmetric_only(a, dy).T, DEFINITE)
    assert right.verdict == "right"
    assert not any("off that set" in note for note in right.notes)
    assert fnn.check_vjp(logdet, lambda a, dy: 2 * symmetric_only(a, dy), DEFINITE).findings


def test_a_matrix_that_may_be_symmetric_by_chance_leaves_it_open():
    report = fnn.check_vjp(logdet, symmetric_only, 2 * jnp.eye(3))
    assert report.verdict == "cannot tell"
    assert "give one that is neither diagonal nor constant" in report.undecided[0]


def test_a_gradient_that_is_right_along_the_set_alone_leaves_it_open():
    def f(a):
        """log |A| of the lower triangle, as of a symmetric A."""
        return logdet(jnp.tril(a) + jnp.tril(a, -1).T)

    report = fnn.check_vjp(f, symmetric_only, DEFINITE)
    assert report.verdict == "cannot tell"
    assert "right along the set on which it was given" in report.undecided[0]
